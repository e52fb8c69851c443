use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, ensure};
use clap::Args;

use crate::repository;

/// Writes the CustomResourceDefinitions, which are generated from the Rust types, to deploy/crds.
#[derive(Debug, Args)]
pub(crate) struct Crds {
    /// Write nothing; fail if a file is not what the types say
    #[arg(long)]
    check: bool,
}

impl Crds {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if self.check { check() } else { write() }
    }
}

/// Fails if a file is not what the types say.
pub(crate) fn check() -> anyhow::Result<()> {
    let (wanted, found) = (wanted(), found()?);
    let differing: Vec<&String> = wanted
        .iter()
        .filter(|(name, text)| found.get(*name) != Some(text))
        .map(|(name, _)| name)
        .chain(found.keys().filter(|name| !wanted.contains_key(*name)))
        .collect();
    ensure!(
        differing.is_empty(),
        "deploy/crds is not what the types say: {differing:?}; run cargo xtask crds"
    );
    Ok(())
}

fn write() -> anyhow::Result<()> {
    let directory = repository::root().join("deploy/crds");
    fs::create_dir_all(&directory)?;
    let wanted = wanted();
    for name in found()?.keys().filter(|name| !wanted.contains_key(*name)) {
        fs::remove_file(directory.join(name))?;
    }
    for (name, text) in wanted {
        fs::write(directory.join(&name), text).with_context(|| format!("cannot write deploy/crds/{name}"))?;
    }
    Ok(())
}

fn wanted() -> BTreeMap<String, String> {
    k8s_api::crds::yaml_documents().into_iter().collect()
}

fn found() -> anyhow::Result<BTreeMap<String, String>> {
    let directory = repository::root().join("deploy/crds");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .expect("an entry has a name")
            .to_string_lossy()
            .into_owned();
        found.insert(name, fs::read_to_string(&path)?);
    }
    Ok(found)
}
