//! Named network namespaces, as `ip netns` makes them: a file in `/run/netns` onto which the namespace is mounted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// A named network namespace. It outlives this value: [`NetNs::delete`] removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetNs {
    name: String,
}

/// Working on a network namespace failed.
#[derive(Debug, thiserror::Error)]
pub enum NetNsError {
    /// A name that is no file name.
    #[error("\"{0}\" cannot name a network namespace; use letters, digits, '.', '_' and '-'")]
    Name(String),
    /// A step failed.
    #[error("cannot {action} network namespace {name}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The namespace.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl NetNs {
    /// Makes a namespace.
    ///
    /// # Errors
    /// If there is one of that name, or the process is not privileged.
    pub fn create(name: &str) -> Result<Self, NetNsError> {
        let netns = Self::named(name)?;
        netns.mount_new().map_err(netns.failure("create"))?;
        Ok(netns)
    }

    /// A namespace that somebody made.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(name: &str) -> Result<Self, NetNsError> {
        let netns = Self::named(name)?;
        netns.file()?;
        Ok(netns)
    }

    /// Removes the name. The namespace itself ends with its last process and socket.
    ///
    /// # Errors
    /// If there is none, or the process is not privileged.
    pub fn delete(&self) -> Result<(), NetNsError> {
        let path = self.path();
        // Not mounted is a leftover of a half-made namespace: the file goes all the same.
        match umount2(&path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::errno::Errno::EINVAL) => {}
            Err(error) => return Err(self.failure("unmount")(error.into())),
        }
        fs::remove_file(&path).map_err(self.failure("delete"))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// An open handle, which also keeps the namespace alive.
    ///
    /// # Errors
    /// If there is none.
    pub fn file(&self) -> Result<File, NetNsError> {
        File::open(self.path()).map_err(self.failure("open"))
    }

    /// Moves the calling thread, and what it will spawn, into the namespace for good.
    ///
    /// # Errors
    /// If there is none, or the process is not privileged.
    pub fn enter(&self) -> Result<(), NetNsError> {
        setns(self.file()?, CloneFlags::CLONE_NEWNET).map_err(|error| self.failure("enter")(error.into()))
    }

    /// Runs `work` on a thread of its own inside the namespace, and waits for it. A panic of `work` goes on in the caller.
    ///
    /// # Errors
    /// If there is no such namespace, or the process is not privileged.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
        let inside = || {
            self.enter()?;
            Ok(work())
        };
        thread::scope(|scope| {
            scope
                .spawn(inside)
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn named(name: &str) -> Result<Self, NetNsError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.chars().all(allowed) {
            return Err(NetNsError::Name(name.to_owned()));
        }
        Ok(Self { name: name.to_owned() })
    }

    fn mount_new(&self) -> io::Result<()> {
        share_folder()?;
        let path = self.path();
        File::options().write(true).create_new(true).open(&path)?;
        // A thread of its own moves into the new namespace and ends: the caller stays where it is.
        let fill = || -> io::Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(
                Some("/proc/thread-self/ns/net"),
                &path,
                NOTHING,
                MsFlags::MS_BIND,
                NOTHING,
            )?;
            Ok(())
        };
        let filled = thread::scope(|scope| {
            scope
                .spawn(fill)
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("panicked")))
        });
        filled.inspect_err(|_| drop(fs::remove_file(&path)))
    }

    fn failure(&self, action: &'static str) -> impl FnOnce(io::Error) -> NetNsError {
        let name = self.name.clone();
        move |source| NetNsError::Io { action, name, source }
    }
}

/// Makes `/run/netns` a shared mount, so that a deleted namespace also goes from mount namespaces made in the meantime.
fn share_folder() -> io::Result<()> {
    fs::create_dir_all(FOLDER)?;
    let share = || mount(NOTHING, FOLDER, NOTHING, MsFlags::MS_SHARED | MsFlags::MS_REC, NOTHING);
    if share() == Err(nix::errno::Errno::EINVAL) {
        mount(
            Some(FOLDER),
            FOLDER,
            NOTHING,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            NOTHING,
        )?;
        share()?;
    }
    Ok(())
}

const FOLDER: &str = "/run/netns";
const NOTHING: Option<&str> = None;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_file_names() {
        for name in ["", ".", "..", "a/b", ".hidden", "a b", "ä"] {
            assert!(matches!(NetNs::create(name), Err(NetNsError::Name(_))), "{name}");
        }
    }
}
