//! What Tombolo reads and writes in Kubernetes: custom resource types, their definitions, and the way into [`model`] types.
//!
//! ```text
//!  API server ──serde──▶ resource types here ──TryFrom──▶ model types ──▶ decisions
//! ```
//!
//! A resource type accepts whatever the schema in its CustomResourceDefinition admits, and an older or newer schema may admit
//! more. So fields that have a meaning (prefixes, keys, addresses) are text here, and the conversion says which field of
//! which object is wrong, what it holds, and what to write instead ([`ConvertError`]). One bad object is skipped and
//! reported; it never stops a watch. An unknown enum value never drops an object either: it reads as the harmless default.
//!
//! On the broker there are only our own kinds (`tombolo.dev`), each member's in its own namespace. In a member cluster the same
//! kinds are mirrored into `tombolo-system` under `<cluster>.<name>` ([`mirror_name`]), the member's own objects included,
//! beside the MCS API (`multicluster.x-k8s.io`) in the users' namespaces.

#![forbid(unsafe_code)]

mod broker;
mod cluster;
pub mod condition;
mod convert;
pub mod crds;
mod exported_service;
mod gateway;
pub mod mcs;
mod mcs_import;
mod node;
mod route_agent;
mod service_export;

pub use broker::{Broker, BrokerSpec};
pub use cluster::{Cluster, ClusterSpec, ClusterStatus, ProtocolSpec};
pub use convert::{ConvertError, mirror_name};
pub use exported_service::{EndpointPort, EndpointSpec, ExportedPortSpec, ExportedService, ExportedServiceSpec};
pub use gateway::{
    AddressSpec, CableLanesStatus, ConnectionStatus, DropStatus, Gateway, GatewaySpec, GatewayStatus, LaneStatus,
    RttStatus,
};
pub use mcs_import::clusterset_range;
pub use node::node_from;
pub use route_agent::{RouteAgent, RouteAgentSpec, RouteAgentStatus};
