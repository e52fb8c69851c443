//! What someone sends who knows our address and our public key, and nothing else.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use model::PublicKey;
use rand_core::OsRng;

/// A kind of flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Random bytes of many lengths; some begin like a message.
    Garbage,
    /// First messages of handshakes, each made for the key of the receiver, whose `mac1` is therefore right.
    Initiations,
    /// The same from a sender that reads the cookies that it is answered with, so that `mac2` is right too.
    Cookied,
    /// Data messages of sessions that there are not.
    Data,
}

impl Flood {
    /// All there are.
    pub(crate) const ALL: [Self; 4] = [Self::Garbage, Self::Initiations, Self::Cookied, Self::Data];

    /// Its name as a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Initiations => "initiations",
            Self::Cookied => "cookied",
            Self::Data => "data",
        }
    }

    /// Datagrams of this kind, to be sent over and over: a receiver remembers none of them. For [`Flood::Cookied`] it is flooded until
    /// it answers with a cookie; nothing if it does not within this time.
    pub(crate) fn datagrams(
        self,
        socket: &UdpSocket,
        target: SocketAddr,
        key: &PublicKey,
        patience: Duration,
    ) -> Option<Vec<Vec<u8>>> {
        let mut noise = Noise(0x2545_f491_4f6c_dd1d);
        let mut stranger = stranger(key);
        if self == Self::Cookied && !obtain_cookie(&mut stranger, socket, target, patience) {
            return None;
        }
        let next = |number| match self {
            Self::Garbage => noise.garbage(number),
            Self::Initiations | Self::Cookied => initiation(&mut stranger),
            Self::Data => noise.data(),
        };
        Some((0..COUNT).map(next).collect())
    }
}

/// Someone with a key of no peer.
fn stranger(key: &PublicKey) -> Tunn {
    let receiver = x25519::PublicKey::from(*key.as_bytes());
    Tunn::new(
        x25519::StaticSecret::random_from_rng(OsRng),
        receiver,
        None,
        None,
        7,
        None,
    )
}

fn initiation(stranger: &mut Tunn) -> Vec<u8> {
    let mut buffer = [0; 148];
    match stranger.format_handshake_initiation(&mut buffer, true) {
        TunnResult::WriteToNetwork(message) => message.to_vec(),
        other => panic!("no initiation was made: {other:?}"),
    }
}

/// A cookie answers one initiation, the last that the session made, so that one is sent until the receiver has had enough.
fn obtain_cookie(stranger: &mut Tunn, socket: &UdpSocket, target: SocketAddr, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let initiation = initiation(stranger);
    let mut buffer = [0; 256];
    while Instant::now() < deadline {
        for _ in 0..BURST {
            // What does not go out is lost like what does not arrive.
            let _ = socket.send_to(&initiation, target);
        }
        let has_cookie = |answer: &[u8]| matches!(stranger.decapsulate(None, answer, &mut buffer), TunnResult::Done);
        if answers(socket).iter().map(Vec::as_slice).any(has_cookie) {
            return true;
        }
    }
    false
}

/// What the socket receives until it has received nothing for a moment, which is also what keeps a flood within bounds.
pub(crate) fn answers(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket
        .set_read_timeout(Some(Duration::from_millis(1)))
        .expect("a millisecond is a time limit");
    let mut buffer = [0; 256];
    let next = || socket.recv(&mut buffer).map(|len| buffer[..len].to_vec()).ok();
    std::iter::from_fn(next).collect()
}

/// A generator whose output has no pattern that a parser could like.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn garbage(&mut self, number: usize) -> Vec<u8> {
        let mut datagram = self.bytes([1, 31, 32, 64, 92, 148, 600, 1400][number % 8]);
        if number.is_multiple_of(3) && datagram.len() >= 4 {
            datagram[..4].copy_from_slice(&[(number % 7) as u8, 0, 0, 0]);
        }
        datagram
    }

    fn data(&mut self) -> Vec<u8> {
        let mut datagram = self.bytes(1452);
        datagram[..4].copy_from_slice(&[4, 0, 0, 0]);
        datagram
    }
}

const COUNT: usize = 512;
/// Datagrams that are sent between two looks for answers.
pub(crate) const BURST: usize = 32;
