//! One query to one server, and its response.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::answer::is_answer;

/// Over UDP, from a port that the kernel chooses for this query alone. Anything but the answer is passed over.
pub(super) async fn udp(server: SocketAddr, onward: &[u8]) -> io::Result<Vec<u8>> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(onward).await?;
    let mut response = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut response).await?;
        if is_answer(onward, &response[..length]) {
            response.truncate(length);
            return Ok(response);
        }
    }
}

/// Over TCP, in a connection of its own.
pub(super) async fn tcp(server: SocketAddr, onward: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(onward.len()).expect("a question and EDNS are short");
    stream.write_all(&[&length.to_be_bytes(), onward].concat()).await?;
    let length = stream.read_u16().await?;
    let mut response = vec![0; usize::from(length)];
    stream.read_exact(&mut response).await?;
    if is_answer(onward, &response) {
        Ok(response)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it answered another question",
        ))
    }
}

/// What we offer is less; a server that sends more is cut, and no answer then.
const MAX_DATAGRAM: usize = 4096;
