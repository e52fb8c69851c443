//! The clusterset zone in cluster DNS, whichever there is: finds the objects that say what cluster DNS does, and edits them.
//!
//! | who | object | edit |
//! |---|---|---|
//! | kubeadm, kind and most others | ConfigMap `kube-system/coredns` | [`corefile`] |
//! | RKE2 | ConfigMap `kube-system/rke2-coredns-rke2-coredns` | [`corefile`] |
//! | node-local DNS | ConfigMap `kube-system/node-local-dns` | [`corefile`] |
//! | k3s, AKS (the Corefile imports it) | ConfigMap `kube-system/coredns-custom` | [`custom`] |
//! | OpenShift | `dns.operator.openshift.io/default` | [`operator`] |
//!
//! The edits are pure functions of a document. Here is what surrounds them: each is written with the resourceVersion that was read,
//! so that nobody's edit in between is lost, and a document that is not understood is left alone, with a word to the person.
//! Several objects may be there; node-local DNS stands before the cluster's own, and both must know the zone.

pub mod corefile;
pub mod custom;
mod objects;
pub mod operator;

use crate::apply::Change;
use crate::connect::Connection;
use corefile::{Root, Upstream};
use objects::{ConfigMaps, Edit, Operator};

/// What became of one object.
#[derive(Debug, PartialEq, Eq)]
pub struct Edited {
    /// The object, for a person.
    pub object: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an edit.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The zone is in it, or is in it no longer.
    Done(Change),
    /// A person must do it.
    LeftAlone {
        /// Why.
        why: String,
        /// What to put there.
        text: String,
    },
}

/// Puts the zones in wherever cluster DNS is configured. Nothing comes back where that is nowhere we know.
///
/// # Errors
/// When the cluster refuses.
pub async fn put_in(cluster: &Connection, upstream: &Upstream) -> anyhow::Result<Vec<Edited>> {
    let mut all = Vec::new();
    all.extend(Operator::new(cluster).edit(Edit::PutIn(upstream)).await?);
    let maps = ConfigMaps::new(cluster);
    for name in COREFILES {
        let Some(data) = maps.read(name).await? else { continue };
        let imports = data
            .get(COREFILE)
            .and_then(|text| corefile::outline(&corefile::without_stanza(text).ok()?).ok())
            .filter(custom::is_imported);
        all.push(match imports {
            Some(outline) => maps.put_in_custom(&outline, upstream).await?,
            None => maps.edit_corefile(name, Edit::PutIn(upstream)).await?,
        });
    }
    Ok(all)
}

/// Takes the zones out wherever they may be.
///
/// # Errors
/// When the cluster refuses.
pub async fn take_out(cluster: &Connection) -> anyhow::Result<Vec<Edited>> {
    let mut all = Vec::new();
    all.extend(Operator::new(cluster).edit(Edit::TakeOut).await?);
    let maps = ConfigMaps::new(cluster);
    for name in COREFILES {
        if maps.read(name).await?.is_some() {
            all.push(maps.edit_corefile(name, Edit::TakeOut).await?);
        }
    }
    all.extend(maps.take_out_of_custom().await?);
    Ok(all)
}

/// What a person puts into a cluster DNS that we do not know.
pub fn stanza_for_a_person(upstream: &Upstream) -> String {
    corefile::stanza(upstream, &Root::default())
}

const NAMESPACE: &str = "kube-system";
/// ConfigMaps that hold a Corefile.
const COREFILES: [&str; 3] = ["coredns", "rke2-coredns-rke2-coredns", "node-local-dns"];
/// Its key in them.
const COREFILE: &str = "Corefile";
