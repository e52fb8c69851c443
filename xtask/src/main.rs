//! `cargo xtask`: everything that is done with this repository beyond `cargo build`.

#![forbid(unsafe_code)]

mod bench;
mod check;
mod conformance;
mod crds;
mod demo;
mod deps;
mod report;
mod repository;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, checks, tests and shows Tombolo.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// The main job, step by step, on this machine
    Demo(demo::Demo),
    /// Ours beside the peers', measured in one run
    Bench(bench::Bench),
    /// How faithful the embedded API server is to recordings of a real one
    Conformance(conformance::Conformance),
    /// Every check that needs no test run: formatting, lints, crate arrows, generated files, documentation
    Check,
    /// Every test there is; ends with the count
    Test(test::Test),
    /// A virtual machine whose kernel is a WireGuard peer for tests
    Vm(vm::Vm),
    /// The arrows between our crates
    Deps(deps::Deps),
    /// The CustomResourceDefinitions in deploy/crds
    Crds(crds::Crds),
}

fn main() -> ExitCode {
    let result = match Xtask::parse().task {
        Task::Demo(demo) => demo.run(),
        Task::Bench(bench) => bench.run(),
        Task::Conformance(conformance) => conformance.run(),
        Task::Check => check::run(),
        Task::Test(test) => test.run(),
        Task::Vm(vm) => vm.run(),
        Task::Deps(deps) => deps.run(),
        Task::Crds(crds) => crds.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
