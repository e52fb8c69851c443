//! Reads what is ours, and the facts that plans depend on.

use std::collections::BTreeMap;
use std::io;

use hostnet::{Facts, Observed, State, SysctlKey, tags};

use crate::error::ObserveError;
use crate::{HostNet, addresses, links, neighbours, nexthops, routes, rules};

impl HostNet {
    /// What this node's kernel holds of ours. `underlay` names the link of the node's own network.
    ///
    /// # Errors
    /// If the kernel cannot be read; nothing is known then, and nothing should be done.
    pub async fn observe(&self, underlay: &str) -> Result<Observed, ObserveError> {
        let netlink = &self.netlink;
        let links = links::dump(netlink).await.map_err(reading("links"))?;
        let index = links.index(tags::VXLAN_LINK);
        let (on_link, elsewhere) = addresses::dump(netlink, index).await.map_err(reading("addresses"))?;
        let (mut fdb, mut known) = (BTreeMap::new(), BTreeMap::new());
        if let Some(index) = index {
            fdb = neighbours::dump_fdb(netlink, index)
                .await
                .map_err(reading("VXLAN forwarding entries"))?;
            known = neighbours::dump(netlink, index).await.map_err(reading("neighbours"))?;
        }
        let nexthops = match nexthops::dump(netlink, &links).await {
            // A kernel without nexthop objects has none; making one says so.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => BTreeMap::new(),
            read => read.map_err(reading("nexthop objects"))?,
        };
        let routes = routes::dump(netlink).await.map_err(reading("routes"))?;
        let rules = rules::dump(netlink).await.map_err(reading("policy rules"))?;
        let listing = self.nft.read().await.map_err(ObserveError::Nft)?;
        let (nft, vips, counters) =
            listing.map_or_else(Default::default, |read| (Some(read.shape), read.vips, read.counters));

        Ok(Observed {
            facts: Facts {
                underlay_mtu: links.mtu(underlay),
                tun: links.tun(),
                addresses: elsewhere,
            },
            state: State {
                vxlan: links.vxlan(),
                addresses: on_link,
                fdb,
                neighbours: known,
                nexthops,
                routes,
                rules: rules.iter().map(rules::parse).collect(),
                nft,
                vips,
                sysctls: self.sysctls.read_all(&SysctlKey::all_for(underlay)),
            },
            counters,
        })
    }
}

fn reading(what: &'static str) -> impl FnOnce(io::Error) -> ObserveError {
    move |source| ObserveError::Netlink { what, source }
}
