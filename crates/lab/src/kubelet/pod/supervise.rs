//! Keeps one container running: start, wait, back off, start again.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::sync::watch;

use super::probe;
use super::shared::Shared;
use super::specification::Refusal;
use super::state::{End, Phase};
use crate::kubelet::record;
use crate::process::{self, ProcessId, replace_file};

/// Runs a container until it ended for good, or until `stop` says how long it has to end.
///
/// `remembered` is what an earlier kubelet started: when that still lives, it goes on.
pub(super) async fn supervise(
    shared: Arc<Shared>,
    container: Container,
    remembered: record::Container,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    let name = container.name.as_str();
    let mut adopted = remembered.process.filter(|process| process.is_alive());
    // One that an earlier kubelet started and that ended while nobody looked is a restart.
    let mut restarts = remembered.restarts + i32::from(remembered.process.is_some() && adopted.is_none());
    let mut started_at = remembered.started_at.unwrap_or_else(Timestamp::now);
    let mut pause = BACKOFF_MIN;
    loop {
        let (running, was_ready) = match adopted.take() {
            Some(process) => (
                Ok(Running {
                    id: process,
                    child: None,
                }),
                shared.is_ready(name),
            ),
            None => {
                started_at = Timestamp::now();
                (start(&shared, &container), false)
            }
        };
        let mut running = match running {
            Ok(running) => running,
            Err(refusal) => {
                tracing::warn!(
                    pod = shared.name(),
                    container = name,
                    reason = refusal.reason,
                    message = refusal.message,
                    "not started"
                );
                shared.update(name, |state| {
                    state.phase = Phase::Waiting {
                        reason: refusal.reason.to_owned(),
                        message: refusal.message,
                    };
                });
                if is_stopped_within(&mut stop, pause).await {
                    return;
                }
                pause = BACKOFF_MAX.min(pause * 2);
                continue;
            }
        };
        shared.remember(
            name,
            record::Container {
                process: Some(running.id),
                started_at: Some(started_at),
                restarts,
            },
        );
        shared.update(name, |state| {
            (state.phase, state.restarts, state.is_ready) = (Phase::Running { since: started_at }, restarts, was_ready);
        });
        tracing::info!(
            pod = shared.name(),
            container = name,
            pid = running.id.pid,
            restarts,
            "container runs"
        );

        let since = Instant::now();
        let probing = probe::watch(&container, shared.address(), was_ready, |is_ready| {
            shared.update(name, |state| state.is_ready = is_ready);
        });
        let code = tokio::select! {
            code = running.wait() => code,
            () = probing => None,
            grace = requested(&mut stop) => {
                let code = running.end(grace).await;
                finish(&shared, name, End { started_at, finished_at: Timestamp::now(), code }, restarts);
                return;
            }
        };
        let end = End {
            started_at,
            finished_at: Timestamp::now(),
            code,
        };
        tracing::info!(pod = shared.name(), container = name, ?code, "container ended");
        if !shared.restarts_after(code) {
            finish(&shared, name, end, restarts);
            return;
        }
        if since.elapsed() > BACKOFF_RESET {
            pause = BACKOFF_MIN;
        }
        restarts += 1;
        shared.remember(
            name,
            record::Container {
                process: None,
                started_at: Some(started_at),
                restarts,
            },
        );
        let message = format!(
            "back-off {pause:?} restarting failed container={name} pod={}",
            shared.name()
        );
        shared.update(name, |state| {
            state.phase = Phase::Waiting {
                reason: "CrashLoopBackOff".to_owned(),
                message,
            };
            (state.last, state.is_ready) = (Some(end), false);
        });
        if is_stopped_within(&mut stop, pause).await {
            return;
        }
        pause = BACKOFF_MAX.min(pause * 2);
    }
}

/// A container's process: a child of this kubelet, or of an earlier one.
struct Running {
    id: ProcessId,
    child: Option<Child>,
}

impl Running {
    /// Waits for the end. The code is 128 and the signal's number after a signal, and not known of somebody else's child.
    async fn wait(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        if let Some(child) = &mut self.child {
            let status = child.wait().await.ok()?;
            return status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        }
        while !process::ended(&[self.id], Duration::from_secs(3600)).await {}
        None
    }

    async fn end(&mut self, grace: Duration) -> Option<i32> {
        self.id.signal(Signal::SIGTERM);
        if let Ok(code) = tokio::time::timeout(grace, self.wait()).await {
            return code;
        }
        self.id.signal_session(Signal::SIGKILL);
        self.wait().await
    }
}

fn start(shared: &Shared, container: &Container) -> Result<Running, Refusal> {
    let spec = shared.specification(container)?;
    let start = || -> anyhow::Result<Running> {
        let path = shared.directory().join(format!("{}.json", container.name));
        let text = serde_json::to_vec_pretty(&spec).context("cannot write the specification as JSON")?;
        std::fs::create_dir_all(&spec.root)
            .and_then(|()| replace_file(&path, &text))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let log_path = shared.log(&container.name);
        let log = std::fs::File::options().create(true).append(true).open(&log_path);
        let log = log.with_context(|| format!("cannot write the log {}", log_path.display()))?;
        let child = tokio::process::Command::new(process::program()?)
            .args(["lab", "container", "--spec"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log")?)
            .stderr(log)
            .current_dir("/")
            .spawn()
            .context("cannot start the container's process")?;
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .context("the process ended at once")?;
        Ok(Running {
            id: ProcessId::of(pid).context("the process ended at once")?,
            child: Some(child),
        })
    };
    start().map_err(|error| Refusal {
        reason: "RunContainerError",
        message: format!("{error:#}"),
    })
}

fn finish(shared: &Shared, name: &str, end: End, restarts: i32) {
    shared.remember(
        name,
        record::Container {
            process: None,
            started_at: Some(end.started_at),
            restarts,
        },
    );
    shared.update(name, |state| (state.phase, state.is_ready) = (Phase::Ended(end), false));
}

/// Waits until the container is asked to end.
async fn requested(stop: &mut watch::Receiver<Option<Duration>>) -> Duration {
    let grace = stop.wait_for(Option::is_some).await.ok().and_then(|grace| *grace);
    // The sender goes only with the whole kubelet, which leaves its containers alone.
    match grace {
        Some(grace) => grace,
        None => std::future::pending().await,
    }
}

async fn is_stopped_within(stop: &mut watch::Receiver<Option<Duration>>, pause: Duration) -> bool {
    tokio::time::timeout(pause, requested(stop)).await.is_ok()
}

/// The kubelet of a real cluster waits 10 s to 5 min; a lab is not patient.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(8);
const BACKOFF_RESET: Duration = Duration::from_secs(60);
