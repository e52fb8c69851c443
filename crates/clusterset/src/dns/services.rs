//! SRV records: which name has which ports.

use model::{ExportedPort, ExportedService, Protocol};

use super::host_label;
use super::view::{ServiceAddress, ZoneView};

/// The ports of a service with an IP, at its name and at the names of its named ports.
pub(super) fn insert(view: &mut ZoneView, name: &str, ports: &[ExportedPort]) {
    insert_bare(view, name, ports);
    for port in ports.iter().filter(|port| !port.name.is_empty()) {
        view.insert_service(&port_name(port, name), at(port.port, name));
    }
}

/// The ports of a service with an IP, at its name alone.
pub(super) fn insert_bare(view: &mut ZoneView, name: &str, ports: &[ExportedPort]) {
    for port in ports {
        view.insert_service(name, at(port.port, name));
    }
}

/// The ports of every endpoint of a headless service, whose names are below `cluster`.
pub(super) fn insert_endpoints(
    view: &mut ZoneView,
    name: &str,
    cluster: &str,
    export: &ExportedService,
    with_port_names: bool,
) {
    for endpoint in &export.endpoints {
        let target = format!("{}.{cluster}", host_label(endpoint));
        for port in &export.ports {
            // What the endpoint listens on, which need not be the number that the service gives it.
            let listens = endpoint.ports.iter().find(|(name, _)| *name == port.name);
            let address = at(listens.map_or(port.port, |(_, number)| *number), &target);
            if with_port_names && !port.name.is_empty() {
                view.insert_service(&port_name(port, name), address.clone());
            }
            view.insert_service(name, address);
        }
    }
}

/// All ports of these exports, oldest first: of two with one name, or one protocol and number, the older counts.
pub(super) fn union(exports: &[&ExportedService]) -> Vec<ExportedPort> {
    let mut ports: Vec<ExportedPort> = Vec::new();
    for port in exports.iter().flat_map(|export| &export.ports) {
        let clashes = |known: &ExportedPort| {
            known.name == port.name || (known.protocol, known.port) == (port.protocol, port.port)
        };
        if !ports.iter().any(clashes) {
            ports.push(port.clone());
        }
    }
    ports
}

fn at(port: u16, target: &str) -> ServiceAddress {
    ServiceAddress {
        port,
        target: target.to_owned(),
    }
}

fn port_name(port: &ExportedPort, name: &str) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    format!("_{}._{protocol}.{name}", port.name.to_ascii_lowercase())
}
