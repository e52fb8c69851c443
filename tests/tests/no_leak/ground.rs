//! A lab with two joined clusters and traffic both ways; it is gone when this is.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Lab, said};

use super::capture::Prefix;

pub(crate) struct Ground {
    lab: Lab,
    traffic: Vec<Child>,
}

impl Ground {
    pub(crate) fn up(name: &'static str) -> Self {
        Self {
            lab: Lab::joined(name),
            traffic: Vec::new(),
        }
    }

    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(crate) fn namespace(&self, host: &str) -> String {
        format!("tl-{}-{host}", self.lab.name())
    }

    /// Pod and service prefixes of both clusters, and that of clusterset IPs.
    pub(crate) fn private_prefixes(&self) -> Vec<Prefix> {
        let status = self.lab.status();
        let clusters = status["clusters"].as_array().expect("clusters");
        let prefixes = clusters
            .iter()
            .flat_map(|cluster| [&cluster["podPrefixes"], &cluster["servicePrefixes"]])
            .flat_map(|prefixes| prefixes.as_array().expect("prefixes"))
            .map(|prefix| prefix.as_str().expect("a prefix").to_owned());
        prefixes
            .chain(["244.174.0.0/16".to_owned()])
            .map(|prefix| {
                let (network, length) = prefix.split_once('/').expect("an address and a length");
                (network.parse().expect("an address"), length.parse().expect("a length"))
            })
            .collect()
    }

    /// `tombolo lab VERB …`
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let (verb, rest) = arguments.split_first().expect("a verb");
        self.lab.lab(verb, rest)
    }

    /// Has a place send datagrams to a server, every few milliseconds, until the end.
    pub(crate) fn send(&mut self, from: &str, server: &str) {
        let (to, program) = (format!("{server}:8080"), self.program(from));
        let stream = ["lab", "stream", "--seconds", "3600", "--to", &to];
        let mut command = self.lab.command(from, &[&[program.as_str()], &stream[..]].concat());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.traffic.push(child.expect("tombolo runs"));
    }

    /// Tries to connect once; the error, if it fails.
    pub(crate) fn connect(&self, from: &str, server: &str) -> Result<(), String> {
        let program = self.program(from);
        let fetch = ["lab", "fetch", "--host", server, "--timeout", "3", "-o", "json"];
        let output = self.lab.try_exec(from, &[&[program.as_str()], &fetch[..]].concat());
        let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        match result["error"].as_str() {
            None => Ok(()),
            Some(error) => Err(error.to_owned()),
        }
    }

    /// What the lab's program is called there: pods have it on their path, nodes do not.
    fn program(&self, target: &str) -> String {
        match target.split('/').count() {
            3 => "tombolo".to_owned(),
            _ => self.lab.program().to_owned(),
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for child in &mut self.traffic {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until it holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while let Err(why) = holds() {
        assert!(Instant::now() < deadline, "waited 90 s for {what}: {why}");
    }
}
