use std::time::Instant;

use anyhow::bail;

use crate::{crds, deps, repository};

/// Runs every check, also after one has failed, and says at the end which did.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        let start = Instant::now();
        match check() {
            Ok(()) => println!("check {name}: ok ({:.1} s)", start.elapsed().as_secs_f32()),
            Err(error) => {
                println!("check {name}: FAILED: {error:#}");
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("failed: {}", failed.join(", "))
    }
}

type Check = fn() -> anyhow::Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("fmt", || {
        repository::run(&mut repository::cargo(&["fmt", "--all", "--check"]))
    }),
    ("deps", deps::check),
    ("crds", crds::check),
    ("clippy", || {
        let arguments = [
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        repository::run(&mut repository::cargo(&arguments))
    }),
    ("doc", || {
        let mut doc = repository::cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
        // Private items are documented too, so a link to one leads somewhere.
        repository::run(doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))
    }),
];
