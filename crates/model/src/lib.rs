//! The nouns of Tombolo, as types that cannot hold nonsense.
//!
//! Everything that enters the program as text or bytes (a cluster id, a prefix, a public key) becomes one of these types
//! at the edge, once, and is believed from then on. Nothing here performs I/O, reads a clock or draws a random number.
//!
//! * [`ids`](ClusterId): who is meant: clusters, nodes, gateways, services.
//! * [`prefix`](PrefixSet): which addresses belong to a cluster.
//! * [`key`](PublicKey): the WireGuard identity of a gateway, and the reserved address its probes use.
//! * [`cluster`](Cluster), [`gateway`](Gateway), [`service`](ExportedService): what the members of a clusterset tell each other.
//! * [`import`](ImportedService): what the exports of all members are in the own cluster.
//! * [`snapshot`](Snapshot): all of it at one moment, which is what every decision is a function of.
//! * [`cable`](CablePlan): what the data plane is told to do.
//! * [`names`]: every fixed name, port and number, in one place.

#![forbid(unsafe_code)]

mod by_key;
mod cable;
mod cluster;
mod gateway;
mod ids;
mod import;
mod key;
pub mod names;
mod prefix;
mod service;
mod snapshot;

pub use by_key::{ByKey, Keyed};
pub use cable::{CablePlan, PeerPlan, ProbeRole};
pub use cluster::{Cluster, ClusterState, ProtocolRange};
pub use gateway::{AddressKind, Connection, ConnectionState, Gateway, GatewayAddress, ProbeMode, Rtt};
pub use ids::{ClusterId, GatewayId, InvalidId, NodeName, ServiceKey};
pub use import::{ImportedService, Preference};
pub use key::{InvalidKey, PublicKey, probe_address};
pub use prefix::{Family, InvalidPrefix, PrefixSet};
pub use service::{ExportedPort, ExportedService, ImportKind, Protocol, ReadyEndpoint, SessionAffinity};
pub use snapshot::{Node, Snapshot};
