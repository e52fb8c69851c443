//! Runs nft: text in for writing, JSON out for reading. Small changes of elements go without it ([`nft_elements`]).
//!
//! **Reading is cheap.** A table with a thousand clusterset IPs has 64,000 elements, which nft takes more than a second to list; rules
//! take as long as there are neighbours' rules to list with them. So both are read at the start, every [`FULL_INTERVAL`], and when the
//! generation of the kernel's ruleset says that somebody else wrote; but elements of a large table not more often than
//! [`LARGE_INTERVAL`], because kube-proxy writes all the time. In between, the table is what was read or written last.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hostnet::{NftTable, VipUpdate, tags};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::{Feature, NftError};
use crate::netlink::Netlink;
use crate::nft_elements::{self, Elements};
use crate::nft_generation;
use crate::nft_json::{self, Listing};

/// The nft program, and what it said last.
#[derive(Debug)]
pub(crate) struct Nft {
    pub(crate) program: PathBuf,
    netfilter: Netlink,
    elements: Elements,
    memory: Mutex<Option<Memory>>,
}

/// The table as it was at a generation of the kernel's ruleset.
#[derive(Debug)]
struct Memory {
    generation: u32,
    /// When its elements were read or written.
    read_at: Instant,
    listing: Listing,
}

impl Memory {
    /// Whether nothing need be read, given the generation now.
    fn holds(&self, generation: u32) -> bool {
        self.generation == generation && self.read_at.elapsed() < FULL_INTERVAL
    }

    /// Whether at least the elements need not be.
    fn elements_hold(&self) -> bool {
        self.listing.vips.len() > LARGE && self.read_at.elapsed() < LARGE_INTERVAL
    }
}

impl Nft {
    pub(crate) fn open(program: PathBuf) -> io::Result<Self> {
        Ok(Self {
            program,
            netfilter: nft_generation::open()?,
            elements: Elements::open()?,
            memory: Mutex::new(None),
        })
    }

    /// Replaces our table in one transaction.
    pub(crate) async fn write(&self, table: &NftTable) -> Result<(), NftError> {
        self.forget();
        let before = self.generation().await?;
        self.run(&["-f", "-"], &table.text()).await?;
        self.remember(Memory {
            // Our own transaction is one step. If others have written meanwhile, it will be found to be another.
            generation: before.wrapping_add(1),
            read_at: Instant::now(),
            listing: Listing {
                shape: table.shape().clone(),
                vips: table.vips().clone(),
                counters: BTreeMap::new(),
            },
        });
        Ok(())
    }

    /// Changes elements of our table in one transaction.
    pub(crate) async fn update(&self, update: &VipUpdate) -> Result<(), NftError> {
        let before = self.take();
        if update.len() > nft_elements::MOST {
            self.run(&["-f", "-"], &update.text()).await?;
        } else {
            self.elements.update(update).await.map_err(NftError::Elements)?;
        }
        let generation = self.generation().await?;
        if let Some(mut memory) = before {
            memory.listing.vips.take_in(update);
            // More than one step is somebody else's doing too, and the old number says so.
            if generation == memory.generation.wrapping_add(1) {
                memory.generation = generation;
            }
            self.remember(memory);
        }
        Ok(())
    }

    /// Our table; none if it is not there, or if there cannot be one: then writing it says why.
    pub(crate) async fn read(&self) -> Result<Option<Listing>, NftError> {
        let generation = self.generation().await?;
        let known = match self.take() {
            Some(memory) if memory.holds(generation) => {
                let listing = memory.listing.clone();
                self.remember(memory);
                return Ok(Some(listing));
            }
            memory => memory.filter(Memory::elements_hold),
        };
        let Some(mut listing) = self.list(known.is_some()).await? else {
            return Ok(None);
        };
        let (mut generation, mut read_at) = (generation, Instant::now());
        if let Some(memory) = known {
            listing.shape.sets = memory.listing.shape.sets;
            listing.vips = memory.listing.vips;
            // The elements are still those of that time, and are to be read when they are old enough.
            (generation, read_at) = (memory.generation, memory.read_at);
        }
        self.remember(Memory {
            generation,
            read_at,
            listing: listing.clone(),
        });
        Ok(Some(listing))
    }

    /// Removes our table. True if there was one.
    pub(crate) async fn remove(&self) -> Result<bool, NftError> {
        self.forget();
        if self.list(true).await?.is_none() {
            return Ok(false);
        }
        self.run(&["delete", "table", "inet", tags::NFT_TABLE], "")
            .await
            .map(|_| true)
    }

    /// Without elements, nft 1.0.6 must be asked for the whole family: of one table it fetches all elements, to print none.
    async fn list(&self, without_elements: bool) -> Result<Option<Listing>, NftError> {
        let arguments: &[&str] = if without_elements {
            &["-t", "-j", "list", "ruleset", "inet"]
        } else {
            &["-j", "list", "table", "inet", tags::NFT_TABLE]
        };
        match self.run(arguments, "").await {
            Ok(output) => nft_json::parse(&output.stdout),
            Err(NftError::Unsupported(_)) => Ok(None),
            Err(NftError::Refused(why)) if why.contains("No such file or directory") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Zero where the kernel has no nftables: then there is no table whose elements could change.
    async fn generation(&self) -> Result<u32, NftError> {
        match nft_generation::read(&self.netfilter).await {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(0),
            read => read.map_err(NftError::Run),
        }
    }

    fn forget(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn remember(&self, memory: Memory) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(memory);
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
            io::ErrorKind::NotFound => NftError::Unsupported(Feature::NftProgram),
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
/// Elements are read at least this often.
const FULL_INTERVAL: Duration = Duration::from_secs(600);
/// So many elements take long to read.
const LARGE: usize = 4_096;
/// And are read at most this often on others' account.
const LARGE_INTERVAL: Duration = Duration::from_secs(60);
