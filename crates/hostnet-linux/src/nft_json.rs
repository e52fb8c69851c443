//! What `nft -j list table` says, as the shape that [`hostnet`] compares.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hostnet::{ChainHook, NftShape, VipElements, tags};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde::Deserialize;
use serde_json::Value;

use crate::error::NftError;
use crate::nft_json_vips;

/// A table as read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    pub(crate) shape: NftShape,
    /// Elements of the sets and maps that change with the services; none if they were not asked for.
    pub(crate) vips: VipElements,
    /// Packets by the name of the counting rule.
    pub(crate) counters: BTreeMap<String, u64>,
}

/// Our table in what nft listed; none if it is not there. What belongs to other tables is left out.
pub(crate) fn parse(json: &[u8]) -> Result<Option<Listing>, NftError> {
    let document: Document = serde_json::from_slice(json).map_err(|error| NftError::Json(error.to_string()))?;
    let is_ours = |table: &Table| table.name == tags::NFT_TABLE;
    if !document
        .nftables
        .iter()
        .filter_map(|item| item.table.as_ref())
        .any(is_ours)
    {
        return Ok(None);
    }
    let mut listing = Listing::default();
    for item in document.nftables.into_iter().filter(Item::is_ours) {
        match item {
            Item { chain: Some(chain), .. } => {
                let hook = match (chain.kind, chain.hook, chain.prio, chain.policy) {
                    (Some(kind), Some(hook), Some(priority), Some(policy)) => Some(ChainHook {
                        kind,
                        hook,
                        priority,
                        policy,
                    }),
                    _ => None,
                };
                listing.shape.chains.entry(chain.name).or_default().hook = hook;
            }
            Item { map: Some(map), .. } => {
                if let Some(slot) = hostnet::slot_of_map(&map.name) {
                    nft_json_vips::slot(&map.elem, slot, &mut listing.vips);
                } else if map.name.starts_with("sole") {
                    listing.vips.sole.extend(nft_json_vips::backends(&map.elem));
                }
            }
            Item { set: Some(set), .. } if set.name.starts_with("known") => {
                let addresses = set.elem.iter().filter_map(nft_json_vips::address);
                listing.vips.known.extend(addresses);
            }
            Item { set: Some(set), .. } if set.name.starts_with("affine") => {
                let ports = set.elem.iter().filter_map(nft_json_vips::port);
                listing.vips.affine.extend(ports);
            }
            Item { set: Some(set), .. } if set.name.starts_with("hairpin") => {
                let pods = set.elem.iter().filter_map(nft_json_vips::pod);
                listing.vips.hairpin.extend(pods);
            }
            Item { set: Some(set), .. } if set.name.starts_with(hostnet::FLOWS) => {}
            Item { set: Some(set), .. } => {
                let elements = set.elem.iter().flat_map(prefixes).collect();
                listing.shape.sets.insert(set.name, aggregate(&elements));
            }
            Item { rule: Some(rule), .. } => {
                let comment = rule.comment.unwrap_or_default();
                if let Some(packets) = rule
                    .expr
                    .iter()
                    .find_map(|part| part.get("counter")?.get("packets")?.as_u64())
                {
                    let name = comment.split_once('#').map_or(comment.as_str(), |(name, _)| name);
                    *listing.counters.entry(name.to_owned()).or_default() += packets;
                }
                listing.shape.chains.entry(rule.chain).or_default().rules.push(comment);
            }
            _ => {}
        }
    }
    Ok(Some(listing))
}

#[derive(Deserialize)]
struct Document {
    nftables: Vec<Item>,
}

/// One of these; whatever else nft lists is of no interest.
#[derive(Deserialize)]
struct Item {
    table: Option<Table>,
    chain: Option<Chain>,
    set: Option<Set>,
    map: Option<Set>,
    rule: Option<Rule>,
}

impl Item {
    fn is_ours(&self) -> bool {
        let chain = self.chain.as_ref().map(|chain| &chain.table);
        let set = self.set.as_ref().or(self.map.as_ref()).map(|set| &set.table);
        let rule = self.rule.as_ref().map(|rule| &rule.table);
        chain.or(set).or(rule).is_some_and(|table| table == tags::NFT_TABLE)
    }
}

#[derive(Deserialize)]
struct Table {
    name: String,
}

#[derive(Deserialize)]
struct Chain {
    table: String,
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    hook: Option<String>,
    prio: Option<i32>,
    policy: Option<String>,
}

#[derive(Deserialize)]
struct Set {
    table: String,
    name: String,
    #[serde(default)]
    elem: Vec<Value>,
}

#[derive(Deserialize)]
struct Rule {
    table: String,
    chain: String,
    comment: Option<String>,
    #[serde(default)]
    expr: Vec<Value>,
}

/// An element of an interval set: an address, a prefix, or a range where intervals touch.
fn prefixes(element: &Value) -> Vec<IpNet> {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    let read = || {
        if let Some(one) = address(element) {
            return Some(vec![IpNet::from(one)]);
        }
        if let Some(prefix) = element.get("prefix") {
            let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
            return Some(vec![IpNet::new(address(prefix.get("addr")?)?, length).ok()?]);
        }
        match element.get("range")?.as_array()?.as_slice() {
            [first, last] => match (address(first)?, address(last)?) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    Some(Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect())
                }
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    Some(Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect())
                }
                _ => None,
            },
            _ => None,
        }
    };
    read().unwrap_or_default()
}

fn aggregate(prefixes: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    IpNet::aggregate(&prefixes.iter().copied().collect())
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_nft_1_0_6_is_read() {
        let json = r#"{"nftables":[{"metainfo":{"version":"1.0.6"}},{"table":{"family":"inet","name":"tombolo","handle":2}},
            {"set":{"family":"inet","name":"remote_v4","table":"tombolo","type":"ipv4_addr","handle":3,"flags":["interval"],
                "elem":[{"prefix":{"addr":"10.1.0.0","len":16}},"10.9.9.9",{"range":["10.4.0.0","10.6.255.255"]}]}},
            {"set":{"family":"inet","name":"remote_v6","table":"tombolo","type":"ipv6_addr","handle":4,"flags":["interval"]}},
            {"chain":{"family":"inet","table":"tombolo","name":"leaving","handle":1,"type":"filter","hook":"postrouting",
                "prio":-150,"policy":"accept"}},
            {"chain":{"family":"inet","table":"tombolo","name":"by-hand","handle":2}},
            {"rule":{"family":"inet","table":"tombolo","chain":"leaving","handle":9,"comment":"leak-v4#0badcafe",
                "expr":[{"counter":{"packets":7,"bytes":420}},{"drop":null}]}},
            {"chain":{"family":"inet","table":"other","name":"leaving","handle":1}},
            {"rule":{"family":"inet","table":"other","chain":"leaving","handle":2,"comment":"theirs","expr":[]}},
            {"rule":{"family":"inet","table":"tombolo","chain":"leaving","handle":10,"expr":[{"accept":null}]}}]}"#;
        let listing = parse(json.as_bytes()).unwrap().expect("our table is there");
        let texts: Vec<_> = listing.shape.sets["remote_v4"]
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(texts, ["10.1.0.0/16", "10.4.0.0/15", "10.6.0.0/16", "10.9.9.9/32"]);
        assert!(listing.shape.sets["remote_v6"].is_empty());
        assert_eq!(listing.shape.chains["leaving"].rules, ["leak-v4#0badcafe", ""]);
        assert_eq!(listing.shape.chains["leaving"].hook.as_ref().unwrap().priority, -150);
        assert_eq!(listing.shape.chains["by-hand"].hook, None);
        assert_eq!(listing.counters, BTreeMap::from([("leak-v4".to_owned(), 7)]));
    }

    #[test]
    fn without_our_table_there_is_nothing_to_tell() {
        let others = r#"{"nftables":[{"table":{"family":"inet","name":"other"}},
            {"chain":{"family":"inet","table":"other","name":"x"}}]}"#;
        assert!(parse(others.as_bytes()).unwrap().is_none());
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        assert!(parse(b"table inet tombolo {").is_err());
    }
}
