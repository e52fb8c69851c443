//! A link's relay: put in with the first fault, told of each further one, taken out with the last.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;

use super::insertion::{Insertion, insertion};
use crate::impair::Settings;
use crate::namespace::Namespace;
use crate::process::{self, Launch, ProcessId};
use crate::state::{Lab, flat};
use crate::topology::Cluster;

impl Lab {
    /// Makes a link so. A relay that is there goes on with what is under way; else one is put in.
    ///
    /// # Errors
    /// When the place has no link, or the relay does not start.
    pub(super) async fn impair(&self, target: &str, settings: &Settings) -> anyhow::Result<()> {
        let path = self.settings_path(target);
        let text = serde_json::to_vec(settings).context("cannot write the settings as JSON")?;
        process::replace_file(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        if let Some(relay) = self.relay(target)? {
            relay.signal(Signal::SIGHUP);
            return Ok(());
        }
        let (namespace, insertion) = self.insertion(target)?;
        // What an insertion left that was killed half-way, or a relay that died.
        take_out(&namespace, &insertion).await?;
        namespace.ip(&insertion.make).await?;
        namespace.sysctls(insertion.sysctls.iter().map(|(name, value)| (name.as_str(), *value)))?;
        namespace.ip(&insertion.join).await?;
        self.start(
            &self.relay_name(target),
            self.relay_launch(target, &namespace, &insertion)?,
            None,
        )
        .await?;
        self.relay_is_ready(target, &namespace, &insertion).await
    }

    /// Takes the relay out of a link.
    ///
    /// # Errors
    /// When the link cannot be made as it was.
    pub(super) async fn stop_impairing(&self, target: &str) -> anyhow::Result<()> {
        if let Some(relay) = self.relay(target)? {
            relay.signal(Signal::SIGKILL);
            ensure!(
                process::ended(&[relay], PATIENCE).await,
                "the relay of '{target}' does not end within {PATIENCE:?}"
            );
        }
        let (namespace, insertion) = self.insertion(target)?;
        take_out(&namespace, &insertion).await?;
        self.forget(&self.relay_name(target))?;
        // It is of use to a relay only.
        let _ = std::fs::remove_file(self.settings_path(target));
        Ok(())
    }

    /// The address behind which a cluster's hosts can be hidden: that of its router.
    ///
    /// # Errors
    /// When the place is no cluster, or has no IPv4.
    pub(super) fn outside_address(&self, target: &str) -> anyhow::Result<Ipv4Addr> {
        let cluster: &Cluster = self.topology().cluster(target).with_context(|| {
            format!("'{target}' is no cluster; an address is shared by all hosts of a cluster, so name the cluster")
        })?;
        let mut routers = cluster.network.router.iter().map(ipnet::IpNet::addr);
        let address = routers.find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        address
            .with_context(|| format!("'{target}' has no IPv4, and NAT is for IPv4; make the lab with --ip-family dual"))
    }

    fn insertion(&self, target: &str) -> anyhow::Result<(Namespace, Insertion)> {
        let port = self.port(target)?;
        Ok((self.namespace(&port.switch), insertion(self.topology(), &port)))
    }

    fn relay(&self, target: &str) -> anyhow::Result<Option<ProcessId>> {
        let name = self.relay_name(target);
        let known = self.processes()?.into_iter().find(|(known, _)| *known == name);
        Ok(known.map(|(_, record)| record.id).filter(|id| id.is_alive()))
    }

    fn relay_launch(&self, target: &str, namespace: &Namespace, insertion: &Insertion) -> anyhow::Result<Launch> {
        let program = process::program()?;
        let settings = self.settings_path(target);
        let text = |path: PathBuf| path.into_os_string().into_string().ok().context("a path is no text");
        let seed = self.topology().seed.to_string();
        let argv = [
            &text(program)?,
            "lab",
            "impair",
            "--near",
            &insertion.near,
            "--far",
            &insertion.far,
            "--settings",
            &text(settings)?,
            "--seed",
            &seed,
        ];
        Ok(Launch {
            namespace: namespace.name().to_owned(),
            is_outside: false,
            argv: argv.map(str::to_owned).to_vec(),
            environment: std::collections::BTreeMap::default(),
            log: self.directory().log(&self.relay_name(target)),
        })
    }

    /// A TAP has a carrier once somebody is attached to it.
    async fn relay_is_ready(&self, target: &str, namespace: &Namespace, insertion: &Insertion) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for tap in [&insertion.near, &insertion.far] {
            while !namespace.has_carrier(tap).await? {
                if tokio::time::Instant::now() >= deadline || self.relay(target)?.is_none() {
                    bail!(
                        "the relay of '{target}' does not start; see `tombolo lab logs {}`",
                        self.relay_name(target)
                    );
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    fn relay_name(&self, target: &str) -> String {
        self.process_name(&format!("{target}/relay"))
    }

    fn settings_path(&self, target: &str) -> PathBuf {
        self.directory().faults().join(format!("{}.relay", flat(target)))
    }
}

async fn take_out(namespace: &Namespace, insertion: &Insertion) -> anyhow::Result<()> {
    namespace.ip_as_far_as_possible(&insertion.dismantle).await?;
    namespace.ip(&insertion.mend).await
}

const PATIENCE: Duration = Duration::from_secs(10);
