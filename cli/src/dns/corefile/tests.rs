use super::*;
use proptest::prelude::*;

fn upstream(ips: &[&str]) -> Upstream {
    Upstream {
        zones: vec!["clusterset.local".to_owned()],
        ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
    }
}

/// Corefiles as they are shipped, before and after.
const GOLDEN: [(&str, &str, &str); 4] = [
    ("kubeadm", KUBEADM, include_str!("../golden/kubeadm.after")),
    (
        "kind",
        include_str!("../golden/kind.before"),
        include_str!("../golden/kind.after"),
    ),
    (
        "RKE2, without a newline at its end",
        include_str!("../golden/rke2.before"),
        include_str!("../golden/rke2.after"),
    ),
    (
        "node-local DNS",
        include_str!("../golden/node-local.before"),
        include_str!("../golden/node-local.after"),
    ),
];
const KUBEADM: &str = include_str!("../golden/kubeadm.before");

#[test]
fn shipped_corefiles_get_the_stanza_and_come_back_byte_for_byte() {
    for (whose, before, after) in GOLDEN {
        let edited = with_stanza(before, &upstream(&["10.96.7.7", "fd00::7"])).unwrap();
        assert_eq!(edited, after, "{whose}");
        assert_eq!(without_stanza(after).unwrap(), before, "{whose}");
        assert_eq!(without_stanza(before).unwrap(), before, "{whose}");
    }
}

#[test]
fn doing_it_again_changes_nothing_and_a_new_address_replaces_the_old_one() {
    for (_, before, _) in GOLDEN {
        let once = with_stanza(before, &upstream(&["10.96.7.7"])).unwrap();
        assert_eq!(with_stanza(&once, &upstream(&["10.96.7.7"])).unwrap(), once);
        let moved = with_stanza(&once, &upstream(&["10.96.8.8"])).unwrap();
        assert!(moved.contains("10.96.8.8") && !moved.contains("10.96.7.7"));
    }
}

#[test]
fn what_was_written_behind_the_stanza_stays() {
    for (_, before, after) in GOLDEN {
        let further = "b.example:53 {\n    errors\n}\n";
        let without = without_stanza(&format!("{after}{further}")).unwrap();
        let newline = if before.ends_with('\n') { "" } else { "\n" };
        assert_eq!(without, format!("{before}{newline}{further}"));
    }
}

#[test]
fn the_port_is_that_of_the_root_zone() {
    for (corefile, port) in [
        (".:1053 {\n}\n", "clusterset.local:1053 {"),
        (". {\n}\n", "clusterset.local:53 {"),
        ("dns://.:5353 {\n}\n", "clusterset.local:5353 {"),
        ("example.org:53, .:54 {\n}\n", "clusterset.local:54 {"),
    ] {
        let edited = with_stanza(corefile, &upstream(&["10.0.0.1"])).unwrap();
        assert!(edited.contains(port), "{corefile}");
    }
}

#[test]
fn every_zone_is_a_key_of_the_stanza() {
    let mut upstream = upstream(&["10.0.0.1"]);
    upstream.zones.push("west.lan".to_owned());
    let edited = with_stanza(KUBEADM, &upstream).unwrap();
    assert!(edited.contains("\nclusterset.local:53 west.lan:53 {\n"), "{edited}");
    assert_eq!(without_stanza(&edited).unwrap(), KUBEADM);
}

#[test]
fn other_blocks_comments_and_imports_are_kept() {
    let corefile = "import ../custom/*.override\n# a comment with } and {\n(snip) {\n    log\n}\n.:53 {\n    forward . 1.1.1.1 # {\n}";
    let edited = with_stanza(corefile, &upstream(&["10.0.0.1"])).unwrap();
    assert!(edited.starts_with(corefile));
    assert_eq!(without_stanza(&edited).unwrap(), corefile);
}

#[test]
fn what_is_not_understood_is_left_alone() {
    let to = upstream(&["10.0.0.1"]);
    let refused = |corefile: &str| with_stanza(corefile, &to).unwrap_err();
    assert_eq!(refused(".:53 {\n    errors\n"), CorefileError::Unbalanced(1));
    assert_eq!(refused(".:53 {\n}\n}\n"), CorefileError::Unbalanced(3));
    assert_eq!(refused("example.org {\n}\n"), CorefileError::NoRoot);
    assert_eq!(refused(""), CorefileError::NoRoot);
    assert_eq!(refused(".:53\nerrors\n"), CorefileError::Braceless(1));
    for zone in ["clusterset.local", "SVC.clusterset.local."] {
        let taken = format!("{KUBEADM}{zone}:53 {{\n    forward . 10.9.9.9\n}}\n");
        let zone = zone.to_ascii_lowercase().trim_end_matches('.').to_owned();
        assert_eq!(refused(&taken), CorefileError::Taken(zone, 21));
    }
    assert!(with_stanza(&format!("{KUBEADM}xclusterset.local {{\n}}\n"), &to).is_ok());
    assert_eq!(refused(&format!("{KUBEADM}{BEGIN}\n")), CorefileError::HalfMarked);
    assert_eq!(
        without_stanza(&format!("{END}\n{BEGIN}\n")),
        Err(CorefileError::HalfMarked)
    );
}

proptest! {
    /// Whatever is edited reads back as it was, and still reads as a Corefile: the old blocks and ours.
    #[test]
    fn what_is_edited_can_be_taken_back_and_still_reads(text in "([.:{}\"#\n ]|53|bind|a\\.example|import x){0,40}") {
        if let Ok(edited) = with_stanza(&text, &upstream(&["10.0.0.1"])) {
            prop_assert_eq!(without_stanza(&edited).unwrap(), text.clone());
            let mut zones = outline(&text).unwrap().zones;
            zones.push(("clusterset.local".to_owned(), 0));
            let names = |zones: Vec<(String, usize)>| zones.into_iter().map(|(zone, _)| zone).collect::<Vec<_>>();
            prop_assert_eq!(names(outline(&edited).unwrap().zones), names(zones));
        }
    }

    #[test]
    fn no_corefile_panics(text in "(\\PC|[{}#.:\n \"\\\\]){0,80}") {
        let _ = with_stanza(&text, &upstream(&["10.0.0.1"]));
    }

    #[test]
    fn taking_it_out_gives_the_file_back(zones in proptest::collection::vec("[a-z]{1,8}", 0..4), newlines in 0usize..3) {
        let others: String = zones.iter().map(|zone| format!("{zone}.example:53 {{\n    errors\n}}\n")).collect();
        let corefile = format!("{others}{}{}", KUBEADM.trim_end(), "\n".repeat(newlines));
        let edited = with_stanza(&corefile, &upstream(&["10.0.0.1"])).unwrap();
        prop_assert_eq!(without_stanza(&edited).unwrap(), corefile);
    }
}
