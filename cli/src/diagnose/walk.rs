//! The way from export to clusterset IP, judged from what was read: pure.

use std::collections::BTreeSet;

use k8s_api::condition;
use k8s_api::mcs;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use super::facts::Facts;
use crate::show::world::{self, full_name};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) mend: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Outcome {
    Good,
    /// Worth knowing; the service may be reached all the same.
    Warning,
    /// It could not be tried from here.
    Skipped,
    /// This is why it cannot be reached.
    Bad,
}

impl Step {
    pub(super) fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self::of(name, Outcome::Good, detail, "")
    }

    pub(super) fn warning(name: &'static str, detail: impl Into<String>) -> Self {
        Self::of(name, Outcome::Warning, detail, "")
    }

    pub(super) fn skipped(name: &'static str, detail: impl Into<String>) -> Self {
        Self::of(name, Outcome::Skipped, detail, "")
    }

    pub(super) fn bad(name: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::of(name, Outcome::Bad, detail, mend)
    }

    fn of(name: &'static str, outcome: Outcome, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            name,
            outcome,
            detail: detail.into(),
            mend: mend.into(),
        }
    }
}

/// The step at which it fails, if it does.
pub(super) fn failure(steps: &[Step]) -> Option<&Step> {
    steps.iter().find(|step| step.outcome == Outcome::Bad)
}

/// Goes from step to step; nothing after the first bad one.
pub(super) fn walk(facts: &Facts) -> Vec<Step> {
    let steps: [fn(&Facts) -> Step; 8] = [
        export,
        endpoints,
        broker,
        cables,
        namespace,
        import,
        slices,
        translation,
    ];
    let mut walked = Vec::new();
    for step in steps {
        walked.push(step(facts));
        if failure(&walked).is_some() {
            break;
        }
    }
    walked
}

fn export(facts: &Facts) -> Step {
    let (namespace, name) = (&facts.namespace, &facts.name);
    let exporters: Vec<&str> = facts.exports().map(|export| export.spec.cluster_id.as_str()).collect();
    let wish = facts
        .world
        .wishes
        .iter()
        .find(|wish| full_name(*wish) == (namespace.clone(), name.clone()));
    let conditions = wish
        .and_then(|wish| wish.status.as_ref())
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    if exporters.is_empty() {
        let mend = format!("In the cluster that has it: tombolo export service {name} -n {namespace}");
        let here = find(conditions, mcs::VALID)
            .into_iter()
            .chain(find(conditions, mcs::EXPORT_READY));
        return match (
            here.into_iter().find(|condition| condition.status == "False"),
            &facts.from,
        ) {
            (Some(condition), None) => Step::bad(
                "export",
                format!("it is exported here, and not taken: {}", said(condition)),
                "Mend that first",
            ),
            (_, Some(from)) => Step::bad("export", format!("{from} does not export {namespace}/{name}"), mend),
            (None, None) => Step::bad("export", format!("no cluster exports {namespace}/{name}"), mend),
        };
    }
    let exporters = format!("by {}", exporters.join(", "));
    match find(conditions, mcs::CONFLICT) {
        Some(conflict) if conflict.status == "True" => Step::warning(
            "export",
            format!("{exporters}; the exporters disagree: {}", conflict.message),
        ),
        _ => Step::good("export", exporters),
    }
}

fn endpoints(facts: &Facts) -> Step {
    let counts: Vec<(&str, u32)> = facts
        .exports()
        .map(|export| (export.spec.cluster_id.as_str(), export.spec.ready_count))
        .collect();
    let detail = counts
        .iter()
        .map(|(cluster, count)| format!("{count} ready in {cluster}"))
        .collect::<Vec<_>>()
        .join(", ");
    if counts.iter().all(|(_, count)| *count == 0) {
        let mend = format!(
            "Look there: kubectl -n {} get endpointslices -l kubernetes.io/service-name={}",
            facts.namespace, facts.name
        );
        return Step::bad("endpoints", format!("no pod behind it is ready: {detail}"), mend);
    }
    Step::good("endpoints", detail)
}

fn broker(facts: &Facts) -> Step {
    let gateways = facts.world.own_gateways();
    let synced = gateways.iter().filter_map(|gateway| {
        let conditions = &gateway.status.as_ref()?.conditions;
        find(conditions, condition::SYNCED).map(|condition| (gateway.spec.node.as_str(), condition))
    });
    let all: Vec<_> = synced.collect();
    if let Some((node, _)) = all.iter().find(|(_, condition)| condition.status == "True") {
        return Step::good("broker", format!("{node} is in step with it"));
    }
    match all.first() {
        // The last good state stays in force, so this alone breaks nothing that is there.
        Some((_, condition)) => Step::warning("broker", format!("what is known may be old: {}", said(condition))),
        None => Step::bad(
            "broker",
            "no gateway agent of this cluster reports",
            "Look at the pods: kubectl -n tombolo-system get pods",
        ),
    }
}

fn cables(facts: &Facts) -> Step {
    let own = &facts.world.own;
    let remote: BTreeSet<&str> = facts
        .exports()
        .filter(|export| export.spec.ready_count > 0)
        .map(|export| export.spec.cluster_id.as_str())
        .filter(|cluster| cluster != own)
        .collect();
    let is_here = facts
        .exports()
        .any(|export| export.spec.cluster_id == *own && export.spec.ready_count > 0);
    let (mut live, mut dead) = (Vec::new(), Vec::new());
    for cluster in remote {
        let gateways = facts.world.own_gateways();
        let mut cables = gateways
            .into_iter()
            .flat_map(|gateway| facts.world.cables(gateway))
            .filter(|cable| cable.connection.cluster_id == cluster)
            .peekable();
        let first = cables
            .peek()
            .map(world::Cable::message)
            .unwrap_or_else(|| "no gateway here has a cable to it".to_owned());
        if cables.any(|cable| cable.state() == "connected") {
            live.push(cluster);
        } else {
            dead.push(format!("{cluster}: {first}"));
        }
    }
    match (live.is_empty() && !is_here, dead.is_empty()) {
        (true, false) => Step::bad(
            "cables",
            format!("no cable to an exporter works: {}", dead.join("; ")),
            "See `tombolo show connections`",
        ),
        (_, false) => Step::warning("cables", format!("out of reach: {}", dead.join("; "))),
        (_, true) if live.is_empty() => Step::good("cables", "not needed: it is exported here"),
        (_, true) => Step::good("cables", format!("to {}", live.join(", "))),
    }
}

fn namespace(facts: &Facts) -> Step {
    let namespace = &facts.namespace;
    if facts.has_namespace {
        return Step::good("namespace", format!("{namespace} exists here"));
    }
    let detail = format!(
        "there is no namespace {namespace} in {}, and a service is imported into the namespace of its name",
        facts.world.own
    );
    Step::bad("namespace", detail, format!("kubectl create namespace {namespace}"))
}

fn import(facts: &Facts) -> Step {
    let Some(import) = &facts.import else {
        return Step::bad(
            "import",
            "there is no ServiceImport yet",
            "Look at the sync leader: tombolo show gateways",
        );
    };
    let ports: Vec<String> = import
        .spec
        .ports
        .iter()
        .map(|port| format!("{}/{}", port.port, port.protocol.as_deref().unwrap_or("TCP")))
        .collect();
    Step::good("import", format!("{:?}, ports {}", import.spec.type_, ports.join(", ")))
}

fn slices(facts: &Facts) -> Step {
    let endpoints = facts.slices.iter().map(|slice| slice.endpoints.len()).sum::<usize>();
    if endpoints == 0 {
        return Step::bad(
            "slices",
            "no EndpointSlice of the import has an endpoint",
            "Look at the sync leader: tombolo show gateways",
        );
    }
    Step::good("slices", format!("endpoints in EndpointSlices: {endpoints}"))
}

fn translation(facts: &Facts) -> Step {
    let ips = facts
        .import
        .as_ref()
        .and_then(|import| import.spec.ips.clone())
        .unwrap_or_default();
    if ips.is_empty() {
        return Step::good("clusterset IP", "none: the name stands for exporters' own addresses");
    }
    let silent: Vec<&str> = facts
        .route_agents
        .iter()
        .filter(|agent| {
            let conditions = agent
                .status
                .as_ref()
                .map(|status| status.conditions.as_slice())
                .unwrap_or_default();
            conditions
                .iter()
                .any(|condition| condition.type_ == NOT_TRANSLATED && condition.status == "True")
        })
        .map(|agent| agent.spec.node.as_str())
        .collect();
    if silent.is_empty() {
        return Step::good("clusterset IP", ips.join(", "));
    }
    Step::warning(
        "clusterset IP",
        format!(
            "{} is not translated on {}; the name stands for exporters' own addresses there",
            ips.join(", "),
            silent.join(", ")
        ),
    )
}

fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn said(condition: &Condition) -> String {
    format!("{}: {}", condition.reason, condition.message)
}

/// RouteAgent: clusterset IPs do not work on this node.
const NOT_TRANSLATED: &str = "VipNotTranslated";
