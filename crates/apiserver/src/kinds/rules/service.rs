//! Service: defaults, and the allocation of its addresses and node ports.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::{Context, NameRule, Rules};
use crate::{
    field::FieldError,
    object::{Object as _, child_mut, list_at, set_default, strings_at, text_at},
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

#[derive(Debug)]
pub(crate) struct Services;

impl Rules for Services {
    fn default(&self, object: &mut Value) {
        let spec = child_mut(object, "spec");
        set_default(spec, "type", "ClusterIP");
        set_default(spec, "sessionAffinity", "None");
        if spec["sessionAffinity"] == "ClientIP" {
            set_default(
                spec,
                "sessionAffinityConfig",
                json!({"clientIP": {"timeoutSeconds": 10800}}),
            );
        }
        if spec["type"] != "ExternalName" {
            set_default(spec, "internalTrafficPolicy", "Cluster");
        }
        if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
            set_default(spec, "externalTrafficPolicy", "Cluster");
        }
        let ingress = object
            .pointer_mut("/status/loadBalancer/ingress")
            .and_then(Value::as_array_mut);
        for one in ingress.into_iter().flatten().filter(|one| one["ip"].is_string()) {
            set_default(one.as_object_mut().expect("has a field"), "ipMode", "VIP");
        }
        let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            set_default(port, "protocol", "TCP");
            if let Some(number) = port.get("port").cloned() {
                set_default(port, "targetPort", number);
            }
        }
    }

    fn create(&self, object: &mut Value, context: &Context<'_>) -> Result<(), Status> {
        object["status"] = json!({"loadBalancer": {}});
        allocate(object, context)
    }

    fn update(&self, old: &Value, new: &mut Value, context: &Context<'_>) -> Result<(), Status> {
        if new["spec"]["type"] == "ExternalName" {
            let spec = child_mut(new, "spec");
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if old["spec"][field] == spec.get(field).cloned().unwrap_or_default() {
                    spec.shift_remove(field);
                }
            }
            return Ok(());
        }
        let (before, spec) = (&old["spec"], child_mut(new, "spec"));
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = before.get(field) {
                set_default(spec, field, value.clone());
            }
        }
        keep_node_ports(before, spec);
        allocate(new, context)
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        let kind = text_at(spec, &["type"]);
        if !TYPES.contains(&kind) {
            errors.push(FieldError::not_supported("spec.type", kind, TYPES));
        }
        if kind == "ExternalName" {
            if text_at(spec, &["externalName"]).is_empty() {
                errors.push(FieldError::required("spec.externalName", ""));
            }
            return errors;
        }
        let ports = list_at(spec, &["ports"]);
        if ports.is_empty() && text_at(spec, &["clusterIP"]) != "None" {
            errors.push(FieldError::required("spec.ports", ""));
        }
        errors.extend(wrong_ports(ports));
        let (before, after) = (old.map(|old| &old["spec"]["clusterIPs"]), &spec["clusterIPs"]);
        if before.is_some_and(|before| before.is_array() && before[0] != after[0]) {
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                after.clone(),
                "may not change once set",
            ));
        }
        errors
    }

    fn names(&self) -> NameRule {
        NameRule::Label
    }
}

fn wrong_ports(ports: &[Value]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (n, port) in ports.iter().enumerate() {
        let at = |field: &str| format!("spec.ports[{n}].{field}");
        let name = text_at(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(at("name"), ""));
        }
        if !name.is_empty() && ports[..n].iter().any(|other| other["name"] == name) {
            errors.push(FieldError::duplicate(at("name"), name));
        }
        let number = port["port"].as_i64().unwrap_or_default();
        if !(1..=65535).contains(&number) {
            errors.push(FieldError::invalid(
                at("port"),
                number,
                "must be between 1 and 65535, inclusive",
            ));
        }
        if !["TCP", "UDP", "SCTP"].contains(&text_at(port, &["protocol"])) {
            errors.push(FieldError::not_supported(
                at("protocol"),
                port["protocol"].clone(),
                ["SCTP", "TCP", "UDP"],
            ));
        }
    }
    errors
}

/// A port that is sent back without its node port keeps it.
fn keep_node_ports(before: &Value, spec: &mut Map<String, Value>) {
    let old = list_at(before, &["ports"]);
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        let same =
            |other: &&Value| other.get("port") == port.get("port") && other.get("protocol") == port.get("protocol");
        if let Some(node) = old.iter().find(same).and_then(|other| other.get("nodePort")).cloned() {
            set_default(port, "nodePort", node);
        }
    }
}

/// Gives a service the addresses and node ports that it lacks.
fn allocate(object: &mut Value, context: &Context<'_>) -> Result<(), Status> {
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
                Some(text) => chosen(text, n, context.services, &used).map_err(invalid)?,
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
    if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
        let mut used: BTreeSet<u64> = others()
            .flat_map(|(_, other)| {
                list_at(other, &["spec", "ports"])
                    .iter()
                    .filter_map(|port| port["nodePort"].as_u64())
            })
            .collect();
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            if let Some(free) = (30_000..32_768).find(|port| !used.contains(port)) {
                set_default(port, "nodePort", free);
            }
            used.extend(port.get("nodePort").and_then(Value::as_u64));
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

fn chosen(text: &str, n: usize, prefixes: &ServicePrefixes, used: &BTreeSet<IpAddr>) -> Result<IpAddr, FieldError> {
    let wrong = |detail: &str| FieldError::invalid(format!("spec.clusterIPs[{n}]"), json!([text]), detail);
    let address: IpAddr = text.parse().map_err(|_| wrong("must be a valid IP address"))?;
    if !prefixes.iter().any(|prefix| prefix.contains(&address)) {
        let why = format!("failed to allocate IP {text}: the provided network does not match the current range");
        return Err(FieldError::invalid("spec.clusterIPs", json!([text]), why));
    }
    if used.contains(&address) {
        return Err(wrong(&format!(
            "failed to allocate IP {text}: provided IP is already allocated"
        )));
    }
    Ok(address)
}

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

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
