//! What a node's kernel must hold so that pod and service traffic reaches the other clusters, and the steps that get it there.
//!
//! The caller says **what the node needs** ([`Desired`]: its underlay, its VXLAN peers, its own prefixes, and for each remote
//! cluster its prefixes, path MTU and way out). The effects crate says **what the kernel holds** ([`Observed`]: only what is
//! ours, plus a few facts). [`plan()`] compares the two and returns ordered [`Op`]s. It is pure, total and level-triggered: it
//! remembers nothing, so a missed event, a restart and a hand-made change all heal in the same way.
//!
//! ```text
//!            pod ──▶ rule 174 ──▶ table 174 ──▶ nexthop(cluster, family) ──▶ tombolo-vx ─ ─ ▶ active gateway
//!                                     │                       └──(on the active gateway)──▶ tombolo0 ──▶ cable
//!  tombolo-vx ──▶ rule iif 174 ──▶ table 175 ──▶ nexthop(transit, family) ───────────────▶ tombolo0 ──▶ cable
//!                                     └─ both tables, every remote prefix, metric 2³²−1: unreachable
//! ```
//!
//! * **Ours is what carries our tag** ([`tags`]): one route protocol, two tables, one rule priority, one nft table, two link
//!   names, one range of nexthop ids. `Observed` holds nothing else, so removing what is not desired cannot hurt a neighbour.
//! * **Failover is one op.** A cluster's prefixes all point to one nexthop object a family; moving the cluster replaces it, which
//!   [`moves()`] plans without a look at the kernel.
//! * **Clusterset IPs** are translated by rules that never change and maps that do ([`Vips`]): an endpoint that comes or goes is a few
//!   elements of them. UDP clients of a backend that is gone are made to choose again.
//! * **No leak.** Guards (nft) and backstops (unreachable routes) go in before the routes and rules that need them. A way out that
//!   does not exist now (TUN closed, underlay gone) is left out and reported as [`Blocked`]; the backstop answers instead.
//! * **Law:** applying `plan(d, o)` to `o` gives an `o'` for which `plan(d, o')` has no ops. [`Observed::apply`] is a small model
//!   of the kernel, with its cascades (a link that goes takes addresses, neighbours, nexthops and their routes along), in which
//!   property tests hold the law; the effects crate holds it again in real network namespaces.

#![forbid(unsafe_code)]

mod desired;
mod moves;
mod nft;
mod nft_transit;
mod nft_vips;
mod op;
mod plan;
mod simulate;
mod state;
mod sysctl;
pub mod tags;
mod target;
mod vip_sets;
mod vips;
mod vtep;

pub use desired::{Desired, Peer, RemoteCluster, Source, Underlay, Untracked, Via};
pub use moves::moves;
pub use nft::{ChainHook, NftChain, NftShape, NftTable};
pub use nft_transit::FLOWS;
pub use op::{Blocked, Op, Plan};
pub use plan::plan;
pub use simulate::Refused;
pub use state::{Facts, Family, Nexthop, Observed, Route, RouteKey, Rule, State, TunLink, VxlanLink};
pub use sysctl::{InvalidSysctlKey, SysctlKey};
pub use target::vxlan_mtu;
pub use vip_sets::{VipElement, slot_of_map};
pub use vips::{Protocol, SLOTS, VipElements, VipPort, VipUpdate, Vips};
pub use vtep::{InvalidMac, Mac, Vtep, vtep};
