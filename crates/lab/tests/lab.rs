//! Labs on the machine itself: they take root, and leave nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod faults;
mod machine;

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use machine::{Machine, is_root, json};
use serde_json::Value;

#[test]
fn hosts_of_two_clusters_talk_until_a_link_is_cut_and_nothing_is_left() {
    if !is_root() {
        return;
    }
    let lab = Machine::up(
        "tnet",
        &[
            "--network-only",
            "--ip-family",
            "dual",
            "--underlay-mtu",
            "1400",
            "--seed",
            "3",
        ],
    );
    for address in ["192.0.2.35", "2001:db8:2::3"] {
        assert!(
            lab.connects("east/gw1", "west/gw1", address),
            "east reaches west at {address}"
        );
    }
    // The IPv6 and UDP headers take 48 bytes.
    assert!(
        lab.udp("east/gw1", "west/gw1", "2001:db8:2::3", 1400 - 48),
        "a packet of the links' MTU passes"
    );
    assert!(
        !lab.udp("east/gw1", "west/gw1", "2001:db8:2::3", 1400 - 48 + 1),
        "a longer one is refused"
    );

    for cut in ["west", "west/gw1"] {
        lab.ok(&["cut", cut]);
        assert!(!lab.connects("east/gw1", "west/gw1", "192.0.2.35"), "{cut} is cut");
        lab.ok(&["heal", cut]);
        lab.eventually("the way is healed", || {
            lab.connects("east/gw1", "west/gw1", "192.0.2.35")
        });
        lab.eventually("the way is healed for IPv6", || {
            lab.connects("east/gw1", "west/gw1", "2001:db8:2::3")
        });
    }
    assert_eq!(
        Machine::links_of_the_machine(),
        lab.links_before,
        "no link is made outside the lab"
    );
    lab.down();
}

#[test]
fn a_lab_killed_at_any_point_of_its_making_is_removed_and_made_again() {
    if !is_root() {
        return;
    }
    for pause in [0, 20, 60, 120, 250, 500].map(Duration::from_millis) {
        Machine::up_killed_after("tkill", pause);
        let lab = Machine::up("tkill", &["--network-only", "--clusters", "1"]);
        lab.ok(&["exec", "east/gw1", "--", "true"]);
        Machine::up_killed_after("tkill", pause);
        lab.down();
    }
}

#[test]
fn a_process_that_is_on_its_way_when_its_lab_is_killed_does_not_outlive_it() {
    if !is_root() {
        return;
    }
    let lab = Machine::unmade("tway");
    lab.up_killed_at_a_process();
    lab.down();
}

#[test]
fn a_process_that_is_not_told_to_go_on_never_becomes_its_program() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let run = |word: &[u8]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo-lab"));
        command.args(["lab", "enter", "--detach", "--", "touch"]).arg(&file);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(word).unwrap();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        (status.success(), String::from_utf8(stderr).unwrap())
    };
    let (is_success, said) = run(b"");
    assert!(!is_success && said.contains("did not live to tell it"), "{said}");
    assert!(!file.exists());
    let (is_success, said) = run(b"go");
    assert!(is_success, "{said}");
    assert!(file.exists());
}

#[test]
fn pods_run_as_their_specifications_say_and_survive_their_kubelet() {
    if !is_root() {
        return;
    }
    let lab = Machine::up(
        "tpod",
        &[
            "--clusters",
            "east",
            "--gateways",
            "1",
            "--workers",
            "1",
            "--ip-family",
            "dual",
        ],
    );
    lab.apply("east", include_str!("pods.yaml"));
    lab.eventually("all pods are ready", || {
        lab.is_ready("east", "shop", &["client", "watcher", "echo-1", "echo-2"])
    });

    // What a container is.
    let inside = |command: &str| lab.output(&["exec", "east/shop/client", "--", "sh", "-c", command]);
    assert!(inside("cat /etc/resolv.conf").contains("search\tshop.svc.cluster.local svc.cluster.local cluster.local"));
    assert_eq!(
        inside("cat /var/run/secrets/kubernetes.io/serviceaccount/namespace"),
        "shop"
    );
    assert_eq!(
        inside("ls /sys/class/net").split_whitespace().collect::<Vec<_>>(),
        ["eth0", "lo"]
    );
    assert_eq!(inside("cat /etc/settings/key"), "value");
    inside("echo kept > /var/lib/state/file && echo lost > /usr/lost-with-the-container");
    assert!(
        !std::path::Path::new("/usr/lost-with-the-container").exists(),
        "a container cannot write to the machine"
    );
    let on_node = lab.directory().join("nodes/east-w1/root/var/lib/state/file");
    assert_eq!(
        std::fs::read_to_string(on_node).unwrap(),
        "kept\n",
        "a hostPath is the node's own"
    );
    let status = lab.process_status("east", "shop/client");
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(field("CapBnd:"), "0000000000001000", "all dropped, NET_ADMIN added");
    assert_eq!(
        (field("CapEff:"), field("NoNewPrivs:")),
        ("0000000000001000".to_owned(), "1".to_owned())
    );
    let other_user = lab.process_status("east", "shop/watcher");
    assert!(other_user.contains("Uid:\t65534") && other_user.contains("CapEff:\t0000000000000000"));

    // Names and Services, from the pod network and from the node's.
    let fetch = [
        "tombolo",
        "lab",
        "fetch",
        "--host",
        "echo.shop.svc.cluster.local",
        "--port",
        "8080",
        "--count",
        "8",
    ];
    for (target, protocol) in [("client", "tcp"), ("client", "udp"), ("watcher", "tcp")] {
        lab.eventually("the Service answers", || {
            lab.succeeds(
                &[
                    &["exec", &format!("east/shop/{target}"), "--"],
                    &fetch[..],
                    &["--proto", protocol],
                ]
                .concat(),
            )
        });
    }

    // A kubelet that is killed leaves its pods alone; the next one takes them over, and restarts what ended.
    let before = lab.pid("east", "shop/client");
    lab.ok(&["kill", "east/w1/kubelet"]);
    assert_eq!(lab.pid("east", "shop/client"), before, "pods outlive their kubelet");
    lab.ok(&["start", "east/w1/kubelet"]);
    lab.ok(&["kill", "east/w1/pause"]);
    lab.eventually("the container is started again", || {
        let pod = lab.pod("east", "shop", "client");
        pod.pointer("/status/containerStatuses/0/restartCount") == Some(&Value::from(1))
            && lab.is_ready("east", "shop", &["client"])
    });
    assert_ne!(lab.pid("east", "shop/client"), before);

    // The API server comes back with all it had.
    lab.ok(&["kill", "east/api"]);
    lab.ok(&["start", "east/api"]);
    lab.eventually("the API server is back", || {
        lab.is_ready("east", "shop", &["client", "watcher"])
    });

    lab.delete_pod("east", "shop", "client");
    lab.eventually("the pod is gone from the API", || {
        lab.pod("east", "shop", "client").is_null()
    });
    lab.eventually("its network is gone", || {
        !json(&lab.output(&["status", "-o", "json"]))
            .to_string()
            .contains("shop/client")
    });
    lab.down();
}
