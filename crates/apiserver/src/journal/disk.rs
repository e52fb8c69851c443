//! A disk for tests, which runs full and loses power where the test says.
//!
//! Until it is synced, a write may reach the medium, be lost, or be torn between two sectors, in any order with the others: that is
//! what a disk promises, and all that the file may lean on.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::StorageBackend;

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What is certainly on the medium, and what a reader sees.
    synced: Vec<u8>,
    seen: Vec<u8>,
    pending: Vec<Op>,
    /// Operations until the power goes.
    left: Option<usize>,
    /// It cannot grow beyond this.
    room: Option<u64>,
    /// It takes no writes.
    read_only: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Op {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(usize::try_from(*length).unwrap(), 0),
            Self::Write(offset, data) => {
                let start = usize::try_from(*offset).unwrap();
                let end = start + data.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[start..end].copy_from_slice(data);
            }
        }
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The power goes after this many more operations.
    pub(crate) fn cut_after(&self, operations: usize) {
        self.state().left = Some(operations);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.state().left == Some(0)
    }

    /// No room beyond what is used now.
    pub(crate) fn fill(&self) {
        let mut state = self.state();
        state.room = Some(state.seen.len() as u64);
    }

    pub(crate) fn make_read_only(&self) {
        self.state().read_only = true;
    }

    /// What a process finds that starts after a kill: the kernel has everything.
    pub(crate) fn after_kill(&self) -> Self {
        Self::holding(self.state().seen.clone())
    }

    /// What is found after a power cut; `luck` decides about each sector that was not synced.
    pub(crate) fn after_power_cut(&self, mut luck: impl FnMut() -> bool) -> Self {
        let state = self.state();
        let mut image = state.synced.clone();
        for op in &state.pending {
            match op {
                Op::Length(_) => op.apply(&mut image),
                Op::Write(offset, data) => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        if luck() {
                            Op::Write(offset + (n * SECTOR) as u64, sector.to_vec()).apply(&mut image);
                        }
                    }
                }
            }
        }
        Self::holding(image)
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.state().seen.clone()
    }

    pub(crate) fn holding(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State {
            synced: image.clone(),
            seen: image,
            ..State::default()
        })))
    }

    fn change(&self, op: Op) -> io::Result<()> {
        let mut state = self.state();
        state.spend()?;
        if state.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let end = match &op {
            Op::Length(length) => *length,
            Op::Write(offset, data) => offset + data.len() as u64,
        };
        if state.room.is_some_and(|room| end > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        op.apply(&mut state.seen);
        state.pending.push(op);
        Ok(())
    }
}

impl State {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let start = usize::try_from(offset).unwrap();
        let found = state.seen.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Op::Length(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.spend()?;
        let state = &mut *state;
        for op in state.pending.drain(..) {
            op.apply(&mut state.synced);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Op::Write(offset, data.to_vec()))
    }
}

const SECTOR: usize = 512;
