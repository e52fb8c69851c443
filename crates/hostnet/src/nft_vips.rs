//! The chains and sets that translate clusterset IPs.
//!
//! ```text
//!  prerouting, output (nat, before the neighbours')   clusterset address? ──▶ pick ─┬─ one backend: map ─────────────────────▶ dnat
//!                                                                                  └─ hash mod 64 ──▶ slot<n> ── map ──▶ dnat
//!  prerouting, output (filter)                        still a clusterset address: refused if a service has it, so that a connect
//!                                                     fails at once; else dropped, so that the client tries again
//!  postrouting (nat)                                  a pod that reached itself: masquerade, or it would answer itself directly
//! ```
//!
//! An address that no service has may have been given away a moment ago, and this node may not have heard of it yet.
//!
//! The first nat chain that binds a flow ends the hook, so kube-proxy, in whichever mode, never sees these flows and puts no masquerade
//! mark on them. The hash has a fixed seed: a client keeps its slot when the table is written anew.
//!
//! A map of its own for every slot, and not one map with the slot in its key: nft 1.0.6 cannot list a map whose key holds a hash,
//! and crashes on it.

use crate::nft::{Chain, DSTNAT, FILTER, SRCNAT};
use crate::state::Family;
use crate::vip_sets::{affine_set, hairpin_set, known_set, slot_chain, slot_map, sole_map};
use crate::vips::SLOTS;

/// The chains.
pub(crate) fn chains() -> Vec<Chain> {
    let mut chains: Vec<Chain> = (0..SLOTS).map(slot).collect();
    chains.push(pick());
    for (name, hook) in [("vip-in", "prerouting"), ("vip-out", "output")] {
        let mut chain = Chain::new(name, "nat", hook, DSTNAT - 1);
        let body = format!("{{ip}} daddr @{RANGE}_{{v}} meta l4proto {PROTOCOLS} goto pick");
        chain.rule_per_family("vip", &body);
        chains.push(chain);
    }
    for (name, hook) in [("refuse-in", "prerouting"), ("refuse-out", "output")] {
        let mut chain = Chain::new(name, "filter", hook, FILTER);
        let tcp = "{ip} daddr @known_{v} meta l4proto tcp counter reject with tcp reset";
        chain.rule_per_family("refuse-tcp", tcp);
        chain.rule_per_family("refuse", "{ip} daddr @known_{v} counter reject");
        chain.rule_per_family("unknown", &format!("{{ip}} daddr @{RANGE}_{{v}} counter drop"));
        chains.push(chain);
    }
    let mut hairpin = Chain::new("hairpin", "nat", "postrouting", SRCNAT - 1);
    hairpin.rule_per_family("hairpin", "{ip} saddr . {ip} daddr @hairpin_{v} masquerade");
    chains.push(hairpin);
    chains
}

/// Declarations of the sets and maps whose elements come and go.
pub(crate) fn sets() -> String {
    let mut text = String::new();
    for family in Family::ALL {
        let address = match family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        let key = format!("{address} . inet_proto . inet_service");
        text += &format!("  set {} {{\n    type {address}\n  }}\n", known_set(family));
        text += &format!("  set {} {{\n    type {key}\n  }}\n", affine_set(family));
        text += &format!(
            "  set {} {{\n    type {address} . {address}\n  }}\n",
            hairpin_set(family)
        );
        for name in (0..SLOTS).map(|slot| slot_map(slot, family)).chain([sole_map(family)]) {
            text += &format!("  map {name} {{\n    type {key} : {address} . inet_service\n  }}\n");
        }
    }
    text
}

fn pick() -> Chain {
    let slots: Vec<String> = (0..SLOTS)
        .map(|slot| format!("{slot} : goto {}", slot_chain(slot)))
        .collect();
    let modulus = format!("mod {SLOTS} seed {SEED:#x} vmap {{ {} }}", slots.join(", "));
    let mut chain = Chain::inner("pick");
    chain.rule_per_family("sole", &dnat("sole"));
    chain.rule_per_family(
        "affine",
        &format!("{{ip}} daddr . meta l4proto . th dport @affine_{{v}} jhash {{ip}} saddr {modulus}"),
    );
    chain.rule_per_family("spread", &format!("jhash {{ip}} saddr . th sport {modulus}"));
    chain
}

fn slot(slot: usize) -> Chain {
    let mut chain = Chain::inner(&slot_chain(slot));
    chain.rule_per_family("to", &dnat(&slot_chain(slot)));
    chain
}

/// To where the map of this name says, if it says anything of the port; it is one of a family each.
fn dnat(map: &str) -> String {
    format!("meta l4proto {PROTOCOLS} dnat {{ip}} to {{ip}} daddr . meta l4proto . th dport map @{map}_{{v}}")
}

/// The interval set of clusterset addresses is this and a family.
pub(crate) const RANGE: &str = "clusterset";
const PROTOCOLS: &str = "{ tcp, udp, sctp }";
/// "tomb". Without one, the kernel draws another for each new table.
const SEED: u32 = 0x746f_6d62;
