//! `tombolo show …`: the clusterset as this cluster's agents see it.
//!
//! Only the local API is read, within two seconds; a dead peer is a row, never a wait. A report says whether everything it shows is
//! good (`is_good`), and that is the exit code. What an agent reported is believed only while the agent runs: a gateway
//! whose pod is not ready shows as `unknown`, however good its last words were.

mod clusters;
mod connections;
mod figures;
mod gateways;
mod services;
pub(crate) mod world;

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use tokio::time::Instant;

use self::world::World;
use crate::connect::{Connection, KubeTarget};
use crate::duration;
use crate::exit::NotConnected;
use crate::output::{self, Format, Shown};

/// Shows the state of the clusterset as this cluster sees it.
#[derive(Debug, Args)]
pub struct Show {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Gateways of this cluster, and their way to each other cluster
    #[command(after_help = gateways::EXAMPLES)]
    Gateways(Options),
    /// Every cable of this cluster
    #[command(after_help = connections::EXAMPLES)]
    Connections(Options),
    /// Services that are exported, by cluster
    #[command(after_help = services::EXAMPLES)]
    Services(Options),
    /// Members of the clusterset
    #[command(after_help = clusters::EXAMPLES)]
    Clusters(Options),
}

#[derive(Debug, Args)]
struct Options {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Show it again at every change, until interrupted
    #[arg(short, long, conflicts_with = "wait")]
    watch: bool,
    /// Wait until all is good, at most this long
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, num_args = 0..=1, require_equals = true,
          default_missing_value = "60s")]
    wait: Option<Duration>,
    #[command(flatten)]
    target: KubeTarget,
}

/// A report that is good or not.
trait Report: Shown {
    /// Why not all is good; none when it is.
    fn trouble(&self) -> Option<String>;
}

impl Show {
    /// Shows it.
    ///
    /// # Errors
    /// When the cluster does not answer, is no member, or not all is connected.
    pub async fn run(&self) -> anyhow::Result<()> {
        match &self.what {
            What::Gateways(options) => options.run(gateways::report).await,
            What::Connections(options) => options.run(connections::report).await,
            What::Services(options) => options.run(services::report).await,
            What::Clusters(options) => options.run(clusters::report).await,
        }
    }
}

impl Options {
    async fn run<R: Report>(&self, report: impl Fn(&World, Timestamp) -> R) -> anyhow::Result<()> {
        let cluster = self.target.connect("cluster").await?;
        if self.watch {
            return self.watch(&cluster, report).await;
        }
        let deadline = Instant::now() + self.wait.unwrap_or_default();
        let report = loop {
            let report = report(&World::read(&cluster).await?, Timestamp::now());
            if report.trouble().is_none() || Instant::now() >= deadline {
                break report;
            }
            tokio::time::sleep(POLL).await;
        };
        output::print(&self.output.render(&report)?);
        match report.trouble() {
            None => Ok(()),
            Some(trouble) => Err(NotConnected(trouble).into()),
        }
    }

    async fn watch<R: Report>(
        &self,
        cluster: &Connection,
        report: impl Fn(&World, Timestamp) -> R,
    ) -> anyhow::Result<()> {
        let (mut good, mut shown) = (String::new(), String::new());
        loop {
            let text = match World::read(cluster).await {
                Ok(world) => {
                    good = self.output.render(&report(&world, Timestamp::now()))?;
                    good.clone()
                }
                // What was last known stays on the screen, with the reason below it.
                Err(error) => format!("{good}\n{error}\n"),
            };
            if text != shown {
                let clear = if std::io::stdout().is_terminal() {
                    "\x1b[H\x1b[2J"
                } else {
                    ""
                };
                output::print(&format!("{clear}{text}"));
                shown = text;
            }
            tokio::time::sleep(WATCH_PERIOD).await;
        }
    }
}

const POLL: Duration = Duration::from_millis(200);
const WATCH_PERIOD: Duration = Duration::from_secs(1);
