//! Puts a container's root together and moves into it.
//!
//! The root is a file system in memory. The machine's distribution appears in it read-only, part by part, and stands for the
//! image's; `/usr/local`, `/etc`, `/var`, `/tmp` and the like are the container's own, so that nothing it writes reaches the machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::pivot_root;

use super::Spec;

/// Builds the root and makes it this process's.
pub(super) fn build(spec: &Spec) -> anyhow::Result<()> {
    // What happens to the mounts from here on is nobody else's business.
    change(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    let root = Root(&spec.root);
    root.file_system("", "tmpfs", MsFlags::MS_NOSUID, "mode=0755")?;
    root.distribution()?;
    for (source, target) in &spec.programs {
        // Images hold more programs than one container runs; a build may lack some.
        if source.exists() {
            root.bind(source, target, true)?;
        }
    }
    root.kernel(spec.privileges.is_privileged)?;
    root.devices(spec.privileges.is_privileged)?;
    for mount in &spec.mounts {
        root.bind(&mount.source, &mount.target, mount.is_read_only)?;
    }
    root.enter()?;
    if spec.is_root_read_only {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
        change(Path::new("/"), flags)?;
    }
    Ok(())
}

/// The root while it is being built.
struct Root<'a>(&'a Path);

impl Root<'_> {
    fn distribution(&self) -> anyhow::Result<()> {
        for directory in OWN_DIRECTORIES {
            self.directory(Path::new(directory))?;
        }
        for directory in ["tmp", "var/tmp", "dev/shm"] {
            let path = self.0.join(directory);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).with_context(|| on(&path))?;
        }
        symlink("../run", self.0.join("var/run")).context("cannot make /var/run")?;

        for entry in fs::read_dir("/usr").context("cannot read /usr")? {
            let path = entry.context("cannot read /usr")?.path();
            if path != Path::new("/usr/local") {
                self.share(&path)?;
            }
        }
        for path in SHARED
            .iter()
            .map(Path::new)
            .filter(|path| path.symlink_metadata().is_ok())
        {
            self.share(path)?;
        }
        Ok(())
    }

    /// Makes a part of the machine appear at the same place: a link as a link, the rest read-only.
    fn share(&self, path: &Path) -> anyhow::Result<()> {
        let metadata = path.symlink_metadata().with_context(|| on(path))?;
        if metadata.is_symlink() {
            let target = fs::read_link(path).with_context(|| on(path))?;
            return symlink(&target, self.at(path)).with_context(|| on(path));
        }
        self.bind(path, path, true)
    }

    fn kernel(&self, is_privileged: bool) -> anyhow::Result<()> {
        let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        self.file_system("proc", "proc", plain, "")?;
        // A file system of its own shows the links of the network namespace that it is mounted from.
        let read_only = if is_privileged {
            MsFlags::empty()
        } else {
            MsFlags::MS_RDONLY
        };
        self.file_system("sys", "sysfs", plain | read_only, "")?;
        for path in READ_ONLY_PROC.iter().map(|name| self.0.join("proc").join(name)) {
            if !is_privileged && path.exists() {
                bind(&path, &path)?;
                change(
                    &path,
                    plain | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY,
                )?;
            }
        }
        Ok(())
    }

    fn devices(&self, is_privileged: bool) -> anyhow::Result<()> {
        if is_privileged {
            return bind(Path::new("/dev"), &self.0.join("dev"));
        }
        for device in ["null", "zero", "full", "random", "urandom", "tty"] {
            let path = Path::new("/dev").join(device);
            self.bind(&path, &path, false)?;
        }
        for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
            let path = self.0.join("dev").join(name);
            symlink(format!("/proc/self/fd{target}"), &path).with_context(|| on(&path))?;
        }
        Ok(())
    }

    fn enter(&self) -> anyhow::Result<()> {
        std::env::set_current_dir(self.0).with_context(|| on(self.0))?;
        // pivot_root(2): with both arguments the same, the old root lies over the new one, and goes with the next line.
        pivot_root(".", ".").context("cannot change the root")?;
        umount2(".", MntFlags::MNT_DETACH).context("cannot let go of the machine's root")?;
        std::env::set_current_dir("/").context("cannot change to the new root")
    }

    /// Makes `source` appear at `target`, for which a place is made if there is none.
    fn bind(&self, source: &Path, target: &Path, is_read_only: bool) -> anyhow::Result<()> {
        let metadata = source
            .metadata()
            .with_context(|| format!("cannot mount {}", source.display()))?;
        let place = self.at(target);
        let made = if metadata.is_dir() {
            fs::create_dir_all(&place)
        } else if place.exists() {
            Ok(())
        } else {
            let parent = place.parent().unwrap_or(self.0);
            fs::create_dir_all(parent).and_then(|()| fs::write(&place, ""))
        };
        made.with_context(|| format!("there is no place for a mount at {}", target.display()))?;
        bind(source, &place)?;
        if is_read_only {
            change(
                &place,
                MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID,
            )?;
        }
        Ok(())
    }

    fn file_system(&self, target: &str, kind: &str, flags: MsFlags, data: &str) -> anyhow::Result<()> {
        let target = self.0.join(target);
        mount(Some(kind), &target, Some(kind), flags, Some(data))
            .with_context(|| format!("cannot mount {kind} on {}", target.display()))
    }

    fn directory(&self, path: &Path) -> anyhow::Result<()> {
        let path = self.at(path);
        fs::create_dir_all(&path).with_context(|| on(&path))
    }

    /// Where a path of the container is for now.
    fn at(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }
}

fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .with_context(|| format!("cannot mount {} on {}", source.display(), target.display()))
}

fn change(target: &Path, flags: MsFlags) -> anyhow::Result<()> {
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("cannot change the mount {}", target.display()))
}

fn on(path: &Path) -> String {
    format!("cannot make {} for the container", path.display())
}

/// Directories that are the container's own.
const OWN_DIRECTORIES: &[&str] = &[
    "dev/shm",
    "etc",
    "home",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr/local/bin",
    "var/lib",
    "var/log",
    "var/tmp",
];

/// What programs of the distribution need beside `/usr`. The machine's names, users and resolver are not among it.
const SHARED: &[&str] = &[
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/sbin",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/iproute2",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl",
];

/// As the OCI runtimes' default.
const READ_ONLY_PROC: &[&str] = &["bus", "fs", "irq", "sys", "sysrq-trigger"];
