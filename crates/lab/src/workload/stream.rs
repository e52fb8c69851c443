//! A steady stream of small messages to an [`echo`](super::echo) server, to see for how long a path was gone.
//!
//! Every message carries its number. Which of them came back, and when each was sent, says afterwards what was lost: one line of
//! JSON at the end, and before it one line when the first answer came. Over UDP each message is a datagram, and a gap lies between
//! two that were answered, by the time of sending. Over TCP none is lost while the connection lives, so there a gap is a time in
//! which no answer came.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::fetch::Proto;

/// Whom to ask, how often, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address and port of the server.
    #[arg(long)]
    pub to: SocketAddr,
    #[arg(long, value_enum, default_value_t = Proto::Udp)]
    pub proto: Proto,
    /// Milliseconds between two messages.
    #[arg(long, default_value_t = 5)]
    pub interval: u64,
    /// How long to send, counted from the first answer.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Bytes of each message.
    #[arg(long, default_value_t = 16)]
    pub bytes: usize,
}

/// What came of a stream. Printed as JSON, it is what benches read.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Datagrams sent since the first answer.
    pub sent: usize,
    /// Of those, never answered.
    pub lost: usize,
    /// From the last answered datagram before the longest gap to the first after it, less one interval.
    pub longest_gap_ms: f64,
    /// The longest time that an answer took.
    pub slowest_ms: f64,
}

/// Sends until the time is up.
///
/// # Errors
/// When there is no socket, or no answer at all.
pub async fn run(args: Args) -> anyhow::Result<()> {
    if args.proto == Proto::Tcp {
        return over_tcp(args).await;
    }
    let any: SocketAddr = if args.to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
        .parse()
        .context("an address")?;
    let socket = UdpSocket::bind(any).await?;
    socket.connect(args.to).await?;
    let mut stream = Stream::new(args.bytes);
    let mut ticks = tokio::time::interval(Duration::from_millis(args.interval));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut end = Instant::now() + PATIENCE;
    let mut is_answered = false;
    let mut buffer = vec![0; 65_536];
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if Instant::now() >= end {
                    break;
                }
                // What the kernel refuses (no route, say) is as lost as any other.
                let _ = socket.send(&stream.next(Instant::now())).await;
            }
            received = socket.recv(&mut buffer) => {
                // An error is an ICMP message about an earlier datagram.
                if received.is_ok_and(|length| stream.take(&buffer[..length], Instant::now())) && !is_answered {
                    is_answered = true;
                    end = Instant::now() + Duration::from_secs_f64(args.seconds);
                    println!("started");
                    std::io::stdout().flush()?;
                }
            }
        }
    }
    let late = tokio::time::sleep(LATE);
    tokio::pin!(late);
    loop {
        tokio::select! {
            () = &mut late => break,
            received = socket.recv(&mut buffer) => {
                if let Ok(length) = received {
                    stream.take(&buffer[..length], Instant::now());
                }
            }
        }
    }
    let summary = stream
        .summary(Duration::from_millis(args.interval))
        .with_context(|| format!("{} did not answer within {} s", args.to, PATIENCE.as_secs()))?;
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}

/// One connection, for as long as it lives: when it breaks, the rest of the time is a gap.
async fn over_tcp(args: Args) -> anyhow::Result<()> {
    let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(args.to)).await;
    let connection = connected.with_context(|| format!("{} does not answer", args.to))??;
    connection.set_nodelay(true)?;
    let (mut from, mut to) = connection.into_split();
    println!("started");
    std::io::stdout().flush()?;
    let (started, length) = (Instant::now(), Duration::from_secs_f64(args.seconds));
    let message = vec![b'.'; args.bytes.max(1)];
    let interval = Duration::from_millis(args.interval);
    // What does not fit into the connection waits: the stream goes on where it stopped.
    let send = async {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sent = 0;
        loop {
            ticks.tick().await;
            if to.write_all(&message).await.is_err() {
                return std::future::pending().await;
            }
            sent += 1;
            if started.elapsed() >= length {
                return sent;
            }
        }
    };
    let mut arrivals = vec![Duration::ZERO];
    let receive = async {
        let mut buffer = vec![0; 65_536];
        while let Ok(1..) = from.read(&mut buffer).await {
            arrivals.push(started.elapsed());
        }
        // The connection is over; what remains of the time passes in silence.
        std::future::pending::<()>().await;
    };
    let sent: usize = tokio::select! {
        sent = send => sent,
        () = receive => 0,
        () = tokio::time::sleep(length + LATE) => 0,
    };
    arrivals.push(length.max(*arrivals.last().context("never empty")?));
    let summary = Summary {
        sent,
        lost: 0,
        longest_gap_ms: longest_silence(&arrivals, interval).as_secs_f64() * 1000.0,
        slowest_ms: 0.0,
    };
    println!("{}", serde_json::to_string(&summary)?);
    Ok(())
}

/// The longest time between two arrivals, beyond the usual.
fn longest_silence(arrivals: &[Duration], interval: Duration) -> Duration {
    let pauses = arrivals.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    pauses.max().unwrap_or_default().saturating_sub(interval)
}

/// Which datagrams went out, and when each of them and its answer passed here.
#[derive(Debug)]
struct Stream {
    datagrams: Vec<(Instant, Option<Instant>)>,
    bytes: usize,
}

impl Stream {
    fn new(bytes: usize) -> Self {
        Self {
            datagrams: Vec::new(),
            bytes: bytes.max(MARK.len() + 8),
        }
    }

    fn next(&mut self, now: Instant) -> Vec<u8> {
        let number = self.datagrams.len() as u64;
        self.datagrams.push((now, None));
        let mut datagram = [MARK, &number.to_be_bytes()].concat();
        datagram.resize(self.bytes, 0);
        datagram
    }

    /// True for the first answer to a datagram of ours.
    fn take(&mut self, answer: &[u8], now: Instant) -> bool {
        let number = answer
            .windows(MARK.len())
            .position(|window| window == MARK)
            .and_then(|at| answer[at + MARK.len()..].first_chunk())
            .map(|bytes| u64::from_be_bytes(*bytes));
        let datagram = number.and_then(|number| self.datagrams.get_mut(usize::try_from(number).ok()?));
        match datagram {
            Some((_, answered @ None)) => {
                *answered = Some(now);
                true
            }
            _ => false,
        }
    }

    /// None when nothing was answered. What was sent before the first answered datagram does not count.
    fn summary(&self, interval: Duration) -> Option<Summary> {
        let first = self.datagrams.iter().position(|(_, answered)| answered.is_some())?;
        let counted = &self.datagrams[first..];
        let answered: Vec<_> = counted.iter().filter_map(|(sent, at)| Some((*sent, (*at)?))).collect();
        let end = counted.last().map(|(sent, _)| *sent + interval);
        // A stream that ends in silence ends in a gap.
        let times = answered.iter().map(|(sent, _)| *sent).chain(end);
        let gaps = times.clone().zip(times.skip(1)).map(|(before, after)| after - before);
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let lost = counted.len() - answered.len();
        Some(Summary {
            sent: counted.len(),
            lost,
            longest_gap_ms: match lost {
                0 => 0.0,
                _ => gaps.max().map_or(0.0, |gap| millis(gap.saturating_sub(interval))),
            },
            slowest_ms: answered
                .iter()
                .map(|(sent, at)| millis(*at - *sent))
                .fold(0.0, f64::max),
        })
    }
}

const MARK: &[u8] = b"tmbl#";
/// How long the first answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long answers are waited for after the last datagram.
const LATE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_what_exceeds_the_interval() {
        let arrivals = [0, 5, 10, 310, 315].map(Duration::from_millis);
        let interval = Duration::from_millis(5);
        assert_eq!(longest_silence(&arrivals, interval), Duration::from_millis(295));
        assert_eq!(longest_silence(&arrivals[..2], interval), Duration::ZERO);
    }

    #[test]
    fn the_longest_gap_is_told() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut stream = Stream::new(16);
        for number in 0..100u64 {
            let datagram = stream.next(at(number * 5));
            let answer = [b"pod=x client=y\n", datagram.as_slice()].concat();
            if number >= 2 && !(40..50).contains(&number) && number != 70 {
                assert!(stream.take(&answer, at(number * 5 + 1)));
                assert!(!stream.take(&answer, at(number * 5 + 1)), "only once");
            }
        }
        let summary = stream.summary(Duration::from_millis(5)).unwrap();
        let wanted = Summary {
            sent: 98,
            lost: 11,
            longest_gap_ms: 50.0,
            slowest_ms: 1.0,
        };
        assert_eq!(summary, wanted);
        assert_eq!(Stream::new(16).summary(Duration::from_millis(5)), None);
    }
}
