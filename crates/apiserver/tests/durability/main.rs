//! A server that is killed in the middle of its work, again and again.
//!
//! The server is a process of its own, this test binary started anew as [`server::the_server`]; the load comes over HTTPS. After
//! every SIGKILL the next process opens the same directory, and the writers compare what is there with what they were told.
//! `TOMBOLO_KILLS=200` kills it two hundred times instead of ten.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod load;
mod server;

use std::{env, time::Duration};

use load::Load;
use server::Process;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_an_acknowledged_write() {
    let kills: u32 = env::var("TOMBOLO_KILLS").map_or(10, |text| text.parse().expect("TOMBOLO_KILLS is a number"));
    let dir = tempfile::tempdir().unwrap();
    let mut load = Load::default();
    let mut lost = 0;
    for run in 0..kills {
        let mut process = Process::start(dir.path()).await;
        lost += load.check(&process.client().await).await;
        // Spread over the phases of a commit, by a sequence that is the same in every run of the test.
        let pause = Duration::from_millis(30 + u64::from(run * 37 % 150));
        load.run(&mut process, pause, run).await;
    }
    let process = Process::start(dir.path()).await;
    lost += load.check(&process.client().await).await;
    println!(
        "{kills} kills, {} acknowledged writes, {lost} lost",
        load.acknowledged()
    );
    assert_eq!(lost, 0, "acknowledged writes were lost");
    assert!(load.acknowledged() > u64::from(kills), "there was hardly any load");
}
