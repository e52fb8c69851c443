//! Kinds from CustomResourceDefinitions.

use std::sync::Arc;

use serde_json::Value;

use super::{Kind, Origin, Traits, columns, names::version_priority, rules, scale::Scale};
use crate::{
    cel,
    field::FieldError,
    object::{Object as _, list_at, strings_at, text_at},
    schema::{
        Schema,
        compile::{CompileError, Compiler, as_object},
    },
    store::Resource,
};

/// The served versions of a definition, under the names that it was given; none before it is established.
pub(crate) fn kinds(crd: &Value, metadata: &Arc<Schema>) -> Result<Vec<Kind>, CompileError> {
    if rules::condition_status(crd, rules::ESTABLISHED) != Some("True") {
        return Ok(Vec::new());
    }
    let versions = list_at(crd, &["spec", "versions"]).iter().enumerate();
    let served = versions.filter(|(_, version)| version["served"] == true);
    served.map(|(n, version)| kind(crd, version, n, metadata)).collect()
}

fn kind(crd: &Value, version: &Value, n: usize, metadata: &Arc<Schema>) -> Result<Kind, CompileError> {
    let name = |field: &str| text_at(crd, &["status", "acceptedNames", field]).to_owned();
    let names = |field: &str| {
        strings_at(crd, &["status", "acceptedNames", field])
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    let (group, kind) = (text_at(crd, &["spec", "group"]), name("kind"));
    let version_name = text_at(version, &["name"]);
    let deprecation = (version["deprecated"] == true).then(|| match text_at(version, &["deprecationWarning"]) {
        "" => deprecation(crd, group, version_name, &kind),
        written => written.to_owned(),
    });
    Ok(Kind {
        resource: Resource::new(group, &name("plural")),
        version: version_name.to_owned(),
        list_kind: name("listKind"),
        singular: name("singular"),
        short_names: names("shortNames"),
        categories: names("categories"),
        namespaced: text_at(crd, &["spec", "scope"]) == "Namespaced",
        schema: Arc::new(schema(version, n, metadata)?),
        columns: columns::custom(version),
        selectable: list_at(version, &["selectableFields"])
            .iter()
            .map(|field| text_at(field, &["jsonPath"]).trim_start_matches('.').to_owned())
            .collect(),
        traits: Traits {
            status: version.get("subresources").and_then(|all| all.get("status")).is_some(),
            generation: true,
            needs_version: true,
            ..Traits::default()
        },
        scale: Scale::read(version),
        rules: &rules::Plain,
        storage_version: list_at(crd, &["spec", "versions"])
            .iter()
            .find(|version| version["storage"] == true)
            .map_or_else(String::new, |version| text_at(version, &["name"]).to_owned()),
        deprecation,
        origin: Origin::Custom {
            crd: crd.name().to_owned(),
        },
        kind,
    })
}

/// What clients of a deprecated version are told: which version to use instead, if a newer one is not deprecated.
fn deprecation(crd: &Value, group: &str, version: &str, kind: &str) -> String {
    let better = list_at(crd, &["spec", "versions"])
        .iter()
        .filter(|other| other["served"] == true && other["deprecated"] != true)
        .map(|other| text_at(other, &["name"]))
        .filter(|other| version_priority(other) > version_priority(version))
        .max_by_key(|other| version_priority(other));
    let instead = better.map_or_else(String::new, |better| format!("; use {group}/{better} {kind}"));
    format!("{group}/{version} {kind} is deprecated{instead}")
}

/// The schema of one version, with the fields that every object has.
pub(crate) fn schema(version: &Value, n: usize, metadata: &Arc<Schema>) -> Result<Schema, CompileError> {
    // A stored definition has been checked; a rule that this version no longer understands is not worth the whole kind.
    schema_and_rules(version, n).map(|(schema, _)| as_object(schema, metadata))
}

/// The schema of one version as it is written, and what is wrong with its rules.
pub(crate) fn schema_and_rules(version: &Value, n: usize) -> Result<(Schema, Vec<FieldError>), CompileError> {
    let path = format!("spec.versions[{n}].schema.openAPIV3Schema");
    let source = &version["schema"]["openAPIV3Schema"];
    let mut schema = Compiler::structural().compile(source, &path)?;
    let wrong = cel::rules::attach(&mut schema, source, &path);
    Ok((schema, wrong))
}
