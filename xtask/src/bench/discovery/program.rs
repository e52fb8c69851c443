//! Programs in the lab that stay: they are told something by the line, and answer by the line.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::demo::lab::Lab;

/// Microseconds since 1970, by the name of what happened then.
pub(super) type Moments = HashMap<String, u64>;

/// A program that runs until its input ends.
pub(super) struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it in a place of the lab.
    pub(super) fn start(lab: &Lab, target: &str, program: &[&str]) -> anyhow::Result<Self> {
        let mut child = lab
            .command(target, program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program:?} in {target}"))?;
        Ok(Self {
            input: child.stdin.take().context("stdin is piped")?,
            output: BufReader::new(child.stdout.take().context("stdout is piped")?),
            child,
        })
    }

    /// Tells it something; what it answers is heard later.
    pub(super) fn tell(&mut self, lines: &[String]) -> anyhow::Result<()> {
        tell(&mut self.input, lines)
    }

    /// The next so many moments that it tells of: `NAME MICROSECONDS`.
    pub(super) fn moments(&mut self, count: usize) -> anyhow::Result<Moments> {
        moments(&mut self.output, count)
    }

    /// Has objects written, and waits until they are; when each was sent, by `namespace/name`.
    pub(super) fn write(&mut self, objects: &[Value]) -> anyhow::Result<Moments> {
        let lines: Vec<String> = objects.iter().map(Value::to_string).collect();
        let Self { input, output, .. } = self;
        // At once, or both sides could wait for the other to read.
        thread::scope(|scope| {
            let telling = scope.spawn(|| tell(input, &lines));
            let moments = moments(output, lines.len());
            telling.join().expect("writing lines does not panic")?;
            moments
        })
    }

    /// Waits for its end.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        drop(self.input);
        let status = self.child.wait()?;
        ensure!(status.success(), "a program in the lab ended with {status}");
        Ok(())
    }
}

fn tell(input: &mut ChildStdin, lines: &[String]) -> anyhow::Result<()> {
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    input
        .write_all(text.as_bytes())
        .context("a program in the lab stopped reading")
}

fn moments(output: &mut BufReader<ChildStdout>, count: usize) -> anyhow::Result<Moments> {
    let mut found = Moments::new();
    let mut line = String::new();
    for _ in 0..count {
        line.clear();
        ensure!(
            output.read_line(&mut line)? > 0,
            "a program in the lab ended early; it says why above"
        );
        let (name, moment) = line
            .trim()
            .split_once(' ')
            .with_context(|| format!("it said {line:?}"))?;
        found.insert(name.to_owned(), moment.parse()?);
    }
    Ok(found)
}

/// Milliseconds from one moment to another.
pub(super) fn millis(from: u64, to: u64) -> f64 {
    (to as f64 - from as f64) / 1000.0
}
