//! Does what a plan says, step by step.

use std::io;

use hostnet::{Nexthop, Op, Plan, tags};

use crate::error::{ApplyError, Feature, NftError, OpError};
use crate::{HostNet, addresses, links, neighbours, nexthops, routes, rules};

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// Steps done.
    pub done: usize,
    /// Steps that failed, in order: a first failure may be the cause of later ones.
    pub failures: Vec<ApplyError>,
}

impl HostNet {
    /// Takes every step of `plan`, also after one failed.
    pub async fn apply(&self, plan: &Plan) -> Applied {
        let mut applied = Applied::default();
        for op in &plan.ops {
            match self.step(op).await {
                Ok(()) => {
                    tracing::debug!(%op, "done");
                    applied.done += 1;
                }
                Err(cause) => applied.failures.push(ApplyError {
                    op: op.clone(),
                    cause: name_feature(op, cause),
                }),
            }
        }
        applied
    }

    async fn step(&self, op: &Op) -> Result<(), OpError> {
        let netlink = &self.netlink;
        match op {
            Op::WriteNft(table) => self.nft.write(table).await.map_err(OpError::Nft)?,
            Op::UpdateVips(update) => self.nft.update(update).await.map_err(OpError::Nft)?,
            Op::EndFlows(ports) => self.conntrack.end(ports).await?,
            Op::SetSysctl(key, value) => self.sysctls.set(key, value)?,
            Op::CreateVxlan(link) => {
                let underlay = match &link.underlay {
                    Some(name) => Some(self.link(name).await?),
                    None => None,
                };
                links::create_vxlan(netlink, link, underlay).await?;
            }
            Op::DeleteVxlan => links::remove(netlink, self.vxlan().await?).await?,
            Op::SetVxlanMtu(mtu) => links::set_mtu(netlink, self.vxlan().await?, *mtu).await?,
            Op::RaiseVxlan => links::raise(netlink, self.vxlan().await?).await?,
            Op::AddAddress(address) => addresses::add(netlink, self.vxlan().await?, *address).await?,
            Op::RemoveAddress(address) => addresses::remove(netlink, self.vxlan().await?, *address).await?,
            Op::SetNeighbour(address, mac) => neighbours::set(netlink, self.vxlan().await?, *address, *mac).await?,
            Op::RemoveNeighbour(address) => neighbours::remove(netlink, self.vxlan().await?, *address).await?,
            Op::SetFdb(mac, node) => neighbours::set_fdb(netlink, self.vxlan().await?, *mac, *node).await?,
            Op::RemoveFdb(mac, node) => neighbours::remove_fdb(netlink, self.vxlan().await?, *mac, *node).await?,
            Op::SetNexthop(id, Nexthop::Vtep(via)) => {
                nexthops::set(netlink, *id, self.vxlan().await?, Some(*via)).await?;
            }
            Op::SetNexthop(id, Nexthop::Link) => nexthops::set(netlink, *id, self.vxlan().await?, None).await?,
            Op::SetNexthop(id, Nexthop::Tun) => {
                nexthops::set(netlink, *id, self.link(tags::TUN_LINK).await?, None).await?;
            }
            Op::SetNexthop(_, Nexthop::Other) => return Err(io::Error::from(io::ErrorKind::InvalidInput).into()),
            Op::RemoveNexthop(id) => nexthops::remove(netlink, *id).await?,
            Op::AddRoute(key, route) => routes::add(netlink, key, route).await?,
            Op::ReplaceRoute(key, route) => routes::replace(netlink, key, route).await?,
            Op::RemoveRoute(key) => routes::remove(netlink, key).await?,
            Op::AddRule(rule) => rules::add(netlink, rule).await?,
            Op::RemoveRule(rule) => rules::remove(netlink, rule).await?,
        }
        Ok(())
    }

    async fn vxlan(&self) -> Result<u32, OpError> {
        self.link(tags::VXLAN_LINK).await
    }

    async fn link(&self, name: &str) -> Result<u32, OpError> {
        self.netlink
            .link_index(name)
            .await?
            .ok_or_else(|| OpError::NoLink(name.to_owned()))
    }
}

/// Turns the kernel's "not supported" into the name of what is not supported.
fn name_feature(op: &Op, cause: OpError) -> OpError {
    let unsupported = match &cause {
        OpError::Kernel(error) => matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT)),
        OpError::Nft(NftError::Unsupported(feature)) => return OpError::Unsupported(*feature),
        _ => false,
    };
    match op {
        Op::CreateVxlan(_) if unsupported => OpError::Unsupported(Feature::Vxlan),
        Op::SetNexthop(..) if unsupported => OpError::Unsupported(Feature::Nexthops),
        Op::AddRule(_) if unsupported => OpError::Unsupported(Feature::PolicyRouting),
        _ => cause,
    }
}
