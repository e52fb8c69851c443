//! The tables of built-in kinds, one file a subject. Every served kind has version `v1`.

use super::{Kind, Origin, Registry, Traits, columns, rules::Rules, scale::Scale, selectable};
use crate::{schema::builtin::Builtin, store::Resource};

mod access;
mod admission;
mod apps;
mod core;
mod extension;
mod network;
mod policy;

struct Row {
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    definition: &'static str,
    traits: Traits,
    rules: &'static dyn Rules,
}

const PLAIN: Traits = Traits {
    status: false,
    generation: false,
    needs_version: false,
    create_on_update: false,
    returns_deleted: false,
    no_delete_collection: false,
    review: false,
    scale: false,
};
const STATUS: Traits = Traits { status: true, ..PLAIN };
const WORKLOAD: Traits = Traits {
    status: true,
    generation: true,
    ..PLAIN
};
const SCALED: Traits = Traits {
    scale: true,
    ..WORKLOAD
};
const REVIEW: Traits = Traits { review: true, ..PLAIN };

#[expect(clippy::too_many_arguments, reason = "one argument a column of the table")]
const fn row(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    definition: &'static str,
    traits: Traits,
    rules: &'static dyn Rules,
) -> Row {
    Row {
        group,
        plural,
        kind,
        short,
        namespaced,
        definition,
        traits,
        rules,
    }
}

/// The registry without any custom kind, and the schemas that custom ones build on.
pub(crate) fn registry() -> (Registry, Builtin) {
    let tables = [
        core::ROWS,
        apps::ROWS,
        network::ROWS,
        policy::ROWS,
        access::ROWS,
        extension::ROWS,
        admission::ROWS,
    ];
    let rows = || tables.iter().copied().flatten();
    let definitions: Vec<&str> = rows().map(|row| row.definition).collect();
    let builtin = Builtin::load(&definitions);
    let mut registry = Registry::default();
    for row in rows() {
        registry.insert(Kind {
            resource: Resource::new(row.group, row.plural),
            version: "v1".into(),
            kind: row.kind.into(),
            list_kind: format!("{}List", row.kind),
            singular: row.kind.to_lowercase(),
            short_names: row.short.iter().map(|name| (*name).to_owned()).collect(),
            categories: category(row).into_iter().map(str::to_owned).collect(),
            namespaced: row.namespaced,
            schema: builtin.schema(row.definition),
            columns: columns::builtin(row.group, row.plural),
            selectable: selectable::of(row.group, row.plural)
                .iter()
                .map(|field| (*field).to_owned())
                .collect(),
            traits: row.traits,
            scale: row.traits.scale.then(Scale::of_pods),
            rules: row.rules,
            storage_version: "v1".into(),
            deprecation: deprecation(row.kind),
            origin: Origin::Builtin {
                definition: row.definition,
            },
        });
    }
    (registry, builtin)
}

/// The name under which a kind is listed together with others: `kubectl get all`.
fn category(row: &Row) -> Option<&'static str> {
    match (row.group, row.plural) {
        ("", "pods" | "services") | ("apps", "daemonsets" | "deployments" | "replicasets" | "statefulsets") => {
            Some("all")
        }
        ("apiextensions.k8s.io" | "apiregistration.k8s.io" | "admissionregistration.k8s.io", _) => {
            Some("api-extensions")
        }
        _ => None,
    }
}

/// What clients of a built-in kind are warned of.
fn deprecation(kind: &str) -> Option<String> {
    (kind == "Endpoints")
        .then(|| "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned())
}
