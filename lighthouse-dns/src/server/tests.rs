use super::*;
use crate::fixture;
use clusterset::dns::{ClusterNames, changes};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use model::{ImportKind, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

fn query() -> Vec<u8> {
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii("dns-version.clusterset.local.").unwrap();
    message.add_query(Query::query(name, RecordType::TXT));
    message.to_vec().unwrap()
}

fn start() -> SocketAddr {
    start_with(0)
}

fn start_with(rate_limit: u32) -> SocketAddr {
    let zone = Zone::new(["clusterset.local"], Some(&fixture::view()), 1, 5).unwrap();
    start_from(Arc::new(ArcSwap::from_pointee(zone)), rate_limit)
}

fn start_from(zone: Arc<ArcSwap<Zone>>, rate_limit: u32) -> SocketAddr {
    let registry = prometheus::Registry::new();
    let shared = Shared::new(zone, Metrics::register(&registry).unwrap(), rate_limit);
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run(shared));
    address
}

#[tokio::test]
async fn rubbish_and_then_a_query_over_udp() {
    let server = start();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for rubbish in [&b""[..], b"x", &[0xff; 600], &query()[..13]] {
        client.send_to(rubbish, server).await.unwrap();
    }
    client.send_to(&query(), server).await.unwrap();
    let mut buffer = [0; 1500];
    let answered = async {
        loop {
            let length = client.recv(&mut buffer).await.unwrap();
            let response = Message::from_vec(&buffer[..length]).unwrap();
            if !response.answers.is_empty() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered)
        .await
        .expect("an answer");
}

#[tokio::test]
async fn after_a_swap_nothing_is_answered_from_the_zone_before() {
    let mut before = fixture::snapshot();
    fixture::export(&mut before, "cart", ImportKind::ClusterSetIP, &[]);
    let zone = Arc::new(ArcSwap::from_pointee(
        Zone::new(["clusterset.local"], None, 1, 5).unwrap(),
    ));
    let server = start_from(Arc::clone(&zone), 0);
    let ask = async |name: &str, kind: RecordType| {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(server).await.unwrap();
        client.send(&fixture::query(name, kind, None)).await.unwrap();
        let mut buffer = [0; 1500];
        let length = tokio::time::timeout(Duration::from_secs(10), client.recv(&mut buffer));
        let length = length.await.expect("an answer").unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    };
    let mut empty = Some(Snapshot::empty(before.cluster.clone()));
    for turn in 1..=300 {
        let mut after = before.clone();
        let address = IpAddr::from(Ipv4Addr::from(0xf300_0000 + turn));
        fixture::import(&mut after, "cart", &[address]);
        let known = empty.take().unwrap_or(before);
        let next = zone.load().succeed(changes(&known, &after, ClusterNames::Answered));
        zone.store(Arc::new(next.expect("the address is another one")));
        before = after;
        // Each comes from a port of its own, so that both threads are asked.
        let response = ask("cart.shop.svc.clusterset.local.", RecordType::A).await;
        assert_eq!(response.answers[0].data.to_string(), address.to_string());
        let old = Name::from(IpAddr::from(Ipv4Addr::from(0xf300_0000 + turn - 1)));
        let response = ask(&old.to_ascii(), RecordType::PTR).await;
        assert_eq!(
            response.metadata.response_code,
            ResponseCode::Refused,
            "{old} is nobody's"
        );
    }
}

#[tokio::test]
async fn two_queries_in_one_tcp_stream_and_a_cut_one() {
    let server = start();
    let mut cut = TcpStream::connect(server).await.unwrap();
    cut.write_all(&[0, 40, 1, 2, 3]).await.unwrap();
    drop(cut);
    let mut stream = TcpStream::connect(server).await.unwrap();
    for _ in 0..2 {
        stream.write_u16(u16::try_from(query().len()).unwrap()).await.unwrap();
        stream.write_all(&query()).await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut response = vec![0; usize::from(length)];
        stream.read_exact(&mut response).await.unwrap();
        assert_eq!(Message::from_vec(&response).unwrap().answers.len(), 1);
    }
}

#[tokio::test]
async fn a_taken_port_names_the_address_and_the_mend() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let error = Server::bind(taken.local_addr().unwrap(), 1).unwrap_err().to_string();
    assert!(error.contains("--listen") && error.contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn any_port_is_one_that_is_free_for_udp_and_for_tcp() {
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    for _ in 0..250 {
        udp.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        tcp.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    for _ in 0..600 {
        Server::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    }
}

#[tokio::test]
async fn all_threads_get_their_share() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
    for _ in 0..100 {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(b"x", server.address().unwrap()).await.unwrap();
    }
    for socket in &server.udp {
        socket.recv(&mut [std::mem::MaybeUninit::uninit()]).unwrap();
    }
}

async fn exchange_udp(client: &UdpSocket, server: SocketAddr, query: &[u8]) -> Message {
    client.send_to(query, server).await.unwrap();
    let mut buffer = [0; 1500];
    let received = tokio::time::timeout(Duration::from_secs(10), client.recv(&mut buffer)).await;
    let length = received.expect("an answer").unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

#[tokio::test]
async fn what_is_cut_over_udp_is_whole_over_tcp() {
    let server = start();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let asked = fixture::query("many.shop.svc.clusterset.local.", RecordType::A, Some(65_000));
    let cut = exchange_udp(&client, server, &asked).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_u16(u16::try_from(asked.len()).unwrap()).await.unwrap();
    stream.write_all(&asked).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut response = vec![0; usize::from(length)];
    stream.read_exact(&mut response).await.unwrap();
    let whole = Message::from_vec(&response).unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 200);
}

#[tokio::test]
async fn many_clients_over_both_families_get_each_their_own_answer() {
    let zone = Zone::new(["clusterset.local"], Some(&fixture::view()), 1, 5).unwrap();
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let shared = Shared::new(Arc::new(ArcSwap::from_pointee(zone)), metrics, 0);
    let server = Server::bind("[::]:0".parse().unwrap(), 2).unwrap();
    let port = server.address().unwrap().port();
    tokio::spawn(server.run(shared));
    let mut asked = fixture::query("cart.shop.svc.clusterset.local.", RecordType::A, None);
    let mut clients = Vec::new();
    for id in 0u16..64 {
        let any = if id % 2 == 0 { "127.0.0.1:0" } else { "[::1]:0" };
        let client = UdpSocket::bind(any).await.unwrap();
        asked[..2].copy_from_slice(&id.to_be_bytes());
        client
            .send_to(&asked, (client.local_addr().unwrap().ip(), port))
            .await
            .unwrap();
        clients.push((id, client));
    }
    for (id, client) in clients {
        let mut buffer = [0; 1500];
        let received = tokio::time::timeout(Duration::from_secs(10), client.recv(&mut buffer)).await;
        let length = received.expect("an answer").unwrap();
        assert_eq!(Message::from_vec(&buffer[..length]).unwrap().metadata.id, id);
    }
}

#[tokio::test]
async fn beyond_its_rate_a_client_is_sent_to_tcp() {
    let server = start_with(1);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let asked = fixture::query("cart.shop.svc.clusterset.local.", RecordType::A, None);
    for _ in 0..200 {
        client.send_to(&asked, server).await.unwrap();
    }
    let mut buffer = [0; 1500];
    let cut = async {
        loop {
            let length = client.recv(&mut buffer).await.unwrap();
            if Message::from_vec(&buffer[..length]).unwrap().metadata.truncation {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), cut)
        .await
        .expect("a response that is cut");
}
