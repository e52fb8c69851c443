use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use model::names::LINK_ANCHOR;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// A TUN device: packets, each with a header of offloads before it, that the kernel leaves unsplit and takes merged as far as it can
/// ([`Offloads`]); one a read, one a write. It is persistent, so that the routes into it outlive the process, and a killed
/// agent sends nothing in plaintext; whoever cleans the node removes the link.
#[derive(Debug)]
pub struct TunDevice {
    file: File,
    name: String,
    offloads: Offloads,
}

/// What a device leaves to us on the way out, and takes from us on the way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offloads {
    /// TCP streams in pieces of up to 64 KiB, and checksums.
    pub tcp: bool,
    /// The same for UDP datagrams of one size (Linux 6.2).
    pub udp: bool,
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
        Self::open_at("/dev/net/tun", name)
    }

    fn open_at(path: &str, name: &str) -> Result<Self, OpenTunError> {
        let request = interface_request(name)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => OpenTunError::Missing(error),
                _ => refused(name, error),
            })?;
        // SAFETY: the descriptor is open, and the kernel reads and writes no more than the `ifreq` that the pointer refers to.
        unsafe { ioctl::set_interface(file.as_raw_fd(), &request) }.map_err(|errno| refused(name, errno.into()))?;
        // SAFETY: the descriptor is open, and the argument is a number.
        unsafe { ioctl::set_persistent(file.as_raw_fd(), 1) }.map_err(|errno| refused(name, errno.into()))?;
        let offloads = Offloads::take(&file);
        Ok(Self {
            file,
            name: name.to_owned(),
            offloads,
        })
    }

    /// What the kernel granted.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// The name of its link.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the link this MTU, and [`LINK_ANCHOR`] if it has no IPv4 address, and sets it up.
    pub(crate) fn raise(&self, mtu: u16) -> io::Result<()> {
        // Links are configured through any socket of the namespace.
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let ifr_name = link_name(&self.name);
        let with = |ifr_ifru| libc::ifreq { ifr_name, ifr_ifru };
        let request = with(libc::__c_anonymous_ifr_ifru { ifru_mtu: mtu.into() });
        // SAFETY: the descriptor is open, and the kernel reads no more than the `ifreq` that the pointer refers to.
        unsafe { ioctl::set_mtu(socket.as_raw_fd(), &request) }?;
        let mut request = with(libc::__c_anonymous_ifr_ifru { ifru_flags: 0 });
        // SAFETY: the descriptor is open, and the kernel reads and writes no more than the `ifreq` that the pointer refers to.
        let has_address = unsafe { ioctl::address(socket.as_raw_fd(), &raw mut request) }.is_ok();
        let anchor = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: 0,
            sin_addr: libc::in_addr {
                s_addr: u32::from(LINK_ANCHOR).to_be(),
            },
            sin_zero: [0; 8],
        };
        // SAFETY: both are 16 bytes without padding, and a generic address is a family and bytes.
        let ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(anchor) };
        let request = with(libc::__c_anonymous_ifr_ifru { ifru_addr });
        // To set an address takes away the one that there is.
        if !has_address {
            // SAFETY: the descriptor is open, and the kernel reads no more than the `ifreq` that the pointer refers to.
            unsafe { ioctl::set_address(socket.as_raw_fd(), &request) }?;
        }
        let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let request = with(libc::__c_anonymous_ifr_ifru { ifru_flags: flags });
        // SAFETY: as above.
        unsafe { ioctl::set_flags(socket.as_raw_fd(), &request) }?;
        Ok(())
    }

    /// Takes what was routed into the device next, with its header; `WouldBlock` if there is nothing.
    pub(crate) fn read(&self, packet: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(packet)
    }

    /// Hands a packet, with its header, to the kernel as if it had arrived on the link.
    pub(crate) fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(|_| ())
    }
}

/// The MTU of a link of the namespace that the socket belongs to.
///
/// # Errors
/// When there is no such link.
pub fn link_mtu(socket: &impl AsRawFd, link: &str) -> io::Result<u32> {
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_mtu: 0 };
    let mut request = libc::ifreq {
        ifr_name: link_name(link),
        ifr_ifru,
    };
    // SAFETY: the descriptor is open, and the kernel reads and writes no more than the `ifreq` that the pointer refers to.
    unsafe { ioctl::mtu(socket.as_raw_fd(), &raw mut request) }?;
    // SAFETY: the call succeeded, so the kernel has set this member of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
}

impl Offloads {
    /// Asks for everything, then for less, until the kernel agrees.
    fn take(file: &File) -> Self {
        let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
        let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
        let offer = |features: libc::c_uint| {
            // SAFETY: the descriptor is open, and the argument is a number.
            unsafe { ioctl::set_offload(file.as_raw_fd(), features as libc::c_int) }.is_ok()
        };
        let granted = if offer(tcp | udp) {
            Self { tcp: true, udp: true }
        } else {
            Self {
                tcp: offer(tcp),
                udp: false,
            }
        };
        if !granted.tcp {
            // What an earlier process asked for must not stay.
            offer(0);
        }
        granted
    }
}

impl AsFd for TunDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn interface_request(name: &str) -> Result<libc::ifreq, OpenTunError> {
    let valid = (1..libc::IFNAMSIZ).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'))
        && !matches!(name, "." | "..");
    if !valid {
        return Err(OpenTunError::InvalidName(name.to_owned()));
    }
    let ifr_name = link_name(name);
    let ifr_ifru = libc::__c_anonymous_ifr_ifru {
        ifru_flags: (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short,
    };
    Ok(libc::ifreq { ifr_name, ifr_ifru })
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
    nix::ioctl_read_bad!(mtu, libc::SIOCGIFMTU, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_mtu, libc::SIOCSIFMTU, libc::ifreq);
    nix::ioctl_read_bad!(address, libc::SIOCGIFADDR, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFADDR, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);
}

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
