//! Python's client against an API server of ours, on request: `TOMBOLO_PYTHON_CLIENT=1`, with a `python3` (or `TOMBOLO_PYTHON`) that has
//! the package `kubernetes`.

use std::process::Command;

use servers::Servers;

mod servers;

#[test]
fn an_object_is_made_watched_patched_and_removed() {
    if std::env::var_os("TOMBOLO_PYTHON_CLIENT").is_none_or(|value| value != "1") {
        eprintln!("not asked for: TOMBOLO_PYTHON_CLIENT=1 runs it");
        return;
    }
    let servers = Servers::start(1);
    let python = std::env::var("TOMBOLO_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .args(["-c", ROUND])
        .env("KUBECONFIG", servers.folder().join("cluster1.kubeconfig"))
        .output()
        .expect("python3 runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "ADDED 1\nMODIFIED 2\nMODIFIED 3\nDELETED 3\n"
    );
}

const ROUND: &str = r#"
from kubernetes import client, config, watch

config.load_kube_config()
core = client.CoreV1Api()
made = core.create_namespaced_config_map("default", {"metadata": {"name": "m"}, "data": {"a": "1"}})
core.patch_namespaced_config_map("m", "default", {"data": {"a": "2"}})
read = core.read_namespaced_config_map("m", "default")
read.data["a"] = "3"
core.replace_namespaced_config_map("m", "default", read)
try:
    core.replace_namespaced_config_map("m", "default", read)
    raise SystemExit("a stale write was taken")
except client.ApiException as refused:
    assert refused.status == 409, refused
names = [item.metadata.name for item in core.list_namespaced_config_map("default", limit=1).items]
assert len(names) == 1, names
core.delete_namespaced_config_map("m", "default")
# The watch goes back to before the creation, so it sees the whole round.
before = str(int(made.metadata.resource_version) - 1)
events = watch.Watch()
for event in events.stream(core.list_namespaced_config_map, "default", resource_version=before,
                           field_selector="metadata.name=m", timeout_seconds=30):
    print(event["type"], event["object"].data["a"])
    if event["type"] == "DELETED":
        events.stop()
"#;
