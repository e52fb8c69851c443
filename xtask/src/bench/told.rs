//! Programs that tell in a file how far they are, a line each time.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::bail;

use super::dataplane::ground::Running;

/// Starts a program that tells in this file.
pub(super) fn tell(mut command: Command, file: &Path) -> anyhow::Result<Running> {
    Running::new(command.stdin(Stdio::null()).stdout(File::create(file)?))
}

/// Whether this is the last line of the file.
pub(super) fn has_told(file: &Path, line: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().next_back() == Some(line)
}

pub(super) fn wait(what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            bail!("waited {PATIENCE:?} for {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(60);
