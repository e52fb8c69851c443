//! How faithful the embedded API server is: exchanges recorded at a real one are replayed against it, and every difference is shown.
//!
//! A recording is a JSON file with one `request` and its `response`. They are replayed in the order of their file names, and
//! some steps may be missing. So each step is first given what it needs ([`mend`]): an object that the recorded server held and ours
//! does not is created from what the recordings show of it. What differs from run to run (uids, revisions, tokens, generated names,
//! times) is mapped or masked ([`names`]), everything else must be equal ([`compare`]). Other people's actions that a watch saw
//! are done again, from the events ([`watch`]). What is deliberately not served stands in one list with reasons ([`allowed`]).

mod allowed;
mod compare;
mod mend;
mod names;
mod path;
mod recording;
mod replay;
mod rights;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};

use crate::report::{Group, Report};
use allowed::Allowed;
use recording::Recording;
use replay::Replay;

/// Ours against what others do
#[derive(Debug, Args)]
pub(crate) struct Conformance {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// The embedded API server against recordings of a real one
    Apiserver(Apiserver),
}

#[derive(Debug, Args)]
struct Apiserver {
    /// The folder of recordings
    #[arg(long, value_name = "DIR", env = "TOMBOLO_GOLDEN")]
    golden: Option<PathBuf>,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show the differences of recordings whose name starts with this only
    #[arg(long, value_name = "PREFIX", default_value = "")]
    show: String,
}

impl Conformance {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Subject::Apiserver(apiserver) = self.subject;
        apiserver.run()
    }
}

impl Apiserver {
    fn run(self) -> anyhow::Result<()> {
        let folder = self.golden.context(
            "there are no recordings: none lie in this repository, because they are not ours to publish; \
             name a folder of them with --golden DIR or TOMBOLO_GOLDEN",
        )?;
        let recordings = recording::read_all(&folder)?;
        ensure!(
            !recordings.is_empty(),
            "{} holds no recordings (*.json)",
            folder.display()
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        let mut report = Report::new("conformance apiserver");
        let mended = runtime.block_on(replay_all(&recordings, &self.show, &mut report))?;
        print(&report, mended);
        report.ok = true;
        self.json.as_deref().map_or(Ok(()), |path| report.write(path))
    }
}

/// Replays everything and tells for how many objects a step was missing.
async fn replay_all(recordings: &[Recording], show: &str, report: &mut Report) -> anyhow::Result<usize> {
    let allowed = Allowed::list()?;
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut replay = Replay::start(recordings)?;
    for recording in recordings {
        let differences = replay.step(recording).await;
        let group = groups.entry(recording.group().to_owned()).or_default();
        group.total += 1;
        if differences.is_empty() {
            group.matched += 1;
        } else if let Some(reason) = allowed.reason(&recording.name, &differences) {
            group.allowed += 1;
            if recording.name.starts_with(show) {
                println!("{}: outside: {reason}", recording.name);
            }
        } else if recording.name.starts_with(show) {
            println!("{}: {}", recording.name, recording.summary());
            for difference in &differences {
                println!("    {difference}");
            }
        }
    }
    report.conformance(groups);
    Ok(replay.mended())
}

fn print(report: &Report, mended: usize) {
    println!("\n{:8} {:>7} {:>7} {:>7}", "group", "matched", "allowed", "total");
    for (
        name,
        Group {
            matched,
            allowed,
            total,
        },
    ) in report.groups()
    {
        println!("{name:8} {matched:>7} {allowed:>7} {total:>7}");
    }
    println!("{mended} objects were made from later recordings, because the steps that made them are missing");
}
