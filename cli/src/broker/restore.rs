use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

/// Makes the data folder of an embedded broker from a backup. The broker must not be running there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo broker restore --from broker.backup --data-dir /var/lib/tombolo-broker
  tombolo broker serve --data-dir /var/lib/tombolo-broker --listen 192.0.2.1:6443

Members notice that the broker was restored, and first write their own objects again before they remove anything. They only
trust the CA that they joined with: put ca.crt and ca.key of the old data folder into the new one.")]
pub struct Restore {
    /// File that `tombolo broker backup` wrote
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Folder of the broker; it must not hold a store.redb yet
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

impl Restore {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (from, dir) = (self.from.display(), self.data_dir.display());
        let file = File::open(&self.from).with_context(|| format!("cannot read {from}"))?;
        let mut backup = apiserver::Backup::read(BufReader::new(file))
            .with_context(|| format!("{from} is not a backup that can be restored; take another one"))?;
        let mut brokers = 0;
        backup.change(|object| {
            let renewed = renew(object);
            brokers += usize::from(renewed);
            renewed
        });
        anyhow::ensure!(
            brokers > 0,
            "{from} holds no Broker object: it is the backup of something else"
        );
        backup
            .restore(&self.data_dir)
            .with_context(|| format!("cannot restore {from} into --data-dir {dir}"))?;
        println!("{dir} holds the broker of {from} again: {} objects.", backup.len());
        if !self.data_dir.join("ca.key").exists() {
            println!("Note: there is no ca.key in {dir}; without the old one, every member has to join again.");
        }
        println!("Start it with: tombolo broker serve --data-dir {dir}");
        Ok(())
    }
}

/// Gives the Broker object a new incarnation, which tells members of the restore.
fn renew(object: &mut Value) -> bool {
    let of_us = object["apiVersion"]
        .as_str()
        .is_some_and(|api| api.starts_with("tombolo.dev/"));
    let is_broker = of_us && object["kind"] == "Broker";
    if is_broker {
        object["spec"]["incarnation"] = uuid::Uuid::new_v4().to_string().into();
    }
    is_broker
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_broker_gets_a_new_incarnation() {
        let mut broker = json!({"apiVersion": "tombolo.dev/v1alpha1", "kind": "Broker", "spec": {"incarnation": "a", "apiLevel": 1}});
        assert!(renew(&mut broker));
        assert_ne!(broker["spec"]["incarnation"], "a");
        assert_eq!(broker["spec"]["apiLevel"], 1);
        let mut other = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        assert!(!renew(&mut other));
        assert_eq!(other, json!({"apiVersion": "v1", "kind": "ConfigMap"}));
    }
}
