//! `cargo xtask vm`: a virtual machine with a stock kernel, whose WireGuard module is a peer for the tests of the tunnel.
//!
//! Everything comes from the machine's own Debian packages, which are unpacked and not installed, but for the emulator. The machine is
//! emulated, so it runs where there is no virtualization, slowly: good for interoperation, useless for speed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::Args;

use crate::repository;

/// Makes the virtual machine, and says how to run the tests with it. Needs Debian and root.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask vm
  TOMBOLO_KERNEL_VM=target/vm cargo test -p tunnel --test kernel module")]
pub(crate) struct Vm {
    /// Where to put kernel and file system
    #[arg(long, value_name = "DIR", default_value = "target/vm")]
    directory: PathBuf,
}

impl Vm {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let directory = repository::root().join(&self.directory);
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        println!("installing qemu-system-x86 and cpio (apt-get)");
        apt(
            &[
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                "qemu-system-x86",
                "cpio",
            ],
            &directory,
        )?;
        let root = unpack(&directory)?;
        let kernel = only(&root.join("boot"), "vmlinuz-")?;
        fs::copy(&kernel, directory.join("vmlinuz")).context("cannot copy the kernel")?;
        pack(&root, &directory)?;
        println!(
            "made. Try: TOMBOLO_KERNEL_VM={} cargo test -p tunnel --test kernel module",
            directory.display()
        );
        Ok(())
    }
}

/// Downloads the packages and unpacks them.
fn unpack(directory: &Path) -> anyhow::Result<PathBuf> {
    let root = directory.join("root");
    let packages = directory.join("packages");
    for fresh in [&root, &packages] {
        if fresh.exists() {
            fs::remove_dir_all(fresh).with_context(|| format!("cannot empty {}", fresh.display()))?;
        }
        fs::create_dir_all(fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    }
    let kernel = output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let kernel = kernel.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let kernel =
        kernel.context("the package linux-image-cloud-amd64 depends on no kernel; is there a Debian mirror?")?;
    println!("downloading {kernel}");
    apt(
        &[
            "download",
            "-qq",
            kernel,
            "busybox-static",
            "wireguard-tools",
            "libmnl0",
        ],
        &packages,
    )?;
    for package in fs::read_dir(&packages).context("cannot list the packages")? {
        let package = package.context("cannot list the packages")?.path();
        repository::run(Command::new("dpkg").arg("-x").arg(&package).arg(&root))?;
    }
    Ok(root)
}

/// The file system that the kernel starts with.
fn pack(root: &Path, directory: &Path) -> anyhow::Result<()> {
    let tree = directory.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree).context("cannot empty the tree")?;
    }
    for part in ["bin", "dev", "lib", "lib64", "modules", "proc", "sys"] {
        fs::create_dir_all(tree.join(part)).context("cannot make the tree")?;
    }
    let files = [
        (root.join("bin/busybox"), "bin/busybox"),
        (root.join("usr/bin/wg"), "bin/wg"),
        (root.join("usr/lib/x86_64-linux-gnu/libmnl.so.0"), "lib/libmnl.so.0"),
        (PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6"), "lib/libc.so.6"),
        (
            PathBuf::from("/lib64/ld-linux-x86-64.so.2"),
            "lib64/ld-linux-x86-64.so.2",
        ),
    ];
    for (from, to) in files {
        fs::copy(&from, tree.join(to)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let modules = Modules::of(root)?;
    let mut order = Vec::new();
    for module in ["virtio_pci", "virtio_net", "virtio_rng", "wireguard"] {
        modules.in_order(module, &mut order);
    }
    for module in &order {
        let file = tree.join("modules").join(format!("{module}.ko"));
        fs::copy(&modules.0[module], file).with_context(|| format!("cannot copy the module {module}"))?;
    }
    let list: String = order.iter().map(|module| format!("{module}.ko\n")).collect();
    fs::write(tree.join("modules/order"), list).context("cannot write the list of modules")?;
    fs::write(tree.join("init"), include_str!("init")).context("cannot write init")?;
    let image = directory.join("initrd.img");
    let pack = format!(
        "chmod +x init && find . | cpio -o -H newc --quiet | gzip -1 > '{}'",
        image.display()
    );
    repository::run(Command::new("sh").args(["-ec", &pack]).current_dir(&tree))
}

/// Modules by name, with `-` as `_`.
struct Modules(BTreeMap<String, PathBuf>);

impl Modules {
    fn of(root: &Path) -> anyhow::Result<Self> {
        let list = output(
            Command::new("find")
                .arg(root.join("lib/modules"))
                .args(["-name", "*.ko"]),
        )?;
        let named = list.lines().map(PathBuf::from).filter_map(|path| {
            let name = path.file_stem()?.to_str()?.replace('-', "_");
            Some((name, path))
        });
        let modules: BTreeMap<_, _> = named.collect();
        ensure!(
            modules.contains_key("wireguard"),
            "the kernel package has no module wireguard"
        );
        Ok(Self(modules))
    }

    /// The module after all that it depends on. What is no module is part of the kernel.
    fn in_order(&self, module: &str, order: &mut Vec<String>) {
        let name = module.replace('-', "_");
        let Some(path) = self.0.get(&name).filter(|_| !order.contains(&name)) else {
            return;
        };
        for dependency in dependencies(&fs::read(path).unwrap_or_default()) {
            self.in_order(&dependency, order);
        }
        order.push(name);
    }
}

/// What a module's own description (section `.modinfo`) says that it depends on.
fn dependencies(module: &[u8]) -> Vec<String> {
    let mut strings = module.split(|byte| *byte == 0);
    let list = strings.find_map(|text| text.strip_prefix(b"depends="));
    let list = String::from_utf8_lossy(list.unwrap_or_default());
    list.split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn only(directory: &Path, prefix: &str) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut found = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    let found = found.next().map(|entry| entry.path());
    found.with_context(|| format!("there is no {prefix}… in {}", directory.display()))
}

fn apt(arguments: &[&str], directory: &Path) -> anyhow::Result<()> {
    let mut apt = Command::new("apt-get");
    repository::run(
        apt.args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .current_dir(directory),
    )
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_depends_on() {
        assert_eq!(
            dependencies(b"ELF\0license=GPL\0depends=udp_tunnel,libchacha\0name=w\0"),
            ["udp_tunnel", "libchacha"]
        );
        assert_eq!(dependencies(b"depends=\0"), Vec::<String>::new());
        assert_eq!(dependencies(b"nothing"), Vec::<String>::new());
    }
}
