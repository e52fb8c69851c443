//! Runs nft: text in for writing, JSON out for reading.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use hostnet::{NftTable, tags};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::{Feature, NftError};
use crate::nft_json::{self, Listing};

/// The nft program.
#[derive(Debug)]
pub(crate) struct Nft {
    pub(crate) program: PathBuf,
}

impl Nft {
    /// Replaces our table in one transaction.
    pub(crate) async fn write(&self, table: &NftTable) -> Result<(), NftError> {
        self.run(&["-f", "-"], table.text()).await.map(drop)
    }

    /// Our table; none if it is not there, or if there cannot be one: then writing it says why.
    pub(crate) async fn read(&self) -> Result<Option<Listing>, NftError> {
        match self.run(&["-j", "list", "table", "inet", tags::NFT_TABLE], "").await {
            Ok(output) => nft_json::parse(&output.stdout).map(Some),
            Err(NftError::Unsupported(_)) => Ok(None),
            Err(NftError::Refused(why)) if why.contains("No such file or directory") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes our table. True if there was one.
    pub(crate) async fn remove(&self) -> Result<bool, NftError> {
        if self.read().await?.is_none() {
            return Ok(false);
        }
        self.run(&["delete", "table", "inet", tags::NFT_TABLE], "")
            .await
            .map(|_| true)
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<Output, NftError> {
        let spawned = Command::new(&self.program)
            .args(arguments)
            // Messages are matched, so they must not be translated.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = spawned.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => NftError::Unsupported(Feature::NftProgram),
            _ => NftError::Run(error),
        })?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let feed = async move {
            // A program that ends early says why on stderr; that its input is closed is no news.
            let _ = stdin.write_all(input.as_bytes()).await;
        };
        let work = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(DEADLINE, work)
            .await
            .map_err(|_| NftError::Timeout(DEADLINE.as_secs()))?;
        let output = output.map_err(NftError::Run)?;
        if output.status.success() {
            return Ok(output);
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let kernel_lacks_it = ["not supported", "Unable to initialize Netlink socket"]
            .iter()
            .any(|sign| why.contains(sign));
        Err(if kernel_lacks_it {
            NftError::Unsupported(Feature::NfTables)
        } else {
            NftError::Refused(why)
        })
    }
}

const DEADLINE: Duration = Duration::from_secs(10);
