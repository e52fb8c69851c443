//! The programs that are measured and that measure: found, built, or unpacked beside the system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::repository;

/// An example program of our engine, built for measuring.
pub(crate) fn example(name: &str) -> anyhow::Result<String> {
    example_of("tunnel", name)
}

/// An example program of a package, built for measuring.
pub(crate) fn example_of(package: &str, name: &str) -> anyhow::Result<String> {
    repository::run(&mut repository::cargo(&[
        "build",
        "--quiet",
        "--release",
        "-p",
        package,
        "--example",
        name,
    ]))?;
    text(&repository::target_directory().join("release/examples").join(name))
}

/// The named program from the environment; or Debian trixie's package, unpacked from the machine's own mirror; or what is installed.
pub(crate) fn wireguard_go() -> anyhow::Result<String> {
    if let Ok(path) = std::env::var("TOMBOLO_WIREGUARD_GO") {
        return Ok(path);
    }
    debian("wireguard-go", "trixie", "usr/bin/wireguard-go").or_else(|error| {
        let found = installed("wireguard-go").context(error)?;
        eprintln!("  wireguard-go: trixie's package cannot be had, {found} is measured instead");
        Ok(found)
    })
}

/// The named program from the environment, what is installed, or what cargo builds of crates.io.
pub(crate) fn boringtun_cli() -> anyhow::Result<String> {
    if let Ok(path) = std::env::var("TOMBOLO_BORINGTUN_CLI") {
        return Ok(path);
    }
    if let Some(path) = installed("boringtun-cli") {
        return Ok(path);
    }
    let tools = directory();
    let program = tools.join("bin/boringtun-cli");
    if !program.exists() {
        let root = text(&tools)?;
        repository::run(&mut repository::cargo(&[
            "install",
            "--quiet",
            "--locked",
            "--root",
            &root,
            "boringtun-cli",
        ]))?;
    }
    text(&program)
}

/// What switches offloads off.
pub(crate) fn ethtool() -> anyhow::Result<String> {
    installed("ethtool").map_or_else(|| debian("ethtool", &own_suite()?, "sbin/ethtool"), Ok)
}

/// Unpacks a package of Debian from the mirror that this machine uses, with the suite changed, and installs nothing.
fn debian(package: &str, suite: &str, program: &str) -> anyhow::Result<String> {
    let place = directory().join(format!("{package}-{suite}"));
    let program = place.join(program);
    if program.exists() {
        return text(&program);
    }
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(place.join(folder)).with_context(|| format!("cannot make {}", place.display()))?;
    }
    let sources = place.join("debian.list");
    fs::write(&sources, format!("deb {} {suite} main\n", mirror()?))?;
    let options = [
        format!("Dir::Etc::SourceList={}", sources.display()),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State::Lists={}", place.join("lists").display()),
        format!("Dir::Cache={}", place.join("cache").display()),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(["-qq"])
            .args(options.iter().flat_map(|option| ["-o", option]))
            .args(arguments);
        command.current_dir(&place);
        repository::run(&mut command)
    };
    apt(&["update"])?;
    apt(&["download", package])?;
    for entry in fs::read_dir(&place)?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            repository::run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(&place))?;
        }
    }
    if !program.exists() {
        bail!("{package} of {suite} has no {}", program.display());
    }
    text(&program)
}

/// The mirror in the machine's own list of sources.
fn mirror() -> anyhow::Result<String> {
    let mut lists = vec![PathBuf::from("/etc/apt/sources.list")];
    lists.extend(
        fs::read_dir("/etc/apt/sources.list.d")?
            .flatten()
            .map(|entry| entry.path()),
    );
    let text: String = lists.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let is_archive = |word: &&str| word.contains("://") && word.trim_end_matches('/').ends_with("/debian");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let found = lines.flat_map(str::split_whitespace).find(is_archive);
    Ok(found.context("no Debian mirror is named under /etc/apt")?.to_owned())
}

fn own_suite() -> anyhow::Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(suite.context("/etc/os-release names no suite")?.to_owned())
}

fn installed(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())?;
    found.to_str().map(str::to_owned)
}

fn directory() -> PathBuf {
    repository::target_directory().join("tools")
}

fn text(path: &Path) -> anyhow::Result<String> {
    Ok(path
        .to_str()
        .with_context(|| format!("{} is not text", path.display()))?
        .to_owned())
}
