use std::fmt::Display;
use std::process::ExitCode;

/// Runs a daemon's work on one thread, and turns how it ended into the exit code: 0 when it was asked to end, 1, after a line that
/// says why, when it cannot work.
///
/// One thread is enough for what surrounds the packets, and netlink sockets belong to the namespace of the thread that opened
/// them.
pub fn run<E: Display>(work: impl Future<Output = Result<(), E>>) -> ExitCode {
    crate::init_logging();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_how_it_ended() {
        assert_eq!(run(async { Ok::<(), String>(()) }), ExitCode::SUCCESS);
        assert_eq!(run(async { Err("it cannot work".to_owned()) }), ExitCode::FAILURE);
    }
}
