use model::ExportedPort;

use crate::exports::Export;

/// The ports of all exporters, oldest first: one joins unless its name or its (protocol, number) is taken.
pub(super) fn union(exporters: &[&Export]) -> Vec<ExportedPort> {
    let mut union: Vec<ExportedPort> = Vec::new();
    for port in exporters.iter().flat_map(|export| sorted(export)) {
        let is_taken = |other: &ExportedPort| other.name == port.name || is_same_number(other, &port);
        if !union.iter().any(is_taken) {
            union.push(port);
        }
    }
    union.sort();
    union
}

/// Whether both are reached by the same protocol and number.
pub(super) fn is_same_number(a: &ExportedPort, b: &ExportedPort) -> bool {
    (a.protocol, a.port) == (b.protocol, b.port)
}

/// The ports of one export in an order that does not depend on how they were listed.
pub(super) fn sorted(export: &Export) -> Vec<ExportedPort> {
    let mut ports = export.service.ports.clone();
    ports.sort();
    ports.dedup();
    ports
}
