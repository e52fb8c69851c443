//! What a large zone costs, by hand: `cargo test --release -p lighthouse-dns --lib -- --ignored --nocapture zone_figures`.

use std::net::Ipv4Addr;
use std::time::Instant;

use clusterset::dns::{ClusterNames, changes};
use hickory_proto::rr::RecordType;
use model::{ImportKind, Snapshot};

use super::{Asker, CookieSecret, Outcome, Transport, answer};
use crate::fixture::{SECRET, addresses, export, import, query, snapshot};
use crate::zone::Zone;

#[test]
#[ignore = "figures, of a release build on a quiet machine"]
fn zone_figures() {
    let secret = CookieSecret::new(SECRET);
    let asker = Asker {
        transport: Transport::Udp,
        address: "192.0.2.1".parse().unwrap(),
        now: 43_200,
        secret: &secret,
    };
    for services in [1_000, 100_000u32] {
        let zone = zone(services);
        let size = zone.table.as_ref().unwrap().size();
        // A prime, so that they come in no order.
        let number = |turn: u32| u64::from(turn) * 1_000_003 % u64::from(services);
        let name = |turn| format!("service-{}.shop.svc.clusterset.local.", number(turn));
        let queries: Vec<_> = (0..20_000)
            .map(|turn| query(&name(turn), RecordType::A, None))
            .collect();
        let mut response = Vec::new();
        let began = Instant::now();
        for turn in 0..ROUNDS {
            for query in &queries {
                let answered = answer(query, &zone, &asker, turn, &mut response).unwrap();
                assert_eq!(answered.outcome, Outcome::Answered);
            }
        }
        let nanoseconds = began.elapsed().as_nanos() / (ROUNDS * queries.len()) as u128;
        println!(
            "{services} services: {} bytes each, {nanoseconds} ns an answer",
            size / services as usize
        );
    }
}

fn zone(services: u32) -> Zone {
    let mut snapshot = snapshot();
    for number in 0..services {
        let name = format!("service-{number}");
        export(&mut snapshot, &name, ImportKind::ClusterSetIP, &addresses(1));
        import(&mut snapshot, &name, &[Ipv4Addr::from(0xf4a0_0000 + number).into()]);
    }
    let blank = Zone::new(["clusterset.local"], None, 1, 5).unwrap();
    let before = Snapshot::empty(snapshot.cluster.clone());
    blank
        .succeed(changes(&before, &snapshot, ClusterNames::Answered))
        .unwrap()
}

const ROUNDS: usize = 50;
