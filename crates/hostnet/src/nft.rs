//! The nftables table: what it holds, its text for `nft -f`, and the shape by which drift is seen.
//!
//! **Drift.** Every rule carries a comment `name#hash`, where the hash is over the rule's text. Reading the table back gives, per
//! chain, its hook and the ordered list of comments, and per set its elements: that is the [`NftShape`]. A flushed table, a
//! rule that was deleted, moved or added by hand, a changed set or hook, and a table of an older build all differ in shape,
//! and a difference rewrites the whole table in one transaction. Not seen is a rule that somebody replaced under our own
//! comment. Nothing has to be remembered between two looks, so this works across restarts.
//!
//! **Chains.**
//! * `source` (nat, just before the neighbours' source nat): binds a flow between a local and a remote address to its own source, in
//!   both directions. The first nat chain that binds a flow ends the hook, so kube-proxy's and the CNI's masquerade skip it.
//! * `loops` (forward): what came by VXLAN does not go back to it, nor from one cable to another.
//! * `leaving` (postrouting, so forwarded and local packets alike, after all DNAT and with the final link): remote prefixes leave
//!   by our links or not at all; TCP options of both directions shrink to the route MTU.
//! * `hopeless` (prerouting, after all DNAT): what begins to a remote prefix that there is no way to is refused, as is done for clusterset
//!   IPs. The unreachable routes tell as well, but only by ICMP, of which the kernel lets a route send each address one in two seconds, and
//!   none at all to who asks every second.
//! * `transit` (prerouting, before conntrack): see [`crate::nft_transit`].
//! * those of [`crate::nft_vips`], on a node that translates clusterset IPs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::desired::Desired;
use crate::tags;
use crate::vips::VipElements;
use crate::vtep::hash;
use crate::{nft_transit, nft_vips, vip_sets};

/// The whole table, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftTable {
    text: String,
    shape: NftShape,
    vips: VipElements,
}

/// What can be read back of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftShape {
    /// Interval sets by name, as aggregated prefixes.
    pub sets: BTreeMap<String, BTreeSet<IpNet>>,
    /// Chains by name.
    pub chains: BTreeMap<String, NftChain>,
}

/// One chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftChain {
    /// Where it is hooked in; none for a chain that is only jumped to.
    pub hook: Option<ChainHook>,
    /// The comments of its rules in order, empty for a rule without one.
    pub rules: Vec<String>,
}

/// Where a base chain sits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHook {
    /// `filter` or `nat`.
    pub kind: String,
    /// `forward`, `postrouting` …
    pub hook: String,
    /// Lower runs first.
    pub priority: i32,
    /// `accept` or `drop`.
    pub policy: String,
}

impl NftTable {
    /// The table that a node needs.
    pub(crate) fn for_node(desired: &Desired) -> Self {
        let remote: BTreeSet<IpNet> = desired.clusters.values().flat_map(|c| c.prefixes.clone()).collect();
        let transit = desired.untracked.iter().flat_map(nft_transit::prefixes);
        let sets = [("local", &desired.local), ("remote", &remote)]
            .into_iter()
            .chain((!desired.vips.range.is_empty()).then_some((nft_vips::RANGE, &desired.vips.range)))
            .chain(transit)
            .flat_map(|(name, prefixes): (_, &BTreeSet<IpNet>)| {
                let (v4, v6) = split(prefixes);
                [(format!("{name}_v4"), v4), (format!("{name}_v6"), v6)]
            })
            .collect();

        let mut chains = vec![loops(), leaving(), hopeless()];
        if desired.keep_source {
            chains.push(source());
        }
        let mut changing_sets = String::new();
        if desired.untracked.is_some() {
            chains.push(nft_transit::chain());
            changing_sets += &nft_transit::flows();
        }
        let mut vips = VipElements::default();
        if !desired.vips.range.is_empty() {
            chains.extend(nft_vips::chains());
            changing_sets += &nft_vips::sets();
            vips.clone_from(&desired.vips.elements);
        }
        Self {
            vips,
            ..Self::render(sets, &chains, &changing_sets)
        }
    }

    /// The text for `nft -f -`: one transaction that replaces the table, whether it exists or not.
    pub fn text(&self) -> String {
        format!("{}{}", self.text, vip_sets::text_of(&self.vips))
    }

    /// What the table's changing sets and maps will hold.
    pub fn vips(&self) -> &VipElements {
        &self.vips
    }

    /// What reading it back must give.
    pub fn shape(&self) -> &NftShape {
        &self.shape
    }

    /// nft 1.0.6 wants a newline before each closing brace.
    fn render(sets: BTreeMap<String, BTreeSet<IpNet>>, chains: &[Chain], changing_sets: &str) -> Self {
        let name = tags::NFT_TABLE;
        let mut text = format!("table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n");
        for (set, elements) in &sets {
            let kind = if set.ends_with("v4") { "ipv4_addr" } else { "ipv6_addr" };
            text += &format!("  set {set} {{\n    type {kind}\n    flags interval\n");
            if !elements.is_empty() {
                let list: Vec<_> = elements.iter().map(ToString::to_string).collect();
                text += &format!("    elements = {{ {} }}\n", list.join(", "));
            }
            text += "  }\n";
        }
        text += changing_sets;
        let mut shape = NftShape {
            sets,
            chains: BTreeMap::new(),
        };
        for chain in chains {
            text += &format!("  chain {} {{\n", chain.name);
            if let Some(hook) = &chain.hook {
                writeln!(text, "    {hook}").expect("a String takes any text");
            }
            let mut comments = Vec::new();
            for (rule, body) in &chain.rules {
                let comment = format!("{rule}#{:08x}", hash("nft-rule", body) >> 32);
                writeln!(text, "    {body} comment \"{comment}\"").expect("a String takes any text");
                comments.push(comment);
            }
            text += "  }\n";
            let chain_shape = NftChain {
                hook: chain.hook.clone(),
                rules: comments,
            };
            shape.chains.insert(chain.name.clone(), chain_shape);
        }
        text += "}\n";
        Self {
            text,
            shape,
            vips: VipElements::default(),
        }
    }
}

/// Prefixes as an interval set holds them: merged, without duplicates or nesting.
pub(crate) fn split(prefixes: &BTreeSet<IpNet>) -> (BTreeSet<IpNet>, BTreeSet<IpNet>) {
    let (mut v4, mut v6): (Vec<Ipv4Net>, Vec<Ipv6Net>) = (Vec::new(), Vec::new());
    for prefix in prefixes {
        match prefix {
            IpNet::V4(net) => v4.push(net.trunc()),
            IpNet::V6(net) => v6.push(net.trunc()),
        }
    }
    let v4 = Ipv4Net::aggregate(&v4).into_iter().map(IpNet::V4).collect();
    let v6 = Ipv6Net::aggregate(&v6).into_iter().map(IpNet::V6).collect();
    (v4, v6)
}

impl fmt::Display for ChainHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            hook,
            priority,
            policy,
        } = self;
        write!(f, "type {kind} hook {hook} priority {priority}; policy {policy};")
    }
}

/// A chain to be rendered.
pub(crate) struct Chain {
    name: String,
    hook: Option<ChainHook>,
    rules: Vec<(String, String)>,
}

impl Chain {
    /// A chain that is only gone to.
    pub(crate) fn inner(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            hook: None,
            rules: Vec::new(),
        }
    }

    /// A chain on a hook.
    pub(crate) fn new(name: &str, kind: &str, hook: &str, priority: i32) -> Self {
        let hook = ChainHook {
            kind: kind.into(),
            hook: hook.into(),
            priority,
            policy: "accept".into(),
        };
        Self {
            hook: Some(hook),
            ..Self::inner(name)
        }
    }

    pub(crate) fn rule(&mut self, name: &str, body: &str) {
        self.rules.push((name.to_owned(), body.to_owned()));
    }

    /// One rule a family: `{ip}` and `{v}` in the body stand for `ip`/`ip6` and `v4`/`v6`.
    pub(crate) fn rule_per_family(&mut self, name: &str, body: &str) {
        for (ip, v) in [("ip", "v4"), ("ip6", "v6")] {
            self.rule(&format!("{name}-{v}"), &body.replace("{ip}", ip).replace("{v}", v));
        }
    }
}

fn source() -> Chain {
    let mut chain = Chain::new("source", "nat", "postrouting", SRCNAT - 1);
    chain.rule_per_family(
        "keep-out",
        "{ip} saddr @local_{v} {ip} daddr @remote_{v} snat {ip} to {ip} saddr",
    );
    chain.rule_per_family(
        "keep-in",
        "{ip} saddr @remote_{v} {ip} daddr @local_{v} snat {ip} to {ip} saddr",
    );
    chain
}

fn loops() -> Chain {
    let mut chain = Chain::new("loops", "filter", "forward", FILTER);
    for (name, link) in [("loop-vx", tags::VXLAN_LINK), ("loop-tun", tags::TUN_LINK)] {
        chain.rule(name, &format!("iifname \"{link}\" oifname \"{link}\" counter drop"));
    }
    chain
}

fn leaving() -> Chain {
    let mut chain = Chain::new("leaving", "filter", "postrouting", MANGLE);
    // Loopback: a node whose own address lies in a remote prefix talks to itself, which leaks nothing.
    let ours = format!("{{ \"lo\", \"{}\", \"{}\" }}", tags::VXLAN_LINK, tags::TUN_LINK);
    chain.rule_per_family(
        "leak",
        &format!("{{ip}} daddr @remote_{{v}} oifname != {ours} counter drop"),
    );
    // By address, not by link: what comes out of a cable may reach its pod over the CNI, and is clamped there too.
    chain.rule_per_family(
        "mss-out",
        "{ip} daddr @remote_{v} tcp flags syn tcp option maxseg size set rt mtu",
    );
    chain.rule_per_family(
        "mss-in",
        "{ip} saddr @remote_{v} tcp flags syn tcp option maxseg size set rt mtu",
    );
    chain
}

fn hopeless() -> Chain {
    let mut chain = Chain::new("hopeless", "filter", "prerouting", DSTNAT + 10);
    // What other nodes send here has a table of its own, which this lookup does not see. And only what begins is refused: what is
    // connected may outlive a time without a way.
    let begins = [
        (
            "no-way-tcp",
            "tcp flags & (fin | syn | rst | ack) == syn",
            "reject with tcp reset",
        ),
        ("no-way", "meta l4proto != tcp ct state new", "reject"),
    ];
    for (name, what, answer) in begins {
        let from = format!("iifname != \"{}\"", tags::VXLAN_LINK);
        chain.rule_per_family(
            name,
            &format!("{from} {{ip}} daddr @remote_{{v}} {what} fib daddr oif missing counter {answer}"),
        );
    }
    chain
}

// The priorities behind nft's names.
pub(crate) const DSTNAT: i32 = -100;
const MANGLE: i32 = -150;
pub(crate) const FILTER: i32 = 0;
pub(crate) const SRCNAT: i32 = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn interval_sets_hold_merged_prefixes() {
        let (v4, v6) = split(&set(&[
            "10.0.0.0/17",
            "10.0.128.0/17",
            "10.0.3.0/24",
            "fd00::/64",
            "10.9.9.9/24",
        ]));
        assert_eq!(v4, set(&["10.0.0.0/16", "10.9.9.0/24"]));
        assert_eq!(v6, set(&["fd00::/64"]));
    }

    #[test]
    fn a_changed_rule_changes_the_shape() {
        let table = |body: &str| {
            let mut chain = Chain::new("leaving", "filter", "postrouting", MANGLE);
            chain.rule("leak", body);
            NftTable::render(BTreeMap::new(), &[chain], "")
        };
        assert_eq!(table("drop").shape(), table("drop").shape());
        assert_ne!(table("drop").shape(), table("accept").shape());
    }

    proptest! {
        #[test]
        fn closing_braces_have_lines_of_their_own(prefixes in proptest::collection::btree_set(any::<u32>(), 0..8)) {
            let elements = prefixes.into_iter().map(|a| IpNet::from(std::net::IpAddr::V4(a.into()))).collect();
            let table = NftTable::render(BTreeMap::from([("remote_v4".to_owned(), elements)]), &[source(), loops(), leaving()], "");
            let blocks = table.text().matches("\n  }\n").count();
            prop_assert_eq!(blocks, 4);
            let closed = table.text().ends_with("\n}\n");
            prop_assert!(closed);
        }
    }
}
