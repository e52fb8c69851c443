//! The `forward` plugin: asks each upstream in order until one answers.
//!
//! A query goes out over UDP, from a socket of its own, and again over TCP when the answer says that it was truncated. An
//! answer counts only with the query's identifier and question.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::{Message, MessageBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::config::{Forward, Upstream};
use super::reply::{self, Question, Reply};

/// The answer of the first upstream that gives one, or nothing in the time there is.
pub(super) async fn ask(forward: &Forward, question: &Question) -> Option<Reply> {
    let asking = async {
        for upstream in upstreams(forward).await {
            match exchange(upstream, question).await {
                Ok(reply) => return Some(reply),
                Err(error) => tracing::info!(%upstream, name = %question.name, %error, "an upstream does not answer"),
            }
        }
        None
    };
    tokio::time::timeout(ALL_UPSTREAMS, asking).await.ok().flatten()
}

async fn upstreams(forward: &Forward) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for upstream in &forward.upstreams {
        match upstream {
            Upstream::Address(address) => addresses.push(*address),
            Upstream::ResolvConf(path) => match tokio::fs::read_to_string(path).await {
                Ok(text) => addresses.extend(name_servers(&text)),
                Err(error) => tracing::warn!(path, %error, "the file of upstreams cannot be read"),
            },
        }
    }
    addresses
}

/// The `nameserver` lines of a resolv.conf.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address: IpAddr = words
            .next()
            .filter(|word| *word == "nameserver")
            .and(words.next())?
            .parse()
            .ok()?;
        Some(SocketAddr::new(address, 53))
    });
    servers.collect()
}

async fn exchange(upstream: SocketAddr, question: &Question) -> io::Result<Reply> {
    let query = query(question)?;
    let answer = deadline(over_udp(upstream, &query)).await?;
    let answer = if answer.header().tc() {
        deadline(over_tcp(upstream, &query)).await?
    } else {
        answer
    };
    reply::read(answer.for_slice())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer that does not parse"))
}

async fn deadline<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(ONE_UPSTREAM, exchange).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}

fn query(question: &Question) -> io::Result<Message<Vec<u8>>> {
    let failed = |_| io::Error::other("the query does not fit a message");
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_random_id();
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder
        .push((&question.name, question.rtype, question.class))
        .map_err(failed)?;
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(EDNS_SIZE);
            Ok(())
        })
        .map_err(failed)?;
    Ok(builder.into_message())
}

async fn over_udp(upstream: SocketAddr, query: &Message<Vec<u8>>) -> io::Result<Message<Vec<u8>>> {
    let any: IpAddr = if upstream.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(query.as_slice()).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else on this socket is late or forged.
        if let Some(answer) = answer_to(query, buffer[..length].to_vec()) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(upstream: SocketAddr, query: &Message<Vec<u8>>) -> io::Result<Message<Vec<u8>>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let length = u16::try_from(query.as_slice().len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), query.as_slice()].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut octets = vec![0; usize::from(length)];
    stream.read_exact(&mut octets).await?;
    answer_to(query, octets).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer to another question"))
}

fn answer_to(query: &Message<Vec<u8>>, octets: Vec<u8>) -> Option<Message<Vec<u8>>> {
    Message::from_octets(octets)
        .ok()
        .filter(|answer| answer.is_answer(query))
}

const ONE_UPSTREAM: Duration = Duration::from_secs(2);
/// As CoreDNS gives up on all of them.
const ALL_UPSTREAMS: Duration = Duration::from_secs(5);
const EDNS_SIZE: u16 = 1232;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_a_resolv_conf() {
        let text =
            "# nameserver 192.0.2.9\nsearch x\nnameserver 192.0.2.1\nnameserver nobody\nnameserver 2001:db8::1\n";
        let expected: Vec<SocketAddr> = vec!["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(name_servers(text), expected);
    }
}
