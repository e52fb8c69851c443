//! The embedded broker as a process: its files, its restart, its end.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::fixture::Ran;

/// Starts a broker and waits until it says that it is there.
async fn serve(dir: &Path, listen: &str) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo"));
    command
        .args(["broker", "serve", "--listen", listen, "--data-dir"])
        .arg(dir);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
    let line = first
        .expect("a line within 30 s")
        .unwrap()
        .expect("a line, not the end");
    (child, line.split_whitespace().last().unwrap().to_owned())
}

async fn tombolo(dir: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo"));
    command
        .args(arguments)
        .arg("--kubeconfig")
        .arg(dir.join("admin.kubeconfig"));
    Ran::from_output(command.output().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives_a_kill_with_its_certificates_and_members() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, url) = serve(dir.path(), "127.0.0.1:0").await;
    let token = tombolo(dir.path(), &["broker", "invite", "east"]).await.ok();
    let token = cli::token::InviteToken::decode(&token).unwrap();
    assert_eq!(token.url, url);
    let before = tombolo(dir.path(), &["broker", "status", "-o", "json"]).await.ok();
    child.kill().await.unwrap();

    let listen = url.strip_prefix("https://").unwrap();
    let (mut child, again) = serve(dir.path(), listen).await;
    assert_eq!(again, url);
    assert_eq!(
        tombolo(dir.path(), &["broker", "status", "-o", "json"]).await.ok(),
        before
    );
    // The invitation from before the kill is still good.
    let guest = cli::connect::with_token(token.server(), &token.token, "broker").unwrap();
    let membership = cli::join::redeem::redeem(&token, &guest).await.unwrap();
    assert!(!membership.token.is_empty());
    child.kill().await.unwrap();
    let status = tombolo(dir.path(), &["broker", "status"]).await;
    status.fails(1, &[&url, "connection refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named_with_the_mend() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo"));
    command
        .args(["broker", "serve", "--listen", &address, "--data-dir"])
        .arg(dir.path());
    let ran = Ran::from_output(command.output().await.unwrap());
    ran.fails(1, &[&address, "another process listens there", "--listen"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_broker_has_its_members_and_another_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, url) = serve(dir.path(), "127.0.0.1:0").await;
    tombolo(dir.path(), &["broker", "invite", "east"]).await.ok();
    let before = status(dir.path()).await;
    let file = dir.path().join("saved");
    let to = file.to_str().unwrap();
    tombolo(dir.path(), &["broker", "backup", "--to", to]).await.ok();
    let restore = [
        "broker",
        "restore",
        "--from",
        to,
        "--data-dir",
        dir.path().to_str().unwrap(),
    ];
    tombolo(dir.path(), &restore)
        .await
        .fails(1, &["in use", "stop that one first"]);
    child.kill().await.unwrap();
    tombolo(dir.path(), &restore)
        .await
        .fails(1, &["store.redb exists already"]);
    std::fs::remove_file(dir.path().join("store.redb")).unwrap();
    tombolo(dir.path(), &restore).await.ok();

    let (mut child, again) = serve(dir.path(), url.strip_prefix("https://").unwrap()).await;
    assert_eq!(again, url);
    let after = status(dir.path()).await;
    assert_eq!(after["members"], before["members"]);
    assert_ne!(after["incarnation"], before["incarnation"]);
    child.kill().await.unwrap();

    let mut cut = std::fs::read(&file).unwrap();
    cut.truncate(cut.len() / 2);
    std::fs::write(&file, cut).unwrap();
    tombolo(dir.path(), &restore).await.fails(1, &[to, "take another one"]);
}

async fn status(dir: &Path) -> serde_json::Value {
    let text = tombolo(dir, &["broker", "status", "-o", "json"]).await.ok();
    serde_json::from_str(&text).unwrap()
}
