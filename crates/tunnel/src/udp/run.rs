use std::io;

use packet::ecn::Ecn;

use super::Remote;
use crate::switch::ROOM;

/// Datagrams that leave in one call: sealed one behind the other, all to one address, with one mark, and of one size but for a
/// shorter last one, as `UDP_SEGMENT` wants them.
#[derive(Debug)]
pub(crate) struct Run {
    buffer: Box<[u8]>,
    used: usize,
    count: usize,
    segment: usize,
    of: Option<(Remote, Ecn)>,
}

/// What became of a run.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// Datagrams that were not sent.
    pub(crate) lost: usize,
    /// Why the last of those was not.
    pub(crate) error: Option<io::Error>,
    /// What the kernel said to the whole, if it had to be sent in pieces.
    pub(crate) refused: Option<io::Error>,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; 2 * ROOM].into_boxed_slice(),
            used: 0,
            count: 0,
            segment: 0,
            of: None,
        }
    }

    /// Room for one more datagram.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.used..self.used + ROOM]
    }

    /// Takes the first `len` bytes of the room into the run. What cannot go together is sent before.
    pub(crate) fn push(&mut self, to: Remote, ecn: Ecn, len: usize, send: impl FnOnce(&Self)) {
        if !self.takes(to, ecn, len) {
            send(self);
            let room = self.used..self.used + len;
            self.clear();
            self.buffer.copy_within(room, 0);
        }
        if self.count == 0 {
            self.segment = len;
            self.of = Some((to, ecn));
        }
        self.used += len;
        self.count += 1;
    }

    /// Sends all there is.
    pub(crate) fn flush(&mut self, send: impl FnOnce(&Self)) {
        if self.count > 0 {
            send(self);
            self.clear();
        }
    }

    /// How many datagrams there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Where the run goes, and its mark; nothing if it is empty.
    pub(crate) fn destination(&self) -> Option<(Remote, Ecn)> {
        self.of.filter(|_| self.count > 0)
    }

    /// Hands the run to `send` in one piece if `whole`, and datagram by datagram if not or if the kernel will not have it whole:
    /// a device without checksums (EIO), a path with a smaller MTU, for such datagrams are never fragmented (EINVAL, EMSGSIZE).
    pub(crate) fn deliver(&self, whole: bool, mut send: impl FnMut(Option<u16>, &[u8]) -> io::Result<()>) -> Delivery {
        let bytes = &self.buffer[..self.used];
        let mut delivery = Delivery::default();
        if whole && self.count > 1 {
            // A datagram is smaller than 2^16.
            match send(Some(self.segment as u16), bytes) {
                Ok(()) => return delivery,
                Err(error) if is_refusal(&error) => delivery.refused = Some(error),
                Err(error) => {
                    delivery.lost = self.count;
                    delivery.error = Some(error);
                    return delivery;
                }
            }
        }
        for datagram in bytes.chunks(self.segment.max(1)) {
            if let Err(error) = send(None, datagram) {
                delivery.lost += 1;
                delivery.error = Some(error);
            }
        }
        delivery
    }

    fn takes(&self, to: Remote, ecn: Ecn, len: usize) -> bool {
        let is_even = self.used == self.count * self.segment;
        self.count == 0
            || self.of == Some((to, ecn))
                && is_even
                && len <= self.segment
                && self.count < MAX_DATAGRAMS
                && self.used + len <= MAX_BYTES
    }

    fn clear(&mut self) {
        self.used = 0;
        self.count = 0;
        self.of = None;
    }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP)
    )
}

/// As many as the kernel takes at once (`UDP_MAX_SEGMENTS` of older ones).
const MAX_DATAGRAMS: usize = 64;
/// The largest payload of an IPv4 datagram, which a run is until it is split.
const MAX_BYTES: usize = 65_507;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::Via;

    fn remote(port: u16) -> Remote {
        Remote {
            via: Via::Port,
            address: ([192, 0, 2, 1], port).into(),
        }
    }

    /// The runs that datagrams of these lengths, each filled with its number, are sent in.
    fn runs(datagrams: &[(usize, u16, Ecn)]) -> Vec<Vec<Vec<u8>>> {
        let mut run = Run::new();
        let mut sent = Vec::new();
        let mut record =
            |run: &Run| sent.push(run.buffer[..run.used].chunks(run.segment).map(<[u8]>::to_vec).collect());
        for (number, (len, port, ecn)) in datagrams.iter().enumerate() {
            run.room()[..*len].fill(number as u8);
            run.push(remote(*port), *ecn, *len, &mut record);
        }
        run.flush(&mut record);
        sent
    }

    #[test]
    fn only_what_may_go_together_does_and_in_order() {
        use Ecn::{Capable0, NotCapable};
        let lens = [
            (100, 1, NotCapable),
            (100, 1, NotCapable),
            (60, 1, NotCapable),
            (60, 1, NotCapable),
            (70, 1, NotCapable),
            (70, 2, NotCapable),
            (70, 2, Capable0),
        ];
        let got = runs(&lens);
        let shape: Vec<Vec<usize>> = got.iter().map(|run| run.iter().map(Vec::len).collect()).collect();
        assert_eq!(shape, [vec![100, 100, 60], vec![60], vec![70], vec![70], vec![70]]);
        for (number, datagram) in got.iter().flatten().enumerate() {
            assert_eq!(datagram, &vec![number as u8; lens[number].0]);
        }
    }

    #[test]
    fn a_run_is_bounded_in_number_and_bytes() {
        let small = vec![(32, 1, Ecn::NotCapable); 130];
        assert_eq!(runs(&small).iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 2]);
        let large = vec![(1452, 1, Ecn::NotCapable); 50];
        assert_eq!(runs(&large).iter().map(Vec::len).collect::<Vec<_>>(), [45, 5]);
        let largest = vec![(ROOM, 1, Ecn::NotCapable); 2];
        assert_eq!(runs(&largest).len(), 2);
    }

    #[test]
    fn what_is_refused_whole_is_sent_again_in_pieces() {
        for code in [libc::EIO, libc::EINVAL, libc::EMSGSIZE] {
            let mut run = Run::new();
            for number in 0..3u8 {
                run.room()[..50].fill(number);
                run.push(remote(1), Ecn::NotCapable, 50, |_| panic!("it fits"));
            }
            let mut sent = Vec::new();
            let delivery = run.deliver(true, |segment, bytes| match segment {
                Some(_) => Err(io::Error::from_raw_os_error(code)),
                None => {
                    sent.push(bytes.to_vec());
                    Ok(())
                }
            });
            assert_eq!(delivery.lost, 0);
            assert_eq!(delivery.refused.unwrap().raw_os_error(), Some(code));
            assert_eq!(sent, [vec![0; 50], vec![1; 50], vec![2; 50]]);
        }
    }

    #[test]
    fn what_is_lost_is_counted_and_not_tried_again() {
        let mut run = Run::new();
        for _ in 0..3 {
            run.push(remote(1), Ecn::NotCapable, 50, |_| panic!("it fits"));
        }
        let mut calls = 0;
        let delivery = run.deliver(true, |_, _| {
            calls += 1;
            Err(io::ErrorKind::WouldBlock.into())
        });
        assert_eq!((delivery.lost, delivery.refused.is_none(), calls), (3, true, 1));
        assert_eq!(delivery.error.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
