//! The kinds that are served: built-in ones from a table, custom ones from CustomResourceDefinitions.
//!
//! A [`Kind`] is one version of a resource with everything that the generic code needs to know about it. What the schema
//! cannot say stands in [`rules`], one file a kind.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use crate::{admission::Policies, schema::Schema, store::Resource};

pub(crate) mod builtin;
pub(crate) mod columns;
pub(crate) mod custom;
pub(crate) mod names;
pub(crate) mod rules;
pub(crate) mod scale;
mod selectable;

use columns::Column;
use rules::Rules;
use scale::Scale;

/// One served version of a resource.
#[derive(Debug)]
pub(crate) struct Kind {
    pub resource: Resource,
    pub version: String,
    pub kind: String,
    pub list_kind: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub schema: Arc<Schema>,
    pub columns: Vec<Column>,
    /// Fields that field selectors may name, beside name and namespace.
    pub selectable: Vec<String>,
    pub traits: Traits,
    /// Has a `scale` subresource.
    pub scale: Option<Scale>,
    pub rules: &'static dyn Rules,
    /// The version that objects are stored in.
    pub storage_version: String,
    /// What clients of this version are warned of.
    pub deprecation: Option<String>,
    pub origin: Origin,
}

/// Where a kind comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Compiled in; the name of its definition in OpenAPI.
    Builtin { definition: &'static str },
    /// The name of the CustomResourceDefinition.
    Custom { crd: String },
}

/// How the generic code treats a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Has a `status` subresource.
    pub status: bool,
    /// `metadata.generation` counts changes of everything but metadata and status.
    pub generation: bool,
    /// PUT needs a resourceVersion.
    pub needs_version: bool,
    /// PUT of a missing object creates it.
    pub create_on_update: bool,
    /// DELETE answers with the object.
    pub returns_deleted: bool,
    /// No `deletecollection`.
    pub no_delete_collection: bool,
    /// Only `create`, and nothing is stored.
    pub review: bool,
    /// A number of pods that the `scale` subresource shows and sets.
    pub scale: bool,
}

impl Kind {
    pub(crate) fn group(&self) -> &str {
        &self.resource.group
    }

    /// The resource under which the objects are kept: that of the kind, but for a second view of another one's.
    pub(crate) fn storage(&self) -> Resource {
        self.rules.storage().unwrap_or_else(|| self.resource.clone())
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group().is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group(), self.version)
        }
    }

    pub(crate) fn is_custom(&self) -> bool {
        matches!(self.origin, Origin::Custom { .. })
    }

    /// Tells clients that move stored objects to another version whether there is something to move.
    pub(crate) fn storage_version_hash(&self) -> String {
        let stored = format!("{}/{}/{}", self.group(), self.storage_version, self.kind);
        BASE64_STANDARD.encode(&Sha256::digest(stored)[..8])
    }

    /// The verbs on the resource itself, as discovery lists them.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        match self.traits {
            Traits { review: true, .. } => &["create"],
            Traits {
                no_delete_collection: true,
                ..
            } => &["create", "delete", "get", "list", "patch", "update", "watch"],
            // The API lists the same verbs in another order here, and some clients show them as they come.
            _ if self.is_custom() => &[
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "create",
                "update",
                "watch",
            ],
            _ => &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
        }
    }

    /// (name, kind of the body, group and version of that kind, verbs) of each subresource.
    pub(crate) fn subresources(&self) -> Vec<Subresource> {
        let mut all = Vec::new();
        let mut add = |name, group: &str, version: &str, kind: &str, verbs| {
            let (group, version, kind) = (group.to_owned(), version.to_owned(), kind.to_owned());
            all.push(Subresource {
                name,
                group,
                version,
                kind,
                verbs,
            });
        };
        match (self.group(), &*self.resource.plural) {
            ("", "pods") => {
                add("binding", "", "v1", "Binding", &["create"][..]);
                add("eviction", "policy", "v1", "Eviction", &["create"]);
            }
            ("", "namespaces") => add("finalize", "", "v1", "Namespace", &["update"]),
            ("", "serviceaccounts") => add("token", "authentication.k8s.io", "v1", "TokenRequest", &["create"]),
            _ => {}
        }
        if self.traits.status {
            add(
                "status",
                self.group(),
                &self.version,
                &self.kind,
                &["get", "patch", "update"],
            );
        }
        if self.scale.is_some() {
            add("scale", "autoscaling", "v1", "Scale", &["get", "patch", "update"]);
        }
        if !self.is_custom() {
            all.sort_by_key(|one| one.name);
        }
        all
    }
}

/// A subresource, as discovery describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subresource {
    pub name: &'static str,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: &'static [&'static str],
}

/// All served kinds by group, version and plural.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    kinds: BTreeMap<(String, String, String), Arc<Kind>>,
    /// What writes must pass besides the rules of their kind.
    pub policies: Policies,
}

impl Registry {
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// Any version of a resource.
    pub(crate) fn of_resource(&self, resource: &Resource) -> Option<&Arc<Kind>> {
        self.kinds.values().find(|kind| kind.resource == *resource)
    }

    /// The kind that an object calls itself.
    pub(crate) fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let mut all = self.kinds.values();
        all.find(|known| known.group() == group && known.version == version && known.kind == kind)
    }

    pub(crate) fn insert(&mut self, kind: Kind) {
        let id = (
            kind.group().to_owned(),
            kind.version.clone(),
            kind.resource.plural.to_string(),
        );
        self.kinds.insert(id, Arc::new(kind));
    }

    /// Replaces whatever one CustomResourceDefinition contributed.
    pub(crate) fn replace_custom(&mut self, crd: &str, kinds: Vec<Kind>) {
        self.kinds
            .retain(|_, kind| !matches!(&kind.origin, Origin::Custom { crd: theirs } if theirs == crd));
        kinds.into_iter().for_each(|kind| self.insert(kind));
    }

    /// The groups with their versions, the preferred version first: the built-in groups in their order, then the others by name. The
    /// core group is the empty name. Clients that find a kind in several groups take the first.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for kind in self.kinds.values() {
            let versions = groups.entry(kind.group().to_owned()).or_default();
            if !versions.contains(&kind.version) {
                versions.push(kind.version.clone());
            }
        }
        for versions in groups.values_mut() {
            versions.sort_by_cached_key(|version| std::cmp::Reverse(names::version_priority(version)));
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(group, _)| names::group_rank(group));
        groups
    }

    /// The kinds of one group and version.
    pub(crate) fn of_version<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<Kind>> {
        self.kinds
            .values()
            .filter(move |kind| kind.group() == group && kind.version == version)
    }
}
