//! Opens one TCP connection after another to an [`echo`](super::echo) server, and says which pods answered, how often, and when first
//! and last: how benches count new connections, and see a backend come and go.
//!
//! A connection counts when the server's greeting has come. It is then reset rather than closed, so that no port of the client waits
//! behind it. A line says when the first has succeeded, and another, in JSON, what came of all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{fetch, micros};

/// Whom to connect to, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address and port of the server.
    #[arg(long)]
    pub to: SocketAddr,
    /// How long to go on, counted from the first answer.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// How many at a time.
    #[arg(long, default_value_t = 1)]
    pub parallel: usize,
    /// Milliseconds between the end of one and the beginning of the next.
    #[arg(long, default_value_t = 0)]
    pub pause: u64,
}

/// What came of all connections. Printed as JSON, it is what benches read.
#[derive(Debug, Default, serde::Serialize)]
pub struct Summary {
    /// That were answered.
    pub connections: u64,
    /// From the first answer to the last.
    pub seconds: f64,
    /// By the server's pod.
    pub pods: BTreeMap<String, Pod>,
    /// What went wrong, and how often.
    pub errors: BTreeMap<String, u64>,
}

/// Answers of one pod; times are microseconds since 1970.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pod {
    pub connections: u64,
    pub first: u64,
    pub last: u64,
}

/// Connects until the time is up.
///
/// # Errors
/// When nobody answers at all.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let summary = connect(&args).await?;
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}

pub(super) async fn connect(args: &Args) -> anyhow::Result<Summary> {
    let until = Instant::now() + PATIENCE;
    while ask(args.to).await.is_err() {
        ensure!(
            Instant::now() < until,
            "{} did not answer within {} s",
            args.to,
            PATIENCE.as_secs()
        );
        tokio::time::sleep(AGAIN).await;
    }
    println!("started");
    let started = Instant::now();
    let end = started + Duration::try_from_secs_f64(args.seconds).context("--seconds is no length of time")?;
    let (sender, mut answers) = mpsc::channel(1024);
    for _ in 0..args.parallel.max(1) {
        tokio::spawn(one_after_another(args.clone(), end, sender.clone()));
    }
    drop(sender);
    let mut summary = Summary::default();
    while let Some((at, answer)) = answers.recv().await {
        summary.add(at, answer);
    }
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

type Answer = Result<String, String>;

async fn one_after_another(args: Args, end: Instant, answers: mpsc::Sender<(u64, Answer)>) {
    while Instant::now() < end {
        let answer = ask(args.to).await.map_err(|error| error.to_string());
        if answers.send((micros(), answer)).await.is_err() {
            return;
        }
        if args.pause > 0 {
            tokio::time::sleep(Duration::from_millis(args.pause)).await;
        }
    }
}

/// The pod that answers.
async fn ask(to: SocketAddr) -> anyhow::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.set_zero_linger()?;
        let mut greeting = String::new();
        BufReader::new(&mut stream).read_line(&mut greeting).await?;
        Ok(fetch::parse(&greeting)?.0)
    };
    tokio::time::timeout(LIMIT, exchange)
        .await
        .context("no answer in time")?
}

impl Summary {
    fn add(&mut self, at: u64, answer: Answer) {
        match answer {
            Ok(name) => {
                self.connections += 1;
                let pod = self.pods.entry(name).or_insert(Pod {
                    first: at,
                    ..Pod::default()
                });
                pod.connections += 1;
                pod.last = pod.last.max(at);
            }
            Err(error) => *self.errors.entry(error).or_default() += 1,
        }
    }
}

/// How long the first answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(20);
/// How long one connection may take.
const LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_has_its_first_and_its_last_answer() {
        let mut summary = Summary::default();
        for (at, pod) in [(1, "a"), (2, "b"), (3, "a")] {
            summary.add(at, Ok(pod.to_owned()));
        }
        summary.add(4, Err("refused".to_owned()));
        assert_eq!(summary.connections, 3);
        assert_eq!(
            summary.pods["a"],
            Pod {
                connections: 2,
                first: 1,
                last: 3
            }
        );
        assert_eq!(summary.errors["refused"], 1);
    }
}
