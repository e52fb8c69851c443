//! The role that moves into a place of the lab and becomes another program there.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::setsid;

use crate::namespace::Namespace;
use crate::process::GO;

/// Where to go, and what to become.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The network namespace's name.
    #[arg(long, required_unless_present_any = ["process", "detach"], conflicts_with = "process")]
    pub namespace: Option<String>,
    /// The process whose network and mounts to share instead.
    #[arg(long)]
    pub process: Option<i32>,
    /// Lead a session of one's own, keep the machine's mounts, and wait for the word on the standard input before all else.
    #[arg(long)]
    pub detach: bool,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    pub argv: Vec<String>,
}

/// Goes there and becomes the program.
///
/// # Errors
/// When the place or the program is not there.
pub fn run(args: &Args) -> anyhow::Result<Infallible> {
    if args.detach {
        await_word()?;
        // It fails only for a leader of a group, which has a session that serves as well.
        let _ = setsid();
    }
    if let Some(namespace) = &args.namespace {
        Namespace::named(namespace).enter()?;
        if !args.detach {
            show_own_links()?;
        }
    }
    if let Some(process) = args.process {
        join_process(process)?;
    }
    let (program, arguments) = args.argv.split_first().context("there is no program to run")?;
    let mut command = Command::new(program);
    command.args(arguments);
    if args.detach {
        let log = io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .context("cannot share the log")?;
        command.stdin(Stdio::null()).stdout(log);
    }
    Err(command.exec()).with_context(|| format!("cannot run '{program}'"))
}

/// Who starts a process of the lab gives the word when it is written down, and may be killed before.
fn await_word() -> anyhow::Result<()> {
    let mut word = [0; GO.len()];
    let is_given = io::stdin().read_exact(&mut word).is_ok() && word == GO;
    ensure!(
        is_given,
        "the command that started this process did not live to tell it to go on"
    );
    Ok(())
}

/// `/sys` of the machine shows the machine's links, so another takes its place, for this process only.
///
/// Daemons of the lab do without: mounts they make, such as those of new namespaces, are for all to see.
fn show_own_links() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot have mounts of its own")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none).context("cannot keep mounts to itself")?;
    // Nothing may be mounted on /sys, as in some containers; then nothing has to go.
    let _ = umount2("/sys", MntFlags::MNT_DETACH);
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).context("cannot mount /sys")
}

fn join_process(pid: i32) -> anyhow::Result<()> {
    let open = |kind: &str| {
        let path = format!("/proc/{pid}/ns/{kind}");
        File::open(&path).with_context(|| format!("the process {pid} has ended: cannot open {path}"))
    };
    let (network, hostname, mounts) = (open("net")?, open("uts")?, open("mnt")?);
    setns(network, CloneFlags::CLONE_NEWNET).context("cannot enter the network of the process")?;
    setns(hostname, CloneFlags::CLONE_NEWUTS).context("cannot take the host name of the process")?;
    // The kernel refuses new mounts to a thread that shares its directory with others.
    unshare(CloneFlags::CLONE_FS).context("cannot have a directory of its own")?;
    setns(mounts, CloneFlags::CLONE_NEWNS).context("cannot enter the mounts of the process")
}
