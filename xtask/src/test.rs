use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, ensure};
use clap::Args;

use crate::repository;

/// Runs every test: unit, property, kernel effects in namespaces, and end to end on the lab.
///
/// Kernel effects need root. `TOMBOLO_TEST_NO_SKIP=1` turns a test that cannot run here into a failure.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Passed on to `cargo test`, such as `-p model` or a test name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Test {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        // The end-to-end tests start the real programs.
        repository::run(&mut repository::cargo(&["build", "--workspace", "--bins"]))?;
        let mut cargo = repository::cargo(&["test", "--no-fail-fast"]);
        if !self
            .arguments
            .iter()
            .any(|argument| argument == "-p" || argument.starts_with("--package"))
        {
            cargo.arg("--workspace");
        }
        let mut child = cargo
            .args(&self.arguments)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo test")?;
        let output = child.stdout.take().expect("stdout is piped");
        let mut total = Count::default();
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            total.add(&line);
        }
        let status = child.wait()?;
        println!(
            "{} passed, {} failed, {} skipped",
            total.passed, total.failed, total.ignored
        );
        ensure!(status.success() && total.failed == 0, "cargo test failed: {status}");
        ensure!(total.passed > 0, "no test ran");
        Ok(())
    }
}

/// The sum of what the test binaries counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl Count {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`; other lines say nothing.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<u32>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_over_binaries() {
        let mut count = Count::default();
        count.add("running 4 tests");
        count.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        count.add("test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.50s");
        assert_eq!(
            count,
            Count {
                passed: 8,
                failed: 2,
                ignored: 1
            }
        );
    }
}
