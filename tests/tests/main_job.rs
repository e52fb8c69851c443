//! The main job, end to end, by the same command that a person uses: `cargo xtask demo`, over programs that are built already.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// One lab at a time: each is a dozen hosts.
static LAB: Mutex<()> = Mutex::new(());

#[test]
fn over_ipv4_with_outages_and_a_narrow_underlay() {
    demo("e2ev4", &["--ip-family", "v4", "--prove"]);
}

#[test]
fn over_ipv4_and_ipv6() {
    demo("e2edual", &["--ip-family", "dual", "--one-lab"]);
}

fn demo(name: &str, arguments: &[&str]) {
    if !nix::unistd::geteuid().is_root() {
        let must_run = std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_some_and(|value| value == "1");
        assert!(!must_run, "the lab needs root");
        eprintln!("skipped: the lab needs root");
        return;
    }
    let _one = LAB.lock().unwrap_or_else(PoisonError::into_inner);
    let binaries = binaries();
    let output = Command::new(binaries.join("xtask"))
        .args(["demo", "--name", name, "--binaries"])
        .arg(&binaries)
        .args(arguments)
        .output()
        .expect("cargo build --bins made xtask");
    let text = [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat();
    assert!(output.status.success(), "{text}");
    println!("{text}");
}

/// Where cargo put the programs: beside the folder of this test.
fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let binaries = test
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps/<test>");
    assert!(
        binaries.join("tombolo").exists(),
        "build the programs first: cargo build --workspace --bins"
    );
    binaries.to_owned()
}
