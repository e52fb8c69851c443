//! Asks name servers for names until each has been answered, and says when that was: how benches see a name appear.
//!
//! Names come on standard input, one a line. A name is there when *every* server has answered it with a record; then a line says it
//! and the moment, in microseconds since 1970. Questions go over UDP, one socket a server, at most [`BURST`] of them every
//! [`TICK`]: so a single name is asked for every few milliseconds, and of a thousand each comes round less often.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, ToName};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{input, micros};

/// Whom to ask.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Name servers, all of which must answer.
    #[arg(long, value_delimiter = ',', required = true)]
    pub server: Vec<SocketAddr>,
    /// Ask for IPv6 addresses.
    #[arg(long)]
    pub ipv6: bool,
    /// Give up when for so many seconds no name has been answered.
    #[arg(long, default_value_t = 60)]
    pub timeout: u64,
}

/// Asks until standard input has ended and every name is there.
///
/// # Errors
/// When a name is malformed, or not answered for too long.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut lines = input::lines();
    let (servers, mut answers) = ask_from_here(&args.server).await?;
    let rtype = if args.ipv6 { Rtype::AAAA } else { Rtype::A };
    let limit = Duration::from_secs(args.timeout);
    let mut open = Open::new(args.server.len());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut is_ended, mut progress) = (false, Instant::now());
    while !(is_ended && open.is_empty()) {
        tokio::select! {
            line = lines.recv(), if !is_ended => match line.transpose()? {
                Some(name) => {
                    open.add(name.trim())?;
                    progress = Instant::now();
                }
                None => is_ended = true,
            },
            Some((server, answer)) = answers.recv() => {
                if let Some(name) = open.take(server, &answer) {
                    println!("{name} {}", micros());
                    progress = Instant::now();
                }
            }
            _ = ticks.tick(), if !open.is_empty() => {
                ensure!(progress.elapsed() < limit, "not answered for {} s: {}", args.timeout, open.some());
                for (name, server) in open.next(BURST) {
                    // What is lost is asked again.
                    let _ = servers[server].try_send(&query(&name, rtype)?);
                }
            }
        }
    }
    Ok(())
}

/// A socket for each server, and everything that they say.
async fn ask_from_here(
    servers: &[SocketAddr],
) -> anyhow::Result<(Vec<Arc<UdpSocket>>, mpsc::Receiver<(usize, Vec<u8>)>)> {
    let (sender, receiver) = mpsc::channel(1024);
    let mut sockets = Vec::new();
    for (index, server) in servers.iter().enumerate() {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = Arc::new(UdpSocket::bind((any, 0)).await?);
        socket
            .connect(server)
            .await
            .with_context(|| format!("cannot ask {server}"))?;
        sockets.push(Arc::clone(&socket));
        let sender = sender.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            loop {
                // An error here is an ICMP message about an earlier question.
                let Ok(length) = socket.recv(&mut buffer).await else {
                    continue;
                };
                if sender.send((index, buffer[..length].to_vec())).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok((sockets, receiver))
}

fn query(name: &Name<Vec<u8>>, rtype: Rtype) -> io::Result<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_random_id();
    let mut builder = builder.question();
    builder
        .push((name, rtype))
        .map_err(|_| io::Error::other("the question does not fit a message"))?;
    Ok(builder.finish())
}

/// What has not been answered yet.
#[derive(Debug)]
struct Open {
    servers: usize,
    /// Every name with the servers that still owe it.
    names: HashMap<Name<Vec<u8>>, HashSet<usize>>,
    /// In the order in which they are asked next.
    turn: VecDeque<(Name<Vec<u8>>, usize)>,
}

impl Open {
    fn new(servers: usize) -> Self {
        Self {
            servers,
            names: HashMap::new(),
            turn: VecDeque::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn add(&mut self, text: &str) -> anyhow::Result<()> {
        let Ok(name) = text.parse::<Name<Vec<u8>>>() else {
            bail!("'{text}' is no name of DNS");
        };
        self.turn.extend((0..self.servers).map(|server| (name.clone(), server)));
        self.names.insert(name, (0..self.servers).collect());
        Ok(())
    }

    /// The questions whose turn it is, none twice.
    fn next(&mut self, most: usize) -> Vec<(Name<Vec<u8>>, usize)> {
        let mut questions = Vec::new();
        for _ in 0..self.turn.len() {
            if questions.len() == most {
                break;
            }
            let Some((name, server)) = self.turn.pop_front() else {
                break;
            };
            if self.names.get(&name).is_some_and(|owing| owing.contains(&server)) {
                self.turn.push_back((name.clone(), server));
                questions.push((name, server));
            }
        }
        questions
    }

    /// The name, if this is the last answer that it waited for.
    fn take(&mut self, server: usize, answer: &[u8]) -> Option<Name<Vec<u8>>> {
        let message = Message::from_octets(answer).ok()?;
        let is_answer = message.header().rcode() == Rcode::NOERROR && message.header_counts().ancount() > 0;
        let name: Name<Vec<u8>> = message.sole_question().ok()?.qname().to_name();
        let owing = self.names.get_mut(&name).filter(|_| is_answer)?;
        owing.remove(&server);
        let is_there = owing.is_empty();
        is_there.then(|| self.names.remove(&name))?;
        Some(name)
    }

    /// A few of them, for a person.
    fn some(&self) -> String {
        let names: Vec<String> = self.names.keys().take(3).map(ToString::to_string).collect();
        format!("{} names, such as {}", self.names.len(), names.join(", "))
    }
}

const TICK: Duration = Duration::from_millis(2);
const BURST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::Ttl;
    use domain::rdata::A;

    fn answer(name: &str, has_record: bool) -> Vec<u8> {
        let name: Name<Vec<u8>> = name.parse().unwrap();
        let question = query(&name, Rtype::A).unwrap();
        let question = Message::from_octets(question).unwrap();
        let mut builder = MessageBuilder::new_vec()
            .start_answer(&question, Rcode::NOERROR)
            .unwrap();
        if has_record {
            builder
                .push((&name, Ttl::from_secs(5), A::from_octets(192, 0, 2, 1)))
                .unwrap();
        }
        builder.finish()
    }

    #[test]
    fn a_name_is_there_when_every_server_has_said_so() {
        let mut open = Open::new(2);
        open.add("cart.shop.svc.clusterset.local").unwrap();
        assert_eq!(open.next(10).len(), 2, "each server is asked");
        let (empty, full) = (
            answer("cart.shop.svc.clusterset.local", false),
            answer("CART.shop.svc.clusterset.local", true),
        );
        assert_eq!(open.take(0, &empty), None);
        assert_eq!(open.take(0, &full), None);
        assert_eq!(open.take(0, &full), None, "the other server owes it still");
        let left: Vec<usize> = open.next(10).into_iter().map(|(_, server)| server).collect();
        assert_eq!(left, [1]);
        assert!(open.take(1, &full).is_some());
        assert!(open.is_empty() && open.next(10).is_empty());
        assert!(open.add("a..b").is_err());
    }

    #[test]
    fn questions_take_turns() {
        let mut open = Open::new(1);
        for name in ["a.test", "b.test", "c.test"] {
            open.add(name).unwrap();
        }
        let mut names = || -> Vec<String> { open.next(2).into_iter().map(|(name, _)| name.to_string()).collect() };
        assert_eq!(
            [names(), names(), names()].concat(),
            ["a.test", "b.test", "c.test", "a.test", "b.test", "c.test"]
        );
    }
}
