//! Writes the table as nft text: pure.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::backends::{Backend, Backends, Frontend};

/// A batch that replaces the whole table.
pub(super) fn table(backends: &Backends, pod_prefixes: &[IpNet]) -> String {
    let mut text = removal();
    write_table(&mut text, backends, pod_prefixes).expect("writing to a String cannot fail");
    text
}

/// A batch that removes the table, whether or not it is there.
pub(super) fn removal() -> String {
    format!("table inet {TABLE} {{\n}}\ndelete table inet {TABLE}\n")
}

fn write_table(text: &mut String, backends: &Backends, pod_prefixes: &[IpNet]) -> fmt::Result {
    writeln!(text, "table inet {TABLE} {{")?;
    for family in Family::ALL {
        write_sets(text, family, backends)?;
    }
    for (frontend, backend) in backends.iter().filter(|(_, backend)| !backend.endpoints.is_empty()) {
        write_service(text, frontend, backend, pod_prefixes)?;
    }
    text.write_str(FIXED_CHAINS)?;
    writeln!(text, "}}")
}

fn write_sets(text: &mut String, family: Family, backends: &Backends) -> fmt::Result {
    let own = || {
        backends
            .iter()
            .filter(|(frontend, _)| Family::of(frontend.address) == family)
    };
    let (suffix, kind) = (family.suffix(), family.set_type());

    writeln!(text, "\tset cluster-ips-{suffix} {{\n\t\ttype {kind}")?;
    let addresses: BTreeSet<IpAddr> = own().map(|(frontend, _)| frontend.address).collect();
    write_elements(text, addresses.iter().map(IpAddr::to_string))?;
    writeln!(text, "\t}}")?;

    writeln!(
        text,
        "\tmap services-{suffix} {{\n\t\ttype {kind} . inet_proto . inet_service : verdict"
    )?;
    let served = own().filter(|(_, backend)| !backend.endpoints.is_empty());
    write_elements(
        text,
        served.map(|(frontend, backend)| {
            let Frontend {
                address,
                protocol,
                port,
            } = frontend;
            format!("{address} . {protocol} . {port} : goto {}", chain(frontend, backend))
        }),
    )?;
    writeln!(text, "\t}}")
}

/// nft has no empty element list.
fn write_elements(text: &mut String, elements: impl Iterator<Item = String>) -> fmt::Result {
    let elements: Vec<String> = elements.collect();
    if elements.is_empty() {
        return Ok(());
    }
    writeln!(text, "\t\telements = {{\n\t\t\t{}\n\t\t}}", elements.join(",\n\t\t\t"))
}

fn write_service(text: &mut String, frontend: &Frontend, backend: &Backend, pod_prefixes: &[IpNet]) -> fmt::Result {
    let family = Family::of(frontend.address);
    let ip = family.keyword();
    let chain = chain(frontend, backend);
    let inside: Vec<String> = pod_prefixes
        .iter()
        .filter(|prefix| Family::of(prefix.addr()) == family)
        .map(IpNet::to_string)
        .collect();

    for endpoint in &backend.endpoints {
        writeln!(text, "\tchain {} {{", endpoint_chain(&chain, endpoint))?;
        writeln!(text, "\t\t{ip} saddr {} jump mark-for-masquerade", endpoint.ip())?;
        writeln!(
            text,
            "\t\tmeta l4proto {} dnat {ip} to {endpoint}\n\t}}",
            frontend.protocol
        )?;
    }
    writeln!(text, "\tchain {chain} {{")?;
    if !inside.is_empty() {
        writeln!(
            text,
            "\t\t{ip} saddr != {{ {} }} jump mark-for-masquerade",
            inside.join(", ")
        )?;
    }
    let targets = backend.endpoints.iter().enumerate();
    let targets: Vec<String> = targets
        .map(|(number, endpoint)| format!("{number} : goto {}", endpoint_chain(&chain, endpoint)))
        .collect();
    let choice = if backend.has_affinity {
        format!("jhash {ip} saddr")
    } else {
        "numgen random".to_owned()
    };
    writeln!(
        text,
        "\t\t{choice} mod {} vmap {{ {} }}\n\t}}",
        targets.len(),
        targets.join(", ")
    )
}

fn chain(frontend: &Frontend, backend: &Backend) -> String {
    let suffix = Family::of(frontend.address).suffix();
    format!(
        "service/{}/{}/{}/{suffix}",
        backend.service, frontend.protocol, frontend.port
    )
}

fn endpoint_chain(service: &str, endpoint: &SocketAddr) -> String {
    // A chain's name has no colon.
    let address = endpoint.ip().to_string().replace(':', "_");
    format!("{service}/{address}/{}", endpoint.port())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const ALL: [Self; 2] = [Self::V4, Self::V6];

    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    fn keyword(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    fn set_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }
}

/// The name of the only table that the proxy touches.
const TABLE: &str = "lab-proxy";

/// What does not depend on any Service. A packet that still carries a cluster IP when it is forwarded or sent has found no
/// endpoint. The mark is kube-proxy's.
const FIXED_CHAINS: &str = "\
\tchain services {
\t\tip daddr . meta l4proto . th dport vmap @services-v4
\t\tip6 daddr . meta l4proto . th dport vmap @services-v6
\t}
\tchain mark-for-masquerade {
\t\tmeta mark set meta mark or 0x4000
\t}
\tchain reject-untranslated {
\t\tip daddr @cluster-ips-v4 reject
\t\tip6 daddr @cluster-ips-v6 reject
\t}
\tchain nat-prerouting {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tgoto services
\t}
\tchain nat-output {
\t\ttype nat hook output priority -100; policy accept;
\t\tgoto services
\t}
\tchain nat-postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\tmeta mark and 0x4000 == 0 return
\t\tmeta mark set meta mark xor 0x4000
\t\tmasquerade fully-random
\t}
\tchain filter-forward {
\t\ttype filter hook forward priority filter; policy accept;
\t\tct state invalid drop
\t\tct state new goto reject-untranslated
\t}
\tchain filter-output {
\t\ttype filter hook output priority filter; policy accept;
\t\tct state new goto reject-untranslated
\t}
";
