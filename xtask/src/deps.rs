//! Four sentences: pure never sees effects; effects never see each other; binaries only wire; tests see all and are seen by none.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Deserialize;

use crate::repository;

/// Shows which of our crates depend on which.
#[derive(Debug, Args)]
pub(crate) struct Deps {
    /// Fail on an arrow that the architecture does not allow
    #[arg(long)]
    check: bool,
}

impl Deps {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if self.check {
            return check();
        }
        let packages = packages()?;
        for package in &packages {
            let ours: Vec<&str> = package.normal().filter(|name| layer(name).is_some()).collect();
            println!("{:16} -> {}", package.name, ours.join(", "));
        }
        Ok(())
    }
}

/// Fails on an arrow that is not allowed.
pub(crate) fn check() -> anyhow::Result<()> {
    let wrong: Vec<String> = packages()?.iter().flat_map(violations).collect();
    ensure!(
        wrong.is_empty(),
        "arrows that the architecture does not allow:\n  {}",
        wrong.join("\n  ")
    );
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// No tokio, no kube client, no sockets, no clock, no randomness, no files.
    Pure,
    /// One crate per outside world.
    Effect,
    /// Wires the others, as a binary does, but is a library.
    Composition,
    Binary,
    /// Seen by none.
    Top,
}

/// The layer of each of our crates.
const LAYERS: &[(&str, Layer)] = &[
    ("model", Layer::Pure),
    ("clusterset", Layer::Pure),
    ("probe", Layer::Pure),
    ("packet", Layer::Pure),
    ("hostnet", Layer::Pure),
    ("k8s-api", Layer::Pure),
    ("tunnel", Layer::Effect),
    ("hostnet-linux", Layer::Effect),
    ("k8s-runtime", Layer::Effect),
    ("apiserver", Layer::Effect),
    ("daemon", Layer::Effect),
    ("lab", Layer::Composition),
    ("gateway-agent", Layer::Binary),
    ("route-agent", Layer::Binary),
    ("lighthouse-dns", Layer::Binary),
    ("cli", Layer::Binary),
    ("xtask", Layer::Top),
    ("tests", Layer::Top),
];

/// Crates by which a pure crate would reach the outside world.
const OUTSIDE: &[&str] = &[
    "tokio",
    "socket2",
    "nix",
    "libc",
    "rtnetlink",
    "axum",
    "hyper",
    "boringtun",
    "rustls",
    "rand",
    "rand_core",
    "fastrand",
    "getrandom",
    "tempfile",
    "redb",
];

fn layer(name: &str) -> Option<Layer> {
    LAYERS.iter().find(|(ours, _)| *ours == name).map(|(_, layer)| *layer)
}

fn violations(package: &Package) -> Vec<String> {
    let Some(from) = layer(&package.name) else {
        return vec![format!("{} is in no layer; add it to xtask/src/deps.rs", package.name)];
    };
    let mut wrong = Vec::new();
    for name in package.normal() {
        if from == Layer::Pure && OUTSIDE.contains(&name) {
            wrong.push(format!("{} is pure, yet depends on {name}", package.name));
        }
        if let Some(to) = layer(name)
            && !is_allowed(from, to)
        {
            wrong.push(format!("{} ({from:?}) -> {name} ({to:?})", package.name));
        }
    }
    wrong
}

/// What a crate of one layer may depend on. Only arrows that are compiled into the product count: tests may see all.
fn is_allowed(from: Layer, to: Layer) -> bool {
    match from {
        Layer::Pure | Layer::Effect => to == Layer::Pure,
        Layer::Composition => matches!(to, Layer::Pure | Layer::Effect),
        Layer::Binary => matches!(to, Layer::Pure | Layer::Effect | Layer::Composition),
        Layer::Top => to != Layer::Top,
    }
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

impl Package {
    fn normal(&self) -> impl Iterator<Item = &str> {
        self.dependencies
            .iter()
            .filter(|dependency| dependency.kind.is_none())
            .map(|dependency| dependency.name.as_str())
    }
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

fn packages() -> anyhow::Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let output = repository::cargo(&["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata is not as expected")?;
    let by_name: BTreeMap<String, Package> = metadata
        .packages
        .into_iter()
        .map(|package| (package.name.clone(), package))
        .collect();
    Ok(by_name.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
            })
            .collect();
        Package {
            name: name.to_owned(),
            dependencies,
        }
    }

    #[test]
    fn forbidden_arrows_are_found_and_others_are_not() {
        assert_eq!(
            violations(&package("clusterset", &[("model", None), ("serde", None)])),
            Vec::<String>::new()
        );
        assert_eq!(violations(&package("model", &[("tokio", None)])).len(), 1);
        assert_eq!(violations(&package("model", &[("tunnel", None)])).len(), 1);
        assert_eq!(violations(&package("tunnel", &[("hostnet-linux", None)])).len(), 1);
        assert_eq!(
            violations(&package("k8s-runtime", &[("apiserver", Some("dev"))])),
            Vec::<String>::new()
        );
        assert_eq!(violations(&package("cli", &[("tests", None)])).len(), 1);
        assert_eq!(violations(&package("stranger", &[])).len(), 1);
    }
}
