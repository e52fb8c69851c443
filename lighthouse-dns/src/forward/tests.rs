use super::*;
use crate::fixture::{query, zone};
use crate::{Access, Server, Shared};
use arc_swap::ArcSwap;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const ANY: &str = "127.0.0.1:0";

fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).unwrap()
}

/// Our server, with west.lan forwarded; and what it counts.
fn start(servers: &[SocketAddr]) -> (SocketAddr, Metrics) {
    let metrics = metrics();
    let list: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let forward = format!("west.lan={}", list.join(",")).parse().unwrap();
    let forwarder = Forwarder::new(vec![forward], &zone(), metrics.clone()).unwrap();
    let shared =
        Shared::new(Arc::new(ArcSwap::from_pointee(zone())), metrics.clone(), 0).forwarding(Some(Arc::new(forwarder)));
    let server = Server::bind(ANY.parse().unwrap(), 1).unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run(shared));
    (address, metrics)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(20), future).await;
    waited.unwrap_or_else(|_| panic!("waited 20 s for {what}"))
}

async fn ask(server: SocketAddr, asked: &[u8]) -> Message {
    let client = UdpSocket::bind(ANY).await.unwrap();
    client.send_to(asked, server).await.unwrap();
    let mut buffer = [0; 4096];
    let length = within("an answer", client.recv(&mut buffer)).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

/// Receives a query, gives it to `reply`, and sends what comes back.
async fn answer_one(upstream: &UdpSocket, reply: impl FnOnce(Vec<u8>) -> Vec<Vec<u8>>) -> Message {
    let mut buffer = [0; 1500];
    let (length, from) = within("a query", upstream.recv_from(&mut buffer)).await.unwrap();
    for response in reply(buffer[..length].to_vec()) {
        upstream.send_to(&response, from).await.unwrap();
    }
    Message::from_vec(&buffer[..length]).unwrap()
}

fn response(mut query: Vec<u8>, flags: u8, code: u8) -> Vec<u8> {
    query[2] |= 0x80 | flags;
    query[3] = code;
    query
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_zone_is_asked_for_under_another_id_and_comes_back_under_its_own() {
    let upstream = UdpSocket::bind(ANY).await.unwrap();
    let (server, metrics) = start(&[upstream.local_addr().unwrap()]);
    let asked = query("db.shop.svc.West.lan.", RecordType::A, Some(1232));
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let reply = |query: Vec<u8>| {
            // Neither another id, nor another question, nor the query itself is the answer.
            let (mut forged, mut other) = (response(query.clone(), 0, 3), response(query.clone(), 0, 3));
            forged[1] ^= 1;
            other[14] ^= 1;
            vec![query.clone(), forged, other, response(query, 0, 0)]
        };
        let (sent, got) = tokio::join!(answer_one(&upstream, reply), ask(server, &asked));
        assert_eq!(got.metadata.response_code, ResponseCode::NoError);
        assert_eq!(
            (got.metadata.id, got.queries[0].name().to_ascii()),
            (4711, "db.shop.svc.West.lan.".to_owned())
        );
        ids.insert(sent.metadata.id);
    }
    assert!(ids.len() > 4, "ids are random: {ids:?}");
    assert_eq!(metrics.forwards.answered.get(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_our_own_and_of_nobody_are_not_passed_on() {
    let upstream = UdpSocket::bind(ANY).await.unwrap();
    let (server, metrics) = start(&[upstream.local_addr().unwrap()]);
    let own = ask(server, &query("cart.shop.svc.clusterset.local.", RecordType::A, None)).await;
    assert_eq!(own.answers.len(), 1);
    for other in ["xwest.lan.", "lan.", "east.lan."] {
        let refused = ask(server, &query(other, RecordType::A, None)).await;
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused, "{other}");
    }
    assert_eq!((metrics.forwards.answered.get(), metrics.forwards.failed.get()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_answer_is_passed_on_cut_and_tcp_gets_the_whole() {
    let upstream = UdpSocket::bind(ANY).await.unwrap();
    let address = upstream.local_addr().unwrap();
    let stream = TcpListener::bind(address).await.unwrap();
    let (server, _) = start(&[address]);
    let asked = query("west.lan.", RecordType::TXT, None);
    let (_, got) = tokio::join!(
        answer_one(&upstream, |query| vec![response(query, 0x02, 0)]),
        ask(server, &asked)
    );
    assert!(got.metadata.truncation);

    let over_tcp = async {
        let mut client = TcpStream::connect(server).await.unwrap();
        client.write_u16(u16::try_from(asked.len()).unwrap()).await.unwrap();
        client.write_all(&asked).await.unwrap();
        let mut response = vec![0; usize::from(client.read_u16().await.unwrap())];
        client.read_exact(&mut response).await.unwrap();
        Message::from_vec(&response).unwrap()
    };
    let upstream_tcp = async {
        let (mut peer, _) = stream.accept().await.unwrap();
        let mut query = vec![0; usize::from(peer.read_u16().await.unwrap())];
        peer.read_exact(&mut query).await.unwrap();
        let whole = response(query, 0, 0);
        peer.write_u16(u16::try_from(whole.len()).unwrap()).await.unwrap();
        peer.write_all(&whole).await.unwrap();
    };
    let (got, ()) = within("an answer over TCP", async { tokio::join!(over_tcp, upstream_tcp) }).await;
    assert_eq!((got.metadata.id, got.metadata.truncation), (4711, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_passed_over_and_none_left_is_servfail() {
    let silent = UdpSocket::bind(ANY).await.unwrap();
    let upstream = UdpSocket::bind(ANY).await.unwrap();
    let (server, metrics) = start(&[silent.local_addr().unwrap(), upstream.local_addr().unwrap()]);
    let asked = query("a.west.lan.", RecordType::A, None);
    let (_, got) = tokio::join!(
        answer_one(&upstream, |query| vec![response(query, 0, 3)]),
        ask(server, &asked)
    );
    assert_eq!(got.metadata.response_code, ResponseCode::NXDomain);

    let (server, failing) = start(&[silent.local_addr().unwrap()]);
    let got = ask(server, &asked).await;
    assert_eq!(got.metadata.response_code, ResponseCode::ServFail);
    assert_eq!((metrics.forwards.failed.get(), failing.forwards.failed.get()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_there_is_servfail_at_once() {
    let silent = UdpSocket::bind(ANY).await.unwrap();
    let (server, metrics) = start(&[silent.local_addr().unwrap()]);
    let client = UdpSocket::bind(ANY).await.unwrap();
    let asked = query("a.west.lan.", RecordType::A, None);
    let mut buffer = [0; 512];
    for _ in 0..=MAX_UNDER_WAY {
        client.send_to(&asked, server).await.unwrap();
    }
    let length = within("the one too many", client.recv(&mut buffer)).await.unwrap();
    let got = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(got.metadata.response_code, ResponseCode::ServFail);
    assert!(metrics.forwards.shed.get() >= 1);
}

#[tokio::test]
async fn strangers_are_refused_over_udp_and_tcp() {
    let shared = Shared::new(Arc::new(ArcSwap::from_pointee(zone())), metrics(), 0)
        .only_for(Access::Only(model::PrefixSet::parse(["192.0.2.0/24"]).unwrap()));
    let server = Server::bind(ANY.parse().unwrap(), 1).unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run(shared));
    let asked = query("cart.shop.svc.clusterset.local.", RecordType::A, Some(1232));
    let got = ask(address, &asked).await;
    assert_eq!(
        (got.metadata.response_code, got.answers.len()),
        (ResponseCode::Refused, 0)
    );
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_u16(u16::try_from(asked.len()).unwrap()).await.unwrap();
    client.write_all(&asked).await.unwrap();
    let mut response = vec![0; usize::from(within("a length", client.read_u16()).await.unwrap())];
    client.read_exact(&mut response).await.unwrap();
    let got = Message::from_vec(&response).unwrap();
    assert_eq!(got.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn forwards_that_cannot_be_say_why() {
    for (text, why) in [
        ("west.lan", "west.lan=10.112.0.10"),
        ("=10.0.0.1", "ZONE=ADDRESS"),
        (".=10.0.0.1", "ZONE=ADDRESS"),
        ("west.lan=dns.west", "\"dns.west\""),
    ] {
        let error = text.parse::<Forward>().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let own: Forward = "a.clusterset.local=10.0.0.1,[fd00::1]:5353".parse().unwrap();
    assert_eq!(own.servers[1], "[fd00::1]:5353".parse().unwrap());
    assert_eq!(own.servers[0].port(), 53);
    let error = Forwarder::new(vec![own], &zone(), metrics()).unwrap_err();
    assert_eq!(error, InvalidForward::Own("a.clusterset.local".to_owned()));
}

#[tokio::test]
async fn the_zone_within_the_other_wins() {
    let forwards = ["lan=10.0.0.1", "west.lan=10.0.0.2"].map(|text| text.parse().unwrap());
    let forwarder = Forwarder::new(forwards.into(), &zone(), metrics()).unwrap();
    let of = |name: &str| {
        forwarder
            .servers(&query(name, RecordType::A, None), &zone())
            .map(|servers| servers[0].to_string())
    };
    assert_eq!(of("a.West.lan.").unwrap(), "10.0.0.2:53");
    assert_eq!(of("xwest.lan.").unwrap(), "10.0.0.1:53");
    assert_eq!(of("wan."), None);
}
