//! The streams that a trial watches: datagrams, and a TCP connection.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::demo::lab::Lab;

/// A stream that runs.
pub(crate) struct Stream {
    child: Child,
    output: BufReader<ChildStdout>,
}

/// What the stream says at its end.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Summary {
    pub(crate) sent: u32,
    pub(crate) lost: u32,
    pub(crate) longest_gap_ms: f64,
}

impl Stream {
    /// Starts a stream from a pod, and waits for its first answer.
    pub(crate) fn start(lab: &Lab, pod: &str, server: &str, protocol: &str, bytes: u32) -> anyhow::Result<Self> {
        let to = match server.contains(':') {
            true => format!("[{server}]:8080"),
            false => format!("{server}:8080"),
        };
        let (bytes, seconds) = (bytes.to_string(), SECONDS.to_string());
        let arguments = [
            "tombolo",
            "lab",
            "stream",
            "--proto",
            protocol,
            "--to",
            &to,
            "--bytes",
            &bytes,
            "--seconds",
            &seconds,
        ];
        let mut child = lab
            .command(pod, &arguments)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the stream")?;
        let mut output = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line.trim() == "started", "no stream from {pod} to {to}: {line}");
        Ok(Self { child, output })
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> anyhow::Result<Summary> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the stream ended with {status}");
        serde_json::from_str(&line).with_context(|| format!("the stream said {line:?}"))
    }
}

/// Long enough for the slowest aim, and for a gateway to come back.
pub(crate) const SECONDS: u32 = 5;
