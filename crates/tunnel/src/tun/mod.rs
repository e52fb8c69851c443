mod link;

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::errno::Errno;
use packet::{Merge, VirtioNetHeader};

pub use link::link_mtu;

/// A TUN device: IP packets, and stretches of streams that are one packet to the kernel (`IFF_VNET_HDR`). It is persistent, so that the routes into it outlive the process, and a killed
/// agent sends nothing in plaintext; whoever cleans the node removes the link.
#[derive(Debug)]
pub struct TunDevice {
    file: File,
    name: String,
    merge: Merge,
    /// Whether it can have more queues than one; a link that was made without can not.
    is_multi_queue: bool,
    /// Held by the first queue: a second process would get a queue of its own, and with it a share of the packets.
    _claim: Option<UnixDatagram>,
}

/// Why there is no TUN device. Every message says what to do on the node.
#[derive(Debug, thiserror::Error)]
pub enum OpenTunError {
    /// The kernel or the container has no TUN.
    #[error(
        "/dev/net/tun is missing: load the kernel module \"tun\" on the node, and mount the device into the container"
    )]
    Missing(#[source] io::Error),
    /// The process may not.
    #[error("not permitted to open TUN device {name}: the process needs CAP_NET_ADMIN and access to /dev/net/tun")]
    NotPermitted {
        /// The device.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Someone else has it open.
    #[error("TUN device {name} is in use: another gateway agent runs on this node; stop it first")]
    InUse {
        /// The device.
        name: String,
    },
    /// The name cannot be that of a link.
    #[error("\"{0}\" is not the name of a link: use 1 to 15 characters without '/' and spaces")]
    InvalidName(String),
    /// A link of that name exists and is of another kind.
    #[error("link {name} exists and is not a plain TUN device: remove it with \"ip link delete {name}\"")]
    WrongKind {
        /// The device.
        name: String,
    },
    /// Anything else.
    #[error("cannot open TUN device {name}")]
    Other {
        /// The device.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl TunDevice {
    /// Opens the TUN device of this name in the network namespace of the calling thread, and makes it if there is none. The link
    /// itself is left as it is.
    ///
    /// # Errors
    /// Says what the node lacks.
    pub fn open(name: &str) -> Result<Self, OpenTunError> {
        Self::open_at(CLONE_DEVICE, name)
    }

    fn open_at(path: &str, name: &str) -> Result<Self, OpenTunError> {
        check_name(name)?;
        // Before the device, so that the message about a missing device does not depend on who else is there.
        let file = open_clone(path, name)?;
        let claim = claim(name)?;
        let is_multi_queue = match attach(&file, name, MULTI_QUEUE) {
            // An older link, or an older kernel.
            Err(Errno::EINVAL) => attach(&file, name, 0).map(|()| false),
            attached => attached.map(|()| true),
        }
        .map_err(|errno| refused(name, errno.into()))?;
        // SAFETY: the descriptor is open, and the argument is a number.
        unsafe { ioctl::set_persistent(file.as_raw_fd(), 1) }.map_err(|errno| refused(name, errno.into()))?;
        Ok(Self {
            merge: set_offload(&file),
            file,
            name: name.to_owned(),
            is_multi_queue,
            _claim: Some(claim),
        })
    }

    /// One more queue of the same device, for another thread, in the network namespace of the calling thread. Nothing if the device
    /// has room for one only.
    pub(crate) fn another_queue(&self) -> Result<Option<Self>, OpenTunError> {
        if !self.is_multi_queue {
            return Ok(None);
        }
        let file = open_clone(CLONE_DEVICE, &self.name)?;
        match attach(&file, &self.name, MULTI_QUEUE) {
            Ok(()) => Ok(Some(Self {
                merge: set_offload(&file),
                file,
                name: self.name.clone(),
                is_multi_queue: true,
                _claim: None,
            })),
            // As many as the kernel gives.
            Err(Errno::E2BIG) => Ok(None),
            Err(errno) => Err(refused(&self.name, errno.into())),
        }
    }

    /// What the kernel takes in larger pieces than packets, and gives.
    pub(crate) fn merge(&self) -> Merge {
        self.merge
    }

    /// The name of its link.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the next packet that was routed into the device, after a [`VirtioNetHeader`]; `WouldBlock` if there is none.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Hands a packet after its [`VirtioNetHeader`] to the kernel, as if it had arrived on the link.
    pub(crate) fn write(&self, header_and_packet: &[u8]) -> io::Result<()> {
        (&self.file).write(header_and_packet).map(|_| ())
    }

    /// The same for a packet alone, complete as it is.
    pub(crate) fn write_plain(&self, packet: &[u8]) -> io::Result<()> {
        let header = VirtioNetHeader::default().to_bytes();
        let parts = [IoSlice::new(&header), IoSlice::new(packet)];
        (&self.file).write_vectored(&parts).map(|_| ())
    }
}

impl AsFd for TunDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn check_name(name: &str) -> Result<(), OpenTunError> {
    let valid = (1..libc::IFNAMSIZ).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'))
        && !matches!(name, "." | "..");
    if valid {
        Ok(())
    } else {
        Err(OpenTunError::InvalidName(name.to_owned()))
    }
}

fn open_clone(path: &str, name: &str) -> Result<File, OpenTunError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => OpenTunError::Missing(error),
            _ => refused(name, error),
        })
}

/// A name that one process of a network namespace can hold at a time.
fn claim(name: &str) -> Result<UnixDatagram, OpenTunError> {
    let other = |source| OpenTunError::Other {
        name: name.to_owned(),
        source,
    };
    let address = SocketAddr::from_abstract_name(format!("tombolo/tun/{name}")).map_err(other)?;
    UnixDatagram::bind_addr(&address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => OpenTunError::InUse { name: name.to_owned() },
        _ => other(error),
    })
}

fn attach(file: &File, name: &str, more: libc::c_int) -> Result<(), Errno> {
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | more;
    let request = libc::ifreq {
        ifr_name: link_name(name),
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: flags as libc::c_short,
        },
    };
    // SAFETY: the descriptor is open, and the kernel reads and writes no more than the `ifreq` that the pointer refers to.
    unsafe { ioctl::set_interface(file.as_raw_fd(), &request) }.map(|_| ())
}

/// Asks for as much as the kernel knows.
fn set_offload(file: &File) -> Merge {
    let accepted = OFFLOADS.into_iter().find(|(bits, _)| {
        // SAFETY: the descriptor is open, and the argument is a number.
        unsafe { ioctl::set_offload(file.as_raw_fd(), *bits as libc::c_int) }.is_ok()
    });
    accepted.map_or(Merge { tcp: false, udp: false }, |(_, merge)| merge)
}

/// The name as the kernel takes it; it fits, because names are checked when a device is opened.
fn link_name(name: &str) -> [libc::c_char; libc::IFNAMSIZ] {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    ifr_name
}

fn refused(name: &str, source: io::Error) -> OpenTunError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => OpenTunError::NotPermitted { name, source },
        Some(libc::EBUSY) => OpenTunError::InUse { name },
        Some(libc::EINVAL) => OpenTunError::WrongKind { name },
        _ => OpenTunError::Other { name, source },
    }
}

/// The kernel's requests, as functions.
mod ioctl {
    nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_write_int_bad!(set_persistent, libc::TUNSETPERSIST);
    nix::ioctl_write_int_bad!(set_offload, libc::TUNSETOFFLOAD);
}

const CLONE_DEVICE: &str = "/dev/net/tun";
const MULTI_QUEUE: libc::c_int = libc::IFF_MULTI_QUEUE;
/// Offloads that are asked for, the best first: TCP and UDP (Linux 6.2), TCP, checksums, nothing.
const OFFLOADS: [(u32, Merge); 4] = [
    (CHECKSUM | TCP | UDP, Merge { tcp: true, udp: true }),
    (CHECKSUM | TCP, Merge { tcp: true, udp: false }),
    (CHECKSUM, Merge { tcp: false, udp: false }),
    (0, Merge { tcp: false, udp: false }),
];
const CHECKSUM: u32 = libc::TUN_F_CSUM;
const TCP: u32 = libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
const UDP: u32 = libc::TUN_F_USO4 | libc::TUN_F_USO6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_links_are_refused_before_the_kernel_sees_them() {
        for bad in ["", "sixteen-letters-", "a/b", "a b", "..", "tun%d", "näme"] {
            assert!(
                matches!(TunDevice::open(bad), Err(OpenTunError::InvalidName(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_node_without_tun_is_told_what_to_load() {
        let error = TunDevice::open_at("/nonexistent/net/tun", "tombolo0").unwrap_err();
        assert!(matches!(error, OpenTunError::Missing(_)));
        assert!(error.to_string().contains("load the kernel module \"tun\""), "{error}");
    }

    #[test]
    fn each_refusal_of_the_kernel_has_its_mend() {
        let error = |code| refused("tombolo0", io::Error::from_raw_os_error(code)).to_string();
        assert!(error(libc::EPERM).contains("CAP_NET_ADMIN"));
        assert!(error(libc::EBUSY).contains("another gateway agent"));
        assert!(error(libc::EINVAL).contains("ip link delete tombolo0"));
    }
}
