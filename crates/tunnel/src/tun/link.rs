//! The link of a TUN device: its MTU, its address, up.

use std::io;
use std::os::fd::AsRawFd;

use model::names::LINK_ANCHOR;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{TunDevice, link_name};

impl TunDevice {
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

/// The kernel's requests, as functions.
mod ioctl {
    nix::ioctl_read_bad!(mtu, libc::SIOCGIFMTU, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_mtu, libc::SIOCSIFMTU, libc::ifreq);
    nix::ioctl_read_bad!(address, libc::SIOCGIFADDR, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFADDR, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);
}
