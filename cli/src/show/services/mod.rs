//! `show services`: a row for each export of each cluster, and for each wish that came to nothing; and what becomes of a connection from
//! here.

mod choice;

use jiff::Timestamp;
use k8s_api::ExportedService;
use k8s_api::mcs::{self, ServiceExport};
use serde::Serialize;

use crate::output::{Shown, Table};
use crate::show::Report;
use crate::show::figures;
use crate::show::world::{self, World};

pub(super) const EXAMPLES: &str = "\
Examples:
  tombolo show services
  tombolo show services -o wide       # also why

SHARE is this cluster's: what part of new connections from here each exporter would get.

Exit codes: 0 every export of this cluster is ready, 1 failed, 3 not every export is ready.";

/// The report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Services {
    cluster_id: String,
    services: Vec<Row>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    name: String,
    cluster_id: String,
    #[serde(rename = "type")]
    kind: String,
    ports: Vec<String>,
    ready_endpoints: u32,
    ips: Vec<String>,
    /// Of the import in this cluster.
    clusterset_ips: Vec<String>,
    /// Whether this cluster imports it.
    is_imported: bool,
    /// Percent of this cluster's new connections that this exporter would get.
    #[serde(skip_serializing_if = "Option::is_none")]
    share_percent: Option<u32>,
    why: String,
    dns_name: String,
    status: String,
    message: String,
    exported_at: String,
    #[serde(skip)]
    age: String,
}

/// Makes the report.
pub(super) fn report(world: &World, now: Timestamp) -> Services {
    let mut rows: Vec<Row> = world
        .exports
        .iter()
        .map(|export| row(world, export, now))
        .chain(world.wishes.iter().filter_map(|wish| unfulfilled(world, wish)))
        .collect();
    rows.sort_by(|a, b| (&a.namespace, &a.name, &a.cluster_id).cmp(&(&b.namespace, &b.name, &b.cluster_id)));
    Services {
        cluster_id: world.own.clone(),
        services: rows,
    }
}

fn row(world: &World, export: &ExportedService, now: Timestamp) -> Row {
    let spec = &export.spec;
    let wish = world.wishes.iter().find(|wish| {
        spec.cluster_id == world.own && world::full_name(*wish) == (spec.namespace.clone(), spec.name.clone())
    });
    let (status, message) = match wish {
        Some(wish) => state(wish),
        None if spec.ready_count == 0 => ("ready".to_owned(), "no endpoint is ready".to_owned()),
        None => ("ready".to_owned(), String::new()),
    };
    let import = world
        .imports
        .iter()
        .find(|import| world::full_name(*import) == (spec.namespace.clone(), spec.name.clone()));
    let same: Vec<&ExportedService> = world
        .exports
        .iter()
        .filter(|other| (&other.spec.namespace, &other.spec.name) == (&spec.namespace, &spec.name))
        .collect();
    let part = choice::part(world, import, &same, export);
    let exported: Option<Timestamp> = spec.exported_at.parse().ok();
    Row {
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        cluster_id: spec.cluster_id.clone(),
        kind: spec.kind.clone(),
        ports: spec
            .ports
            .iter()
            .map(|port| format!("{}/{}", port.port, port.protocol))
            .collect(),
        ready_endpoints: spec.ready_count,
        ips: spec.service_ips.clone(),
        clusterset_ips: import.and_then(|import| import.spec.ips.clone()).unwrap_or_default(),
        is_imported: import.is_some(),
        share_percent: part.share,
        why: part.why,
        dns_name: dns_name(&spec.name, &spec.namespace),
        status,
        message,
        age: exported
            .map(|then| figures::age(now.as_second() - then.as_second()))
            .unwrap_or_default(),
        exported_at: spec.exported_at.clone(),
    }
}

/// A ServiceExport of ours that the clusterset has not been told of.
fn unfulfilled(world: &World, wish: &ServiceExport) -> Option<Row> {
    let (namespace, name) = world::full_name(wish);
    let is_told = world.exports.iter().any(|export| {
        export.spec.cluster_id == world.own && (&export.spec.namespace, &export.spec.name) == (&namespace, &name)
    });
    if is_told {
        return None;
    }
    let (status, message) = state(wish);
    Some(Row {
        dns_name: dns_name(&name, &namespace),
        namespace,
        name,
        cluster_id: world.own.clone(),
        status: if status == "ready" {
            "pending".to_owned()
        } else {
            status
        },
        message,
        ..Row::default()
    })
}

fn state(wish: &ServiceExport) -> (String, String) {
    let conditions = wish
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let find = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let text = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| format!("{}: {}", c.reason, c.message);
    match (find(mcs::VALID), find(mcs::EXPORT_READY), find(mcs::CONFLICT)) {
        (Some(valid), ..) if valid.status == "False" => ("error".to_owned(), text(valid)),
        (.., Some(conflict)) if conflict.status == "True" => ("degraded".to_owned(), text(conflict)),
        (_, Some(ready), _) if ready.status == "True" => ("ready".to_owned(), String::new()),
        (_, Some(ready), _) => ("pending".to_owned(), text(ready)),
        _ => ("pending".to_owned(), "no gateway agent has looked at it yet".to_owned()),
    }
}

fn dns_name(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.{}", model::names::CLUSTERSET_ZONE)
}

impl Shown for Services {
    fn table(&self, wide: bool) -> Table {
        let mut columns = vec![
            "NAMESPACE",
            "NAME",
            "CLUSTER",
            "TYPE",
            "PORTS",
            "ENDPOINTS",
            "CLUSTERSET IP",
            "SHARE",
            "STATUS",
            "AGE",
            "MESSAGE",
        ];
        if wide {
            columns.extend(["WHY", "IPS", "DNS NAME"]);
        }
        let mut table = Table::new(&columns);
        for row in &self.services {
            let mut cells = vec![
                row.namespace.clone(),
                row.name.clone(),
                row.cluster_id.clone(),
                row.kind.clone(),
                row.ports.join(","),
                row.ready_endpoints.to_string(),
                row.clusterset_ips.join(","),
                row.share_percent.map(|share| format!("{share}%")).unwrap_or_default(),
                row.status.clone(),
                row.age.clone(),
                row.message.clone(),
            ];
            if wide {
                cells.extend([row.why.clone(), row.ips.join(","), row.dns_name.clone()]);
            }
            table.row(cells);
        }
        table
    }
}

impl Report for Services {
    fn trouble(&self) -> Option<String> {
        let bad: Vec<String> = self
            .services
            .iter()
            .filter(|row| row.cluster_id == self.cluster_id && row.status != "ready")
            .map(|row| format!("{}/{}: {}", row.namespace, row.name, row.status))
            .collect();
        (!bad.is_empty()).then(|| format!("not every export is ready: {}", bad.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_api::mcs::ServiceImport;
    use serde_json::{Value, json};

    fn export(cluster: &str) -> ExportedService {
        serde_json::from_value(json!({
            "apiVersion": "tombolo.dev/v1alpha1", "kind": "ExportedService", "metadata": { "name": "x" },
            "spec": { "clusterId": cluster, "namespace": "shop", "name": "cart", "type": "ClusterSetIP", "readyCount": 2,
                "ports": [{ "name": "web", "protocol": "TCP", "port": 80 }], "exportedAt": "2026-01-01T00:00:00Z" },
        }))
        .unwrap()
    }

    fn import() -> ServiceImport {
        serde_json::from_value(json!({
            "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceImport",
            "metadata": { "name": "cart", "namespace": "shop" },
            "spec": { "type": "ClusterSetIP", "ports": [], "ips": ["244.174.0.9"] },
        }))
        .unwrap()
    }

    fn wish(name: &str, conditions: &Value) -> ServiceExport {
        serde_json::from_value(json!({
            "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
            "metadata": { "name": name, "namespace": "shop" }, "spec": {}, "status": { "conditions": conditions },
        }))
        .unwrap()
    }

    #[test]
    fn exports_and_failed_wishes_are_rows() {
        let invalid = json!([{ "type": "Valid", "status": "False", "reason": "NoService", "message": "there is no Service shop/nope",
            "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
        let world = World {
            own: "east".into(),
            exports: vec![export("west"), export("east")],
            wishes: vec![wish("nope", &invalid)],
            imports: vec![import()],
            ..World::default()
        };
        let report = report(&world, "2026-01-01T00:01:00Z".parse().unwrap());
        assert_eq!(
            report.table(false).render(false),
            "\
NAMESPACE  NAME  CLUSTER  TYPE          PORTS   ENDPOINTS  CLUSTERSET IP  SHARE  STATUS  AGE  MESSAGE
shop       cart  east     ClusterSetIP  80/TCP  2          244.174.0.9    100%   ready   60s  -
shop       cart  west     ClusterSetIP  80/TCP  2          244.174.0.9    0%     ready   60s  -
shop       nope  east     -             -       0          -              -      error   -    NoService: there is no Service shop/nope
"
        );
        assert_eq!(report.trouble().unwrap(), "not every export is ready: shop/nope: error");
    }
}
