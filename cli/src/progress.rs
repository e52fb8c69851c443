//! A line a step, on standard error: standard output is for results.

use std::time::Instant;

/// Prints steps with the time since the start.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    last: String,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            last: String::new(),
        }
    }
}

impl Progress {
    /// A step that is done.
    pub fn step(&mut self, subject: &str, text: impl AsRef<str>) {
        self.line(&format!("{subject:<10} {}", text.as_ref()));
    }

    /// Something that a person should look at.
    pub fn warn(&mut self, text: impl AsRef<str>) {
        self.line(&format!("{:<10} {}", "warning", text.as_ref()));
    }

    /// What is being waited for; said once until it changes.
    pub fn waiting(&mut self, text: impl AsRef<str>) {
        let line = format!("{:<10} {}", "waiting", text.as_ref());
        if line != self.last {
            self.line(&line);
        }
    }

    fn line(&mut self, line: &str) {
        eprintln!("{:>6.1}s  {line}", self.start.elapsed().as_secs_f64());
        line.clone_into(&mut self.last);
    }
}
