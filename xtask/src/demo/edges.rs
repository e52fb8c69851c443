//! Bad input: each is refused by name or survived, and everything else goes on.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Run;
use super::lab::eventually;
use super::steps::{CLIENT, CLUSTERS, PATIENCE, TILL};
use super::workload::{Fetch, fetch};

pub(crate) fn run(run: &mut Run) -> anyhow::Result<()> {
    run.step("tokens that are none, or another's, are refused", |run| {
        let (_, of_east) = run.invites.first().cloned().context("no invite")?;
        let garbled = &of_east[..of_east.len() - 7];
        refused(run, "west", &["join", garbled], "the token is garbled")?;
        refused(run, "west", &["join", "eyJhbGciOiJIUzI1NiJ9"], "not a Tombolo token")?;
        refused(run, "west", &["join", &of_east], "is a member already, as \"west\"")?;
        Ok(String::new())
    })?;
    run.step("an id that is taken is refused", |run| {
        let error = run.lab.broker(&["invite", "east"]).err();
        let said = error.map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(said.contains("\"east\" is taken"), "it said: {said}");
        Ok(String::new())
    })?;
    run.step("what cannot be exported is refused", |run| {
        run.lab.apply("east", ALIAS)?;
        refused(
            run,
            "east",
            &["export", "service", "-n", "shop", "nothing"],
            "there is no Service shop/nothing",
        )?;
        refused(
            run,
            "east",
            &["export", "service", "-n", "shop", "alias"],
            "ExternalName",
        )?;
        Ok(String::new())
    })?;
    run.step("noise on cable, VXLAN and DNS ports changes nothing", |run| {
        let gateways = addresses(run, "east")?;
        for address in &gateways {
            for (port, bytes) in [
                (4510, 1),
                (4510, 148),
                (4510, 1400),
                (4510, 9000),
                (4510, 65_000),
                (4801, 60),
            ] {
                make_noise(run, "broker", address, port, bytes)?;
            }
            // A handshake initiation without its end.
            send(run, "broker", address, 4510, "\\x01\\0\\0\\0", 147)?;
        }
        let dns = cluster_dns(run, "west")?;
        for bytes in [1, 11, 512, 1400, 9000, 65_000] {
            make_noise(run, "west/w1", &dns, 53, bytes)?;
        }
        for bytes in 12..QUERY_BYTES {
            send(run, "west/w1", &dns, 53, QUERY, bytes)?;
        }
        eventually("all to be connected", PATIENCE, || {
            run.lab.tombolo("west", &["show", "gateways"])
        })?;
        fetch(&run.lab, CLIENT, ASK)?;
        Ok(format!("{} hosts", gateways.len()))
    })
}

/// The command fails, and says so in these words.
fn refused(run: &Run, cluster: &str, arguments: &[&str], words: &str) -> anyhow::Result<()> {
    let output = run.lab.try_tombolo(cluster, arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{arguments:?} succeeded in {cluster}");
    ensure!(said.contains(words), "{arguments:?} said: {said}");
    Ok(())
}

/// A few datagrams of random bytes.
fn make_noise(run: &Run, from: &str, address: &str, port: u16, bytes: usize) -> anyhow::Result<()> {
    let random = format!("dd status=none if=/dev/urandom bs={bytes} count=1 iflag=fullblock");
    datagrams(
        run,
        from,
        &format!("for i in 1 2 3 4 5; do {random} > /dev/udp/{address}/{port}; done"),
    )
}

/// One datagram: the beginning of a message, as `printf` writes it and zeros after it, cut at so many bytes.
fn send(run: &Run, from: &str, address: &str, port: u16, message: &str, bytes: usize) -> anyhow::Result<()> {
    let cut = format!("dd status=none bs={bytes} count=1 iflag=fullblock");
    datagrams(
        run,
        from,
        &format!("(printf '{message}'; head -c {bytes} /dev/zero) | {cut} > /dev/udp/{address}/{port}"),
    )
}

fn datagrams(run: &Run, from: &str, script: &str) -> anyhow::Result<()> {
    // A port where nobody listens answers with an error, which is none here.
    run.lab.try_exec(from, &["bash", "-c", script])?;
    Ok(())
}

/// The nodes' addresses.
fn addresses(run: &Run, cluster: &str) -> anyhow::Result<Vec<String>> {
    let status: Value = serde_json::from_str(&run.lab.lab("status", &["-o", "json"])?).context("lab status is JSON")?;
    let index = CLUSTERS
        .iter()
        .position(|name| *name == cluster)
        .context("no such cluster")?;
    let hosts = status["clusters"][index]["hosts"]
        .as_array()
        .context("a cluster has hosts")?;
    let all = hosts
        .iter()
        .flat_map(|host| host["addresses"].as_array().into_iter().flatten());
    Ok(all
        .filter_map(Value::as_str)
        .filter_map(|prefix| prefix.split('/').next())
        .map(str::to_owned)
        .collect())
}

/// The resolver of a cluster's pods.
fn cluster_dns(run: &Run, cluster: &str) -> anyhow::Result<String> {
    let resolver = run.lab.exec(
        &format!("{cluster}/default/client-worker"),
        &["cat", "/etc/resolv.conf"],
    )?;
    let server = resolver.lines().find_map(|line| line.strip_prefix("nameserver"));
    Ok(server.context("a pod has a name server")?.trim().to_owned())
}

/// A query for `a.b` of type A, as `printf` writes it.
const QUERY: &str = "\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x01a\\x01b\\0\\0\\x01\\0\\x01";
const QUERY_BYTES: usize = 21;
const ALIAS: &str = "apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: example.net}
";
const ASK: Fetch<'static> = Fetch {
    protocol: "tcp",
    host: TILL,
    port: 80,
    count: 1,
    bytes: 64,
};
