//! The main job, end to end, by the same command that a person uses: `cargo xtask demo`, over programs that are built already.

mod servers;

use std::path::PathBuf;
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

/// On the servers that `TOMBOLO_KUBECONFIG_DIR` names, or else on embedded ones that are not the lab's.
#[test]
fn on_api_servers_that_were_there_before() {
    let (folder, _servers) = match std::env::var("TOMBOLO_KUBECONFIG_DIR") {
        Ok(folder) => (PathBuf::from(folder), None),
        Err(_) => {
            eprintln!("TOMBOLO_KUBECONFIG_DIR is not set: no real API server, embedded ones instead");
            let servers = servers::Servers::start(2);
            (servers.folder().to_owned(), Some(servers))
        }
    };
    let folder = folder.to_str().expect("a folder with a plain name");
    demo("e2ereal", &["--one-lab", "--kubeconfig-dir", folder]);
}

fn demo(name: &str, arguments: &[&str]) {
    if tests::must_skip() {
        return;
    }
    let _one = LAB.lock().unwrap_or_else(PoisonError::into_inner);
    let binaries = tests::binaries();
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
