//! The addresses of services: which prefixes there are, and who gets which address.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::super::Context;
use crate::{
    field::FieldError,
    object::{Object as _, child_mut, strings_at},
    status::Status,
    store::Resource,
};

/// The prefixes that services get their addresses from, at most one a family; the first family is the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServicePrefixes(Vec<IpNet>);

impl ServicePrefixes {
    pub(crate) fn new(prefixes: Vec<IpNet>) -> Self {
        Self(prefixes)
    }

    /// The first usable address of each prefix: the `kubernetes` service.
    pub(crate) fn first_addresses(&self) -> Vec<IpAddr> {
        self.0.iter().filter_map(|prefix| nth(prefix, 1)).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }

    fn families(&self) -> Vec<&'static str> {
        self.0.iter().map(|prefix| family(prefix.addr())).collect()
    }

    /// A free address of a family: hashed, then the next free one. The lower part of a prefix is left for addresses that
    /// people choose.
    fn allocate(&self, family_name: &str, seed: &str, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let prefix = self.0.iter().find(|prefix| family(prefix.addr()) == family_name)?;
        let bits = u32::from(prefix.max_prefix_len() - prefix.prefix_len()).min(16);
        let last = (1u64 << bits).saturating_sub(2);
        let first = (last / 16).clamp(16.min(last / 2), 256).max(1);
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        let count = last.saturating_sub(first) + 1;
        let start = hasher.finish() % count;
        let upper = (0..count).map(|step| first + (start + step) % count);
        upper
            .chain(2..first)
            .filter_map(|n| nth(prefix, n))
            .find(|address| !used.contains(address))
    }
}

fn nth(prefix: &IpNet, n: u64) -> Option<IpAddr> {
    let address = match prefix.network() {
        IpAddr::V4(network) => IpAddr::V4((u32::from(network).checked_add(u32::try_from(n).ok()?)?).into()),
        IpAddr::V6(network) => IpAddr::V6((u128::from(network).checked_add(u128::from(n))?).into()),
    };
    prefix.contains(&address).then_some(address)
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Gives a service the addresses that it lacks.
pub(super) fn allocate(object: &mut Value, context: &Context<'_>) -> Result<(), Status> {
    let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
    let place = format!("{namespace}/{name}");
    let invalid = |error: FieldError| Status::invalid("", "Service", &name, &[error]);
    let services = context.txn.list(&Resource::new("", "services"), None);
    let others = || {
        services
            .iter()
            .filter(|(at, _)| (&at.namespace, &at.name) != (&namespace, &name))
    };
    let spec = child_mut(object, "spec");
    if spec["type"] == "ExternalName" {
        return Ok(());
    }
    let mut wanted: Vec<String> = spec
        .get("clusterIPs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|ip| ip.as_str().map(str::to_owned))
        .collect();
    if let Some(one) = spec
        .get("clusterIP")
        .and_then(Value::as_str)
        .filter(|one| !one.is_empty())
    {
        match wanted.first() {
            None => wanted.push(one.to_owned()),
            Some(first) if first != one => {
                let detail = "must match the first entry of `clusterIPs`";
                return Err(invalid(FieldError::invalid("spec.clusterIP", one, detail)));
            }
            Some(_) => {}
        }
    }
    let headless = wanted.first().is_some_and(|first| first == "None");
    let families = families(spec, &wanted, context.services).map_err(invalid)?;
    if headless {
        spec.insert("clusterIP".into(), "None".into());
        spec.insert("clusterIPs".into(), json!(["None"]));
    } else {
        let used: BTreeSet<IpAddr> = others()
            .flat_map(|(_, other)| {
                strings_at(other, &["spec", "clusterIPs"])
                    .into_iter()
                    .filter_map(|ip| ip.parse().ok())
            })
            .collect();
        let mut addresses = Vec::new();
        for (n, family_name) in families.iter().enumerate() {
            let address = match wanted.get(n) {
                Some(_) => chosen(&wanted, n, context.services, &used).map_err(invalid)?,
                None => context.services.allocate(family_name, &place, &used).ok_or_else(|| {
                    Status::internal(format!("failed to allocate a serviceIP: range is full ({family_name})"))
                })?,
            };
            addresses.push(address.to_string());
        }
        if let Some(first) = addresses.first() {
            spec.insert("clusterIP".into(), first.clone().into());
            spec.insert("clusterIPs".into(), json!(addresses));
        }
    }
    Ok(())
}

/// The families of a service: as asked for, as its addresses say, or the cluster's first.
fn families(
    spec: &mut Map<String, Value>,
    wanted: &[String],
    prefixes: &ServicePrefixes,
) -> Result<Vec<String>, FieldError> {
    let available = prefixes.families();
    let asked: Vec<String> = spec
        .get("ipFamilies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|family| family.as_str().map(str::to_owned))
        .collect();
    for (n, family_name) in asked.iter().enumerate() {
        if !available.contains(&family_name.as_str()) {
            let detail = "not configured on this cluster";
            return Err(FieldError::invalid(
                format!("spec.ipFamilies[{n}]"),
                family_name.as_str(),
                detail,
            ));
        }
    }
    let of_addresses = wanted
        .iter()
        .filter_map(|ip| ip.parse().ok())
        .map(|ip| family(ip).to_owned());
    let mut families = if asked.is_empty() {
        of_addresses.collect()
    } else {
        asked
    };
    if families.is_empty() {
        families.extend(available.first().map(|first| (*first).to_owned()));
    }
    let policy = spec.get("ipFamilyPolicy").and_then(Value::as_str).unwrap_or_default();
    let policy = match policy {
        "" if families.len() > 1 => "RequireDualStack",
        "" => "SingleStack",
        "RequireDualStack" if available.len() < 2 => {
            let detail = "this cluster is not configured for dual-stack services";
            return Err(FieldError::invalid("spec.ipFamilyPolicy", policy, detail));
        }
        given => given,
    }
    .to_owned();
    if policy == "SingleStack" {
        families.truncate(1);
    } else {
        let missing: Vec<String> = available
            .iter()
            .filter(|one| !families.iter().any(|have| have == *one))
            .map(|one| (*one).to_owned())
            .collect();
        families.extend(missing);
    }
    spec.insert("ipFamilies".into(), json!(families));
    spec.insert("ipFamilyPolicy".into(), policy.into());
    Ok(families)
}

fn chosen(
    wanted: &[String],
    n: usize,
    prefixes: &ServicePrefixes,
    used: &BTreeSet<IpAddr>,
) -> Result<IpAddr, FieldError> {
    let text = &wanted[n];
    let Ok(address) = text.parse::<IpAddr>() else {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        return Err(FieldError::invalid(
            format!("spec.clusterIPs[{n}]"),
            text.as_str(),
            detail,
        ));
    };
    let why = if !prefixes.iter().any(|prefix| prefix.contains(&address)) {
        "the provided network does not match the current range"
    } else if used.contains(&address) {
        "provided IP is already allocated"
    } else {
        return Ok(address);
    };
    let detail = format!("failed to allocate IP {text}: {why}");
    Err(FieldError::invalid("spec.clusterIPs", wanted.to_vec(), detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_range_distinct_and_leave_the_lower_part_alone() {
        let prefixes = ServicePrefixes::new(vec!["10.9.0.0/24".parse().unwrap(), "fd00:9::/112".parse().unwrap()]);
        let mut used = BTreeSet::new();
        for n in 0..200 {
            let address = prefixes.allocate("IPv4", &n.to_string(), &used).unwrap();
            assert!(used.insert(address), "{address} twice");
        }
        let low: IpAddr = "10.9.0.15".parse().unwrap();
        assert!(used.iter().all(|address| *address > low));
        assert!(prefixes.allocate("IPv6", "x", &used).unwrap().is_ipv6());
        assert_eq!(prefixes.first_addresses()[0].to_string(), "10.9.0.1");
    }

    #[test]
    fn a_full_prefix_gives_nothing() {
        let prefixes = ServicePrefixes::new(vec!["10.9.0.0/29".parse().unwrap()]);
        let mut used: BTreeSet<IpAddr> = prefixes.first_addresses().into_iter().collect();
        while let Some(address) = prefixes.allocate("IPv4", "x", &used) {
            assert!(used.insert(address));
        }
        assert_eq!(used.len(), 6, "{used:?}");
    }
}
