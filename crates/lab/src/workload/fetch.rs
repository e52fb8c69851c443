//! The client: asks an [`echo`](super::echo) server, and reports what happened, one line a try.
//!
//! Every try resolves the name anew through the system's resolver and uses a socket of its own. UDP promises nothing, and the
//! first large datagram on a narrow path is what tells the sender its size: so a datagram is sent again until it is answered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::bail;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};

/// Whom to ask, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value_t = Proto::Tcp)]
    pub proto: Proto,
    /// A name or an address.
    #[arg(long)]
    pub host: String,
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// How many tries, each with a socket of its own.
    #[arg(long, default_value_t = 1)]
    pub count: u32,
    /// Send so many random bytes, and check that they come back.
    #[arg(long, default_value_t = 0)]
    pub bytes: usize,
    /// Seconds that a try may take, the name included.
    #[arg(long, default_value_t = 5.0)]
    pub timeout: f64,
    /// A try fails when the server saw another address than the client's own.
    #[arg(long)]
    pub source: bool,
    /// Only resolve the name.
    #[arg(long)]
    pub resolve_only: bool,
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Proto {
    Tcp,
    Udp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Text,
    Json,
}

/// What one try found. Printed as JSON, it is what tests read.
#[derive(Debug, Clone, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Try {
    /// Everything asked for held.
    pub ok: bool,
    /// The pod that answered.
    pub server_pod: Option<String>,
    /// The address the server saw the client at.
    pub client_seen: Option<IpAddr>,
    /// The client's own address.
    pub client_own: Option<IpAddr>,
    /// The server's address, as the name resolved.
    pub address: Option<IpAddr>,
    /// Everything the name resolved to.
    pub resolved: Vec<IpAddr>,
    pub millis: f64,
    /// How many bytes came back after the greeting.
    pub bytes: usize,
    /// They are those that were sent.
    pub hash_ok: Option<bool>,
    /// Datagrams sent, for UDP.
    pub datagrams: u32,
    pub error: Option<String>,
}

/// Prints a line for each try.
///
/// # Errors
/// When a try failed.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut failed = 0;
    for _ in 0..args.count {
        let result = attempt(&args).await;
        failed += u32::from(!result.ok);
        match args.output {
            Output::Json => println!("{}", serde_json::to_string(&result)?),
            Output::Text => println!("{}", sentence(&args, &result)),
        }
    }
    if failed > 0 {
        bail!("{failed} of {} tries of {} failed", args.count, args.host);
    }
    Ok(())
}

/// One try, with its deadline.
pub(super) async fn attempt(args: &Args) -> Try {
    let started = Instant::now();
    let mut result = Try::default();
    let limit = Duration::try_from_secs_f64(args.timeout).unwrap_or(DEFAULT_LIMIT);
    match tokio::time::timeout(limit, ask(args, &mut result)).await {
        Ok(Ok(())) => result.ok = true,
        Ok(Err(error)) => result.error = Some(error.to_string()),
        Err(_) => result.error = Some(format!("no answer within {} s", args.timeout)),
    }
    result.millis = (started.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    result
}

async fn ask(args: &Args, result: &mut Try) -> anyhow::Result<()> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((args.host.as_str(), args.port))
        .await?
        .collect();
    result.resolved = addresses.iter().map(SocketAddr::ip).collect();
    if args.resolve_only {
        return Ok(());
    }
    let payload: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(args.bytes).collect();
    let (greeting, echoed) = match args.proto {
        Proto::Tcp => over_tcp(&addresses, &payload, result).await?,
        Proto::Udp => over_udp(&addresses, &payload, result).await?,
    };
    let (pod, client) = parse(&greeting)?;
    result.server_pod = Some(pod);
    result.client_seen = Some(client);
    result.bytes = echoed.len();
    let is_same = Sha256::digest(&echoed) == Sha256::digest(&payload);
    result.hash_ok = (args.bytes > 0).then_some(is_same);
    if !is_same {
        bail!(
            "sent {} bytes, and {} other bytes came back",
            payload.len(),
            echoed.len()
        );
    }
    if args.source && result.client_own != result.client_seen {
        bail!("the server saw {client}, which is not this client's address");
    }
    Ok(())
}

async fn over_tcp(addresses: &[SocketAddr], payload: &[u8], result: &mut Try) -> io::Result<(String, Vec<u8>)> {
    let stream = TcpStream::connect(addresses).await?;
    result.address = Some(stream.peer_addr()?.ip());
    result.client_own = Some(stream.local_addr()?.ip());
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut greeting = String::new();
    reader.read_line(&mut greeting).await?;
    let mut echoed = Vec::with_capacity(payload.len());
    // Both at once: the server sends back while it reads.
    let send = async {
        writer.write_all(payload).await?;
        writer.shutdown().await
    };
    tokio::try_join!(send, reader.read_to_end(&mut echoed))?;
    Ok((greeting, echoed))
}

async fn over_udp(addresses: &[SocketAddr], payload: &[u8], result: &mut Try) -> anyhow::Result<(String, Vec<u8>)> {
    let Some(server) = addresses.first() else {
        bail!("the name has no address")
    };
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    result.address = Some(server.ip());
    result.client_own = Some(socket.local_addr()?.ip());
    let mut buffer = vec![0; 65_536];
    let length = loop {
        result.datagrams += 1;
        // Over IPv6 the socket tells of a packet-too-big by whichever call comes next.
        if let Err(error) = socket.send(payload).await
            && !is_too_long(&error)
        {
            return Err(error.into());
        }
        match tokio::time::timeout(SEND_AGAIN, socket.recv(&mut buffer)).await {
            Ok(Err(error)) if is_too_long(&error) => {}
            Ok(received) => break received?,
            Err(_) => {}
        }
    };
    let datagram = &buffer[..length];
    let end = datagram
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(length, |position| position + 1);
    Ok((
        String::from_utf8_lossy(&datagram[..end]).into_owned(),
        datagram[end..].to_vec(),
    ))
}

/// The path has just turned out narrower; the next datagram goes in fragments.
fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32)
}

/// Reads `pod=<name> client=<address>`.
pub(super) fn parse(greeting: &str) -> anyhow::Result<(String, IpAddr)> {
    let parsed = greeting.trim_end().strip_prefix("pod=").and_then(|rest| {
        let (pod, client) = rest.split_once(" client=")?;
        Some((pod.to_owned(), client.parse().ok()?))
    });
    match parsed {
        Some(parsed) => Ok(parsed),
        None => bail!("the server greeted with {greeting:?}, which is not an echo server's greeting"),
    }
}

fn sentence(args: &Args, result: &Try) -> String {
    let millis = result.millis;
    if let Some(error) = &result.error {
        return format!("{}: failed after {millis} ms: {error}", args.host);
    }
    if args.resolve_only {
        let addresses: Vec<String> = result.resolved.iter().map(IpAddr::to_string).collect();
        return format!("{}: {} ({millis} ms)", args.host, addresses.join(" "));
    }
    let pod = result.server_pod.as_deref().unwrap_or_default();
    let show = |address: Option<IpAddr>| address.map_or_else(String::new, |address| address.to_string());
    let (address, client) = (show(result.address), show(result.client_seen));
    format!(
        "{}: {pod} at {address} saw {client}, {} bytes in {millis} ms",
        args.host, result.bytes
    )
}

const SEND_AGAIN: Duration = Duration::from_millis(200);
const DEFAULT_LIMIT: Duration = Duration::from_secs(5);
