use std::cmp::Ordering;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{ExportedPort, ImportKind, Keyed, ServiceKey, SessionAffinity};

/// A service of the clusterset as the own cluster has it: what its `ServiceImport` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportedService {
    /// What it is.
    pub key: ServiceKey,
    /// With or without a clusterset IP.
    pub kind: ImportKind,
    /// Its clusterset IPs, at most one a family; empty when headless, and until they are allocated.
    pub ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ExportedPort>,
    /// Affinity.
    pub session_affinity: SessionAffinity,
    /// Which clusters' endpoints come first.
    pub preference: Preference,
    /// The exporter's `internalTrafficPolicy`.
    pub internal_traffic_policy: Option<String>,
    /// The exporter's `trafficDistribution`.
    pub traffic_distribution: Option<String>,
}

impl Keyed for ImportedService {
    type Key<'a> = &'a ServiceKey;

    fn key(&self) -> Self::Key<'_> {
        &self.key
    }

    fn compare(&self, key: Self::Key<'_>) -> Ordering {
        self.key.cmp(key)
    }
}

/// Which clusters' endpoints a clusterset IP leads to (annotation [`crate::names::PREFER_ANNOTATION`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// The own cluster's while one is ready there, else those of all live clusters.
    #[default]
    Local,
    /// The own cluster's while one is ready there, else those of the live clusters with the shortest round trip.
    Nearest,
    /// Those of all live clusters, the own included.
    Spread,
}

impl Preference {
    /// Reads the annotation's value. What is not known reads as the default, so that a newer word does no harm.
    pub fn read(text: Option<&str>) -> Self {
        match text {
            Some("nearest") => Self::Nearest,
            Some("spread") => Self::Spread,
            _ => Self::Local,
        }
    }
}
