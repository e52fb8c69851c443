//! Removes everything of ours from a node, found by its tags alone.

use std::fmt::Display;

use hostnet::tags;

use crate::{HostNet, links, nexthops, routes, rules};

/// What a cleanup did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// What was there and is gone, or was set back; empty on a node that was clean.
    pub removed: Vec<String>,
    /// What is left, and why.
    pub failures: Vec<String>,
}

impl HostNet {
    /// Removes our rules, routes, nexthops, links (the TUN device too) and nft table, and gives sysctls back.
    ///
    /// Rules go first: without them nothing looks at what is taken apart. Running it again, or on a node that was never joined,
    /// removes nothing and is no error.
    pub async fn cleanup(&self) -> Cleaned {
        let mut cleaned = Cleaned::default();
        self.remove_rules(&mut cleaned).await;
        self.remove_routes(&mut cleaned).await;
        self.remove_links(&mut cleaned).await;
        let table = format!("nft table inet {}", tags::NFT_TABLE);
        match self.nft.remove().await {
            Ok(true) => cleaned.removed.push(table),
            Ok(false) => {}
            Err(error) => cleaned.failures.push(format!("{table}: {error}")),
        }
        let (set_back, failed) = self.sysctls.give_back();
        cleaned.removed.extend(set_back);
        cleaned.failures.extend(failed);
        cleaned
    }

    async fn remove_rules(&self, cleaned: &mut Cleaned) {
        match rules::dump(&self.netlink).await {
            Ok(messages) => {
                for message in messages {
                    let what = format!("rule {}", rules::parse(&message));
                    cleaned.note(what, rules::remove_message(&self.netlink, message).await);
                }
            }
            Err(error) => cleaned.failures.push(format!("rules: {error}")),
        }
    }

    async fn remove_routes(&self, cleaned: &mut Cleaned) {
        match routes::dump(&self.netlink).await {
            Ok(found) => {
                for key in found.keys() {
                    cleaned.note(format!("route {key}"), routes::remove(&self.netlink, key).await);
                }
            }
            Err(error) => cleaned.failures.push(format!("routes: {error}")),
        }
        let Ok(links) = links::dump(&self.netlink).await else {
            return;
        };
        match nexthops::dump(&self.netlink, &links).await {
            Ok(found) => {
                for id in found.keys() {
                    cleaned.note(format!("nexthop {id}"), nexthops::remove(&self.netlink, *id).await);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(error) => cleaned.failures.push(format!("nexthops: {error}")),
        }
    }

    async fn remove_links(&self, cleaned: &mut Cleaned) {
        match links::dump(&self.netlink).await {
            Ok(links) => {
                for (name, index) in links.ours() {
                    cleaned.note(format!("link {name}"), links::remove(&self.netlink, index).await);
                }
            }
            Err(error) => cleaned.failures.push(format!("links: {error}")),
        }
    }
}

impl Cleaned {
    fn note(&mut self, what: String, outcome: Result<(), impl Display>) {
        match outcome {
            Ok(()) => self.removed.push(what),
            Err(error) => self.failures.push(format!("{what}: {error}")),
        }
    }
}
