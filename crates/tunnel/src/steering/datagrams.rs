use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use super::MAX_LANES;

/// Makes the sockets that share a port take the datagrams that name their lane. `socket` is any of the group.
pub(crate) fn steer(socket: &UdpSocket) -> io::Result<()> {
    let mut program = program();
    let program = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the descriptor is open, and the kernel copies the instructions that the argument points to before it returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The lane is in the second byte of a (little-endian) index: that of the receiver, at 8 in a handshake response (type 2) and at 4
/// in others; in an initiation (type 1) it is the sender's at 4, which names a lane if the sender is of our kind. A number that is
/// no socket's leaves the choice to the kernel, and the lane that gets it hands it over. A datagram too short ends at 0.
fn program() -> [libc::sock_filter; 7] {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as libc::c_ushort,
        jt,
        jf,
        k,
    };
    let load_byte = |at| instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, at);
    [
        load_byte(0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 2, RESPONSE),
        load_byte(8 + 1),
        instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, 1),
        load_byte(4 + 1),
        instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, MAX_LANES as u32 - 1),
        instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
    ]
}

const RESPONSE: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steering::tunnel_index;
    use crate::udp::{Inbox, UdpPort};

    /// The message type, where the index stands, and the index.
    fn datagram(kind: u8, at: usize, index: u32) -> Vec<u8> {
        let mut bytes = vec![0xff; 148];
        bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
        bytes[at..at + 4].copy_from_slice(&index.to_le_bytes());
        bytes
    }

    #[test]
    fn every_datagram_reaches_the_lane_that_it_names() {
        let lanes = UdpPort::bind_group(0, 4).unwrap();
        for socket in lanes[0].sockets() {
            steer(socket).unwrap();
        }
        let mut inbox = Inbox::new();
        for (family, loopback) in ["127.0.0.1", "::1"].into_iter().enumerate() {
            let Some(socket) = lanes[0].sockets().nth(family) else {
                continue;
            };
            let to = (loopback, socket.local_addr().unwrap().port());
            for round in 0..40u32 {
                let lane = round as usize % 4;
                let index = tunnel_index(round as usize * 977, lane) << 8 | round;
                let (kind, at) = [(1, 4), (2, 8), (3, 4), (4, 4)][round as usize / 4 % 4];
                let sender = UdpSocket::bind((loopback, 0)).unwrap();
                sender.send_to(&datagram(kind, at, index), to).unwrap();
                for (other, port) in lanes.iter().enumerate() {
                    let socket = port.sockets().nth(family).unwrap();
                    assert_eq!(
                        inbox.receive(socket).is_ok(),
                        other == lane,
                        "{kind} of lane {lane} at {other}"
                    );
                }
            }
        }
    }
}
