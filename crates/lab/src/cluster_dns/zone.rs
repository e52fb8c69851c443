//! The `kubernetes` plugin: the names of one cluster. Pure.
//!
//! Every name is a node of one map, and so is every name above it up to its zone, because a name that has only others below it
//! exists too (RFC 8020). So an answer is one lookup: the records, or "no such data", or "no such name".

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Name, Record, Serial, ToName, Ttl};
use domain::rdata::{A, Aaaa, Cname, Ptr, Soa, Srv, Txt, ZoneRecordData};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;

use super::config::Kubernetes;
use super::reply::{OwnedRecord, Question, Reply};

/// The records of a cluster, by name.
#[derive(Debug, Default)]
pub(super) struct Zone {
    nodes: HashMap<Name<Vec<u8>>, BTreeSet<Data>>,
}

type Data = ZoneRecordData<Vec<u8>, Name<Vec<u8>>>;

impl Zone {
    /// The names that Services and their slices make in the plugin's zones.
    pub(super) fn build(plugin: &Kubernetes, services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Self {
        let mut zone = Self::default();
        let mut by_service: HashMap<(String, &str), Vec<&EndpointSlice>> = HashMap::new();
        for slice in slices {
            if let Some(service) = slice.labels().get("kubernetes.io/service-name") {
                by_service
                    .entry((slice.namespace().unwrap_or_default(), service))
                    .or_default()
                    .push(slice);
            }
        }
        for origin in plugin.zones.iter().filter(|origin| !is_reverse(origin)) {
            zone.add(plugin, below(origin, "dns-version"), text("1.1.0"));
            for service in services {
                let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
                let (Some(spec), Some(owner)) = (&service.spec, below(origin, &format!("{name}.{namespace}.svc")))
                else {
                    continue;
                };
                let slices = by_service
                    .get(&(namespace, name.as_str()))
                    .map_or(&[][..], Vec::as_slice);
                zone.add_service(plugin, &owner, spec, slices);
            }
        }
        zone
    }

    fn add_service(
        &mut self,
        plugin: &Kubernetes,
        owner: &Name<Vec<u8>>,
        spec: &ServiceSpec,
        slices: &[&EndpointSlice],
    ) {
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = spec
                .external_name
                .as_deref()
                .and_then(|name| Name::vec_from_str(name).ok());
            self.add(
                plugin,
                Some(owner.clone()),
                target.map(|target| Cname::new(target).into()),
            );
            return;
        }
        if spec.cluster_ip.as_deref() == Some("None") {
            for slice in slices {
                for endpoint in slice.endpoints.iter().filter(|endpoint| is_ready(endpoint)) {
                    self.add_endpoint(plugin, owner, slice, endpoint);
                }
            }
            return;
        }
        let addresses = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        for address in addresses.filter_map(|address| address.parse().ok()) {
            self.add_address(plugin, owner, address);
        }
        for port in spec.ports.iter().flatten() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            self.add_port(plugin, owner, owner, port.name.as_deref(), protocol, port.port);
        }
    }

    fn add_endpoint(&mut self, plugin: &Kubernetes, owner: &Name<Vec<u8>>, slice: &EndpointSlice, endpoint: &Endpoint) {
        for address in endpoint
            .addresses
            .iter()
            .filter_map(|address| address.parse::<IpAddr>().ok())
        {
            let host = endpoint.hostname.clone().unwrap_or_else(|| dashed(address));
            let Some(host) = below(owner, &host) else { continue };
            self.add(plugin, Some(owner.clone()), Some(address_data(address)));
            self.add_address(plugin, &host, address);
            for port in slice.ports.iter().flatten() {
                let protocol = port.protocol.as_deref().unwrap_or("TCP");
                self.add_port(
                    plugin,
                    owner,
                    &host,
                    port.name.as_deref(),
                    protocol,
                    port.port.unwrap_or(0),
                );
            }
        }
    }

    /// An address, and the way back from it.
    fn add_address(&mut self, plugin: &Kubernetes, owner: &Name<Vec<u8>>, address: IpAddr) {
        self.add(plugin, Some(owner.clone()), Some(address_data(address)));
        let reverse = Name::reverse_from_addr(address).ok();
        self.add(plugin, reverse, Some(Ptr::new(owner.clone()).into()));
    }

    fn add_port(
        &mut self,
        plugin: &Kubernetes,
        owner: &Name<Vec<u8>>,
        target: &Name<Vec<u8>>,
        name: Option<&str>,
        protocol: &str,
        port: i32,
    ) {
        let (Some(name), Ok(port)) = (name.filter(|name| !name.is_empty()), u16::try_from(port)) else {
            return;
        };
        let labels = format!("_{name}._{}", protocol.to_ascii_lowercase());
        self.add(
            plugin,
            below(owner, &labels),
            Some(Srv::new(0, 100, port, target.clone()).into()),
        );
    }

    /// Adds a record in the plugin's zones, and the names above it.
    fn add(&mut self, plugin: &Kubernetes, owner: Option<Name<Vec<u8>>>, data: Option<Data>) {
        let (Some(owner), Some(data)) = (owner, data) else {
            return;
        };
        let Some(origin) = origin(plugin, &owner) else { return };
        for ancestor in owner.iter_suffixes().take_while(|suffix| suffix.len() >= origin.len()) {
            self.nodes.entry(ancestor.to_name()).or_default();
        }
        self.nodes.entry(owner).or_default().insert(data);
    }

    /// The answer, or nothing when the next plugin is to be asked.
    pub(super) fn answer(&self, plugin: &Kubernetes, question: &Question) -> Option<Reply> {
        let origin = origin(plugin, &question.name)?;
        let mut reply = Reply {
            is_authoritative: true,
            ..Reply::of(Rcode::NOERROR)
        };
        let record = |owner: &Name<Vec<u8>>, data: Data| -> OwnedRecord {
            Record::new(owner.clone(), Class::IN, Ttl::from_secs(plugin.ttl), data)
        };
        let is_apex = question.name == *origin;
        let pod = pod_address(plugin, origin, &question.name);
        match self.nodes.get(&question.name) {
            Some(data) => {
                let wanted = data.iter().filter(|data| is_wanted(data, question.rtype));
                reply
                    .answer
                    .extend(wanted.map(|data| record(&question.name, data.clone())));
            }
            None if pod.is_some() => {
                let data = pod.map(address_data).filter(|data| is_wanted(data, question.rtype));
                reply.answer.extend(data.map(|data| record(&question.name, data)));
            }
            None if is_apex => {}
            None if plugin.fallthrough.iter().any(|zone| question.name.ends_with(zone)) => return None,
            None => reply.rcode = Rcode::NXDOMAIN,
        }
        if is_apex && question.rtype == Rtype::SOA {
            reply.answer.push(record(origin, soa(origin, plugin.ttl)));
        }
        for answer in &reply.answer {
            if let ZoneRecordData::Srv(srv) = answer.data() {
                let addresses = self.nodes.get(srv.target()).into_iter().flatten();
                let addresses = addresses.filter(|data| matches!(data, ZoneRecordData::A(_) | ZoneRecordData::Aaaa(_)));
                reply
                    .additional
                    .extend(addresses.map(|data| record(srv.target(), data.clone())));
            }
        }
        if reply.is_denial() {
            reply.authority.push(record(origin, soa(origin, plugin.ttl)));
        }
        Some(reply)
    }
}

/// The plugin's zone that a name is in: the longest.
fn origin<'a>(plugin: &'a Kubernetes, name: &Name<Vec<u8>>) -> Option<&'a Name<Vec<u8>>> {
    plugin
        .zones
        .iter()
        .filter(|zone| name.ends_with(zone))
        .max_by_key(|zone| zone.len())
}

fn is_reverse(zone: &Name<Vec<u8>>) -> bool {
    zone.iter().any(|label| label.as_slice().eq_ignore_ascii_case(b"arpa"))
}

fn below(origin: &Name<Vec<u8>>, labels: &str) -> Option<Name<Vec<u8>>> {
    let text = if origin.is_root() {
        labels.to_owned()
    } else {
        format!("{labels}.{origin}")
    };
    Name::vec_from_str(&text).ok()
}

/// `10-1-2-3.<namespace>.pod.<zone>`: the address is in the name, and nobody checks whether there is such a pod.
fn pod_address(plugin: &Kubernetes, origin: &Name<Vec<u8>>, name: &Name<Vec<u8>>) -> Option<IpAddr> {
    if !plugin.has_pod_names || name.label_count() != origin.label_count() + 3 {
        return None;
    }
    let labels: Vec<&[u8]> = name.iter().map(|label| label.as_slice()).collect();
    let [address, _, kind] = labels.first_chunk::<3>()?;
    let address = str::from_utf8(address)
        .ok()
        .filter(|_| kind.eq_ignore_ascii_case(b"pod"))?;
    let v4: Option<Ipv4Addr> = address.replace('-', ".").parse().ok();
    v4.map(IpAddr::V4).or_else(|| address.replace('-', ":").parse().ok())
}

fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

fn is_wanted(data: &Data, rtype: Rtype) -> bool {
    let own = domain::base::RecordData::rtype(data);
    own == rtype || own == Rtype::CNAME || rtype == Rtype::ANY
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint
        .conditions
        .as_ref()
        .and_then(|conditions| conditions.ready)
        .unwrap_or(true)
}

fn address_data(address: IpAddr) -> Data {
    match address {
        IpAddr::V4(address) => A::new(address).into(),
        IpAddr::V6(address) => Aaaa::new(address).into(),
    }
}

fn text(line: &str) -> Option<Data> {
    let mut octets = vec![u8::try_from(line.len()).ok()?];
    octets.extend_from_slice(line.as_bytes());
    Some(Txt::from_octets(octets).ok()?.into())
}

fn soa(origin: &Name<Vec<u8>>, ttl: u32) -> Data {
    let name = |label: &str| below(origin, label).unwrap_or_else(|| origin.clone());
    let (refresh, retry, expire) = (Ttl::from_secs(7200), Ttl::from_secs(1800), Ttl::from_secs(86_400));
    Soa::new(
        name("ns.dns"),
        name("hostmaster"),
        Serial(1),
        refresh,
        retry,
        expire,
        Ttl::from_secs(ttl),
    )
    .into()
}
