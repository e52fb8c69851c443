use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, Record, Ttl};
use domain::rdata::{A, ZoneRecordData};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;

use super::cache::Cache;
use super::config::Config;
use super::reply::{self, Question, Reply};
use super::resolver::Resolver;
use super::server::Listener;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A resolver of a Corefile, over a cluster with a plain, a headless and an external service.
fn resolver(corefile: &str) -> Resolver {
    let resolver = Resolver::new(Config::parse(corefile).unwrap());
    let service =
        |name: &str, spec: Value| object(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}));
    let ports = json!([{"name": "http", "port": 80}]);
    let services = [
        service(
            "cart",
            json!({"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00:96::10"], "ports": ports}),
        ),
        service("pods", json!({"clusterIP": "None", "ports": ports})),
        service(
            "away",
            json!({"type": "ExternalName", "externalName": "shop.example.org"}),
        ),
        service("many", json!({"clusterIP": "None"})),
    ];
    let slice = |service: &str, endpoints: Value| {
        object(json!({
            "metadata": {"name": service, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
        }))
    };
    let many: Vec<Value> = (1..=200)
        .map(|host| json!({"addresses": [format!("10.244.9.{host}")]}))
        .collect();
    let slices = [
        slice(
            "pods",
            json!([
                {"addresses": ["10.244.1.2"], "hostname": "first", "conditions": {"ready": true}},
                {"addresses": ["10.244.1.3"]},
                {"addresses": ["10.244.1.4"], "conditions": {"ready": false}},
            ]),
        ),
        slice("many", json!(many)),
    ];
    resolver.set_objects(&services, &slices);
    resolver
}

fn query(name: &str, rtype: Rtype, edns: Option<u16>) -> Message<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_random_id();
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder
        .push((Name::vec_from_str(name).unwrap(), rtype, Class::IN))
        .unwrap();
    let mut builder = builder.additional();
    if let Some(size) = edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(size);
                Ok(())
            })
            .unwrap();
    }
    builder.into_message()
}

async fn ask(resolver: &Resolver, name: &str, rtype: Rtype) -> Message<Vec<u8>> {
    let query = query(name, rtype, None);
    let answer = Message::from_octets(resolver.respond(query.as_slice(), 53, None).await.unwrap()).unwrap();
    assert!(answer.is_answer(&query));
    answer
}

/// The code, and the data of the answer section in order.
async fn look_up(resolver: &Resolver, name: &str, rtype: Rtype) -> (Rcode, Vec<String>) {
    let answer = ask(resolver, name, rtype).await;
    let reply = reply::read(answer.for_slice()).unwrap();
    let mut data: Vec<String> = reply.answer.iter().map(|record| record.data().to_string()).collect();
    data.sort();
    (reply.rcode, data)
}

const CLUSTER: &str = ".:53 {\n kubernetes cluster.local in-addr.arpa {\n pods insecure\n ttl 7\n }\n}\n";

#[tokio::test]
async fn the_names_of_a_cluster() {
    let resolver = resolver(CLUSTER);
    let name = |prefix: &str| format!("{prefix}.shop.svc.cluster.local");
    for (name, rtype, expected) in [
        (name("cart"), Rtype::A, vec!["10.96.0.10"]),
        (name("CaRt"), Rtype::AAAA, vec!["fd00:96::10"]),
        (name("pods"), Rtype::A, vec!["10.244.1.2", "10.244.1.3"]),
        (name("first.pods"), Rtype::A, vec!["10.244.1.2"]),
        (name("10-244-1-3.pods"), Rtype::A, vec!["10.244.1.3"]),
        (
            name("_http._tcp.cart"),
            Rtype::SRV,
            vec!["0 100 80 cart.shop.svc.cluster.local"],
        ),
        (name("away"), Rtype::A, vec!["shop.example.org"]),
        (
            "10-244-1-9.shop.pod.cluster.local".to_owned(),
            Rtype::A,
            vec!["10.244.1.9"],
        ),
        ("dns-version.cluster.local".to_owned(), Rtype::TXT, vec!["\"1.1.0\""]),
        (
            "10.0.96.10.in-addr.arpa".to_owned(),
            Rtype::PTR,
            vec!["cart.shop.svc.cluster.local"],
        ),
        // These exist, but hold nothing of the kind.
        (name("pods"), Rtype::AAAA, vec![]),
        ("shop.svc.cluster.local".to_owned(), Rtype::A, vec![]),
        (name("_tcp.cart"), Rtype::SRV, vec![]),
        ("cluster.local".to_owned(), Rtype::A, vec![]),
    ] {
        let (rcode, data) = look_up(&resolver, &name, rtype).await;
        let bare = |text: &String| text.trim_end_matches('.').to_owned();
        assert_eq!(
            (rcode, data.iter().map(bare).collect::<Vec<_>>()),
            (Rcode::NOERROR, expected.into_iter().map(str::to_owned).collect()),
            "{name} {rtype}"
        );
    }
    for name in [
        "nobody.shop.svc.cluster.local",
        "first.cart.shop.svc.cluster.local",
        "10-9.shop.pod.cluster.local",
    ] {
        assert_eq!(
            look_up(&resolver, name, Rtype::A).await,
            (Rcode::NXDOMAIN, vec![]),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_denial_carries_the_soa_and_srv_carries_addresses() {
    let resolver = resolver(CLUSTER);
    let answer = ask(&resolver, "nobody.shop.svc.cluster.local", Rtype::A).await;
    let denial = reply::read(answer.for_slice()).unwrap();
    let [soa] = denial.authority.as_slice() else {
        panic!("{denial:?}")
    };
    assert!(matches!(soa.data(), ZoneRecordData::Soa(_)) && soa.ttl() == Ttl::from_secs(7) && answer.header().aa());
    let answer = ask(&resolver, "_http._tcp.pods.shop.svc.cluster.local", Rtype::SRV).await;
    let found = reply::read(answer.for_slice()).unwrap();
    assert_eq!((found.answer.len(), found.additional.len()), (2, 2), "{found:?}");
}

#[tokio::test]
async fn what_is_no_question_is_told_so_and_what_is_no_query_is_ignored() {
    let resolver = resolver(CLUSTER);
    let sent = query("cart.shop.svc.cluster.local", Rtype::A, None);
    let mut octets = sent.as_slice().to_vec();
    for length in 0..octets.len() {
        let answer = resolver.respond(&octets[..length], 53, None).await;
        let rcode = answer.map(|answer| Message::from_octets(answer).unwrap().header().rcode());
        assert!(
            matches!(rcode, None | Some(Rcode::FORMERR)),
            "cut at {length}: {rcode:?}"
        );
    }
    octets[2] |= 0x80;
    assert_eq!(
        resolver.respond(&octets, 53, None).await,
        None,
        "an answer is not answered"
    );
    octets[2] = 0x28;
    let answer = Message::from_octets(resolver.respond(&octets, 53, None).await.unwrap()).unwrap();
    assert_eq!(answer.header().rcode(), Rcode::NOTIMP);
}

#[tokio::test]
async fn an_answer_fits_the_datagram_that_the_client_takes() {
    let resolver = resolver(CLUSTER);
    for (edns, limit) in [(None, 512), (Some(4096), 1232)] {
        let query = query("many.shop.svc.cluster.local", Rtype::A, edns);
        let octets = resolver.respond(query.as_slice(), 53, None).await.unwrap();
        assert!(octets.len() <= limit);
        let answer = Message::from_octets(octets).unwrap();
        assert!(answer.header().tc() && answer.opt().is_some() == edns.is_some());
        let whole = resolver.respond(query.as_slice(), 53, Some(65_535)).await.unwrap();
        let whole = Message::from_octets(whole).unwrap();
        assert_eq!((whole.header().tc(), whole.header_counts().ancount()), (false, 200));
    }
}

#[tokio::test]
async fn the_most_specific_block_wins_and_other_zones_and_ports_are_refused() {
    let resolver = resolver("cluster.local {\n}\nsvc.cluster.local {\n kubernetes cluster.local\n}\na:54 {\n}\n");
    assert_eq!(
        look_up(&resolver, "cart.shop.svc.cluster.local", Rtype::A).await.0,
        Rcode::NOERROR
    );
    assert_eq!(
        look_up(&resolver, "cart.cluster.local", Rtype::A).await.0,
        Rcode::SERVFAIL,
        "no plugin answers"
    );
    assert_eq!(look_up(&resolver, "example.org", Rtype::A).await.0, Rcode::REFUSED);
    assert_eq!(
        look_up(&resolver, "a", Rtype::A).await.0,
        Rcode::REFUSED,
        "that block is at another port"
    );
}

#[test]
fn the_cache_keeps_answers_within_the_bounds_of_the_corefile() {
    let corefile =
        ". {\n cache 30 {\n success 9 10 4\n denial 9 1 0\n servfail 0\n disable success cluster.local\n }\n}\n";
    let limits = Config::parse(corefile).unwrap().servers.remove(0).cache.unwrap();
    let question = |name: &str| Question {
        name: Name::vec_from_str(name).unwrap(),
        rtype: Rtype::A,
        class: Class::IN,
    };
    let start = Instant::now();
    let kept_for = |name: &str, mut reply: Reply| {
        let mut cache = Cache::default();
        cache.keep(&question(name), &mut reply, &limits, start);
        (0..60)
            .take_while(|second| {
                cache
                    .find(&question(name), start + Duration::from_secs(*second))
                    .is_some()
            })
            .count()
    };
    let answer = |ttl: u32| {
        let mut reply = Reply::of(Rcode::NOERROR);
        let record = Record::new(
            Name::root_vec(),
            Class::IN,
            Ttl::from_secs(ttl),
            A::new([10, 0, 0, 1].into()).into(),
        );
        reply.answer.push(record);
        reply
    };
    assert_eq!(kept_for("a", answer(100)), 10);
    assert_eq!(kept_for("a", answer(7)), 7);
    assert_eq!(kept_for("a", answer(0)), 4);
    assert_eq!(kept_for("x.cluster.local", answer(100)), 0);
    assert_eq!(kept_for("a", Reply::of(Rcode::NXDOMAIN)), 1);
    assert_eq!(kept_for("a", Reply::of(Rcode::NOERROR)), 1, "no data is a denial too");
    assert_eq!(kept_for("a", Reply::of(Rcode::SERVFAIL)), 0);
    assert_eq!(kept_for("a", Reply::of(Rcode::REFUSED)), 0);

    let mut cache = Cache::default();
    cache.keep(&question("a"), &mut answer(8), &limits, start);
    let found = cache.find(&question("A"), start + Duration::from_secs(5)).unwrap();
    assert_eq!(found.answer[0].ttl(), Ttl::from_secs(3), "what is left");
}

/// Serves a resolver at a port that was free, over UDP and TCP.
async fn serve(make: impl Fn(u16) -> Resolver) -> (u16, Listener) {
    loop {
        let port = std::net::UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let (_, receiver) = watch::channel(Arc::new(make(port)));
        if let Ok(listener) = Listener::bind(port, receiver).await {
            return (port, listener);
        }
    }
}

#[tokio::test]
async fn a_forwarder_asks_over_udp_then_tcp_and_remembers() {
    let (upstream, listener) =
        serve(|port| resolver(&format!("cluster.local:{port} {{\n kubernetes cluster.local\n}}\n"))).await;
    let corefile = format!(".:53 {{\n forward . 127.0.0.1:{upstream}\n cache {{\n denial 9 0\n }}\n}}\n");
    let forwarder = resolver(&corefile);
    assert_eq!(
        look_up(&forwarder, "cart.shop.svc.cluster.local", Rtype::A).await,
        (Rcode::NOERROR, vec!["10.96.0.10".to_owned()])
    );
    assert_eq!(
        look_up(&forwarder, "example.org", Rtype::A).await.0,
        Rcode::REFUSED,
        "the upstream's word is passed on"
    );
    let query = query("many.shop.svc.cluster.local", Rtype::A, None);
    let whole = forwarder.respond(query.as_slice(), 53, Some(65_535)).await.unwrap();
    assert_eq!(
        Message::from_octets(whole).unwrap().header_counts().ancount(),
        200,
        "fetched over TCP"
    );

    drop(listener);
    assert_eq!(
        look_up(&forwarder, "CART.shop.svc.cluster.local", Rtype::A).await.0,
        Rcode::NOERROR,
        "remembered"
    );
    assert_eq!(
        look_up(&forwarder, "pods.shop.svc.cluster.local", Rtype::A).await.0,
        Rcode::SERVFAIL,
        "nobody to ask"
    );
}

#[tokio::test]
async fn both_transports_answer() {
    let (port, _listener) = serve(|port| resolver(&CLUSTER.replace(":53", &format!(":{port}")))).await;
    let query = query("cart.shop.svc.cluster.local", Rtype::A, None);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", port)).await.unwrap();
    socket.send(query.as_slice()).await.unwrap();
    let mut buffer = [0; 512];
    let length = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert!(Message::from_octets(&buffer[..length]).unwrap().is_answer(&query));

    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = u16::try_from(query.as_slice().len()).unwrap();
    for _ in 0..2 {
        stream
            .write_all(&[&length.to_be_bytes(), query.as_slice()].concat())
            .await
            .unwrap();
        let mut octets = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut octets).await.unwrap();
        assert!(Message::from_octets(octets).unwrap().is_answer(&query));
    }
}
