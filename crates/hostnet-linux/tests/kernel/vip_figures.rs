//! What clusterset IPs cost a node: a thousand services of twenty endpoints each.
//!
//! `cargo test --release -p hostnet-linux --test kernel -- --ignored --nocapture vip_figures`

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Instant;

use hostnet::{Desired, Op, Protocol, SLOTS, Via, VipElements, VipPort, Vips, plan};
use hostnet_linux::HostNet;

use crate::node::{Sandbox, desired, nets, peer_vtep, privileged};

const SERVICES: u16 = 1_000;
const ENDPOINTS: u16 = 20;
const ROUNDS: usize = 7;

fn need() -> Desired {
    let mut elements = VipElements::default();
    for service in 0..SERVICES {
        let [high, low] = service.to_be_bytes();
        let port = VipPort {
            address: IpAddr::from([244, 174, high, low]),
            protocol: Protocol::Tcp,
            port: 80,
        };
        elements.known.insert(port.address);
        for slot in 0..SLOTS {
            elements.put(port, slot, endpoint(service, u16::try_from(slot).unwrap() % ENDPOINTS));
        }
    }
    Desired {
        vips: Vips {
            range: nets(&["244.174.0.0/16"]),
            elements,
        },
        ..desired(Via::Vtep(peer_vtep().address))
    }
}

fn endpoint(service: u16, number: u16) -> SocketAddr {
    let [high, low] = (service * ENDPOINTS + number).to_be_bytes();
    SocketAddr::from(([10, 2, high, low], 8080))
}

/// The same with one endpoint less: the next of its service has its slots.
fn without_one(need: &Desired, service: u16) -> Desired {
    let mut changed = need.clone();
    let gone = endpoint(service, 0);
    for slot in changed.vips.elements.slots.values_mut().flatten() {
        if *slot == Some(gone) {
            *slot = Some(endpoint(service, 1));
        }
    }
    changed
}

/// Milliseconds that the kernel and nft take to bring the node to `wanted`, and how many steps that was.
async fn apply(host: &HostNet, wanted: &Desired) -> (f64, usize) {
    let plan = plan(wanted, &host.observe("eth0").await.unwrap());
    let start = Instant::now();
    let applied = host.apply(&plan).await;
    assert!(applied.failures.is_empty(), "{:?}", applied.failures);
    (millis(start), plan.ops.len())
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1_000.0
}

fn show(name: &str, mut samples: Vec<f64>) {
    samples.sort_by(f64::total_cmp);
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    println!(
        "{name:36} {:8.1} ms ({first:.1} to {last:.1})",
        samples[samples.len() / 2]
    );
}

#[test]
#[ignore = "a figure, not a rule"]
fn vip_figures() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let wanted = need();
    node.host(async |host| {
        apply(host, &desired(Via::Vtep(peer_vtep().address))).await;
        let (mut loads, mut changes, mut by_program) = (vec![], vec![], vec![]);
        let (mut looks, mut plans, mut reads) = (vec![], vec![], vec![]);
        for round in 0..ROUNDS {
            node.exec("nft", &["delete", "table", "inet", "tombolo"]);
            loads.push(apply(host, &wanted).await.0);
            let changed = without_one(&wanted, u16::try_from(round).unwrap());
            let (took, ops) = apply(host, &changed).await;
            assert_eq!(ops, 1, "a few elements, and nothing else");
            changes.push(took);
            let back = plan(&wanted, &host.observe("eth0").await.unwrap()).ops;
            let [Op::UpdateVips(update)] = back.as_slice() else {
                panic!("{back:?}");
            };
            let text = update.text();
            let start = Instant::now();
            assert!(Command::new("nft").arg(&text).status().unwrap().success());
            by_program.push(millis(start));
            apply(host, &changed).await;
            let start = Instant::now();
            let observed = host.observe("eth0").await.unwrap();
            looks.push(millis(start));
            let start = Instant::now();
            assert_eq!(plan(&changed, &observed).ops, []);
            plans.push(millis(start));
        }
        for _ in 0..ROUNDS {
            let forgetful = HostNet::open(node.state.path()).unwrap();
            let start = Instant::now();
            let observed = forgetful.observe("eth0").await.unwrap();
            reads.push(millis(start));
            assert_eq!(observed.state.vips.len(), usize::from(SERVICES) * (SLOTS + 1));
        }
        println!("{SERVICES} services, {ENDPOINTS} endpoints each, {SLOTS} slots");
        show("load everything", loads);
        show("one endpoint changes", changes);
        show("one endpoint changes, by nft", by_program);
        show("look, elements remembered", looks);
        show("plan, nothing to do", plans);
        show("look, elements read", reads);
    });
}
