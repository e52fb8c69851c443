//! The main job must be able to fail. Without the rules that keep client addresses, the service proxy's masquerade hides them: that of
//! the cluster that is named, because its own service address leads there, and not a clusterset IP.

use anyhow::ensure;

use super::Run;
use super::lab::eventually;
use super::steps::{CLIENT, PATIENCE};
use super::workload::{Fetch, fetch};

pub(crate) fn run(run: &mut Run) -> anyhow::Result<()> {
    run.step("without source keeping, the source is lost", |run| {
        run.lab.apply("east", &route_agents("1"))?;
        eventually("the server to see another address", PATIENCE, || {
            let error = fetch(&run.lab, CLIENT, ASK)
                .err()
                .map(|error| format!("{error:#}"))
                .unwrap_or_default();
            ensure!(error.contains("saw"), "it still sees the client's own: {error}");
            Ok(())
        })?;
        Ok(String::new())
    })?;
    run.step("with it again, the source is kept", |run| {
        run.lab.apply("east", &route_agents("0"))?;
        eventually("the server to see the client", PATIENCE, || {
            fetch(&run.lab, CLIENT, ASK)
        })?;
        Ok(String::new())
    })
}

/// One more variable for the route agents; the rest of the DaemonSet is join's.
fn route_agents(value: &str) -> String {
    format!(
        r#"apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: tombolo-route-agent, namespace: tombolo-system}}
spec:
  template:
    spec:
      containers:
        - name: tombolo-route-agent
          env: [{{name: TOMBOLO_NO_SOURCE_KEEPING, value: "{value}"}}]
"#
    )
}

const ASK: Fetch<'static> = Fetch {
    protocol: "tcp",
    host: TILL_OF_EAST,
    port: 80,
    count: 1,
    bytes: 64,
};

const TILL_OF_EAST: &str = "east.till.shop.svc.clusterset.local";
