//! Further server blocks beside a Corefile that somebody else keeps: the ConfigMap `coredns-custom`, as k3s and AKS have it. Pure.
//!
//! Their add-on manager writes the Corefile back as it was, but the Corefile imports every `*.server` file of the other ConfigMap.
//! Ours is one key of it; the other keys are never touched.

use std::collections::BTreeMap;

use super::corefile::{self, CorefileError, Outline, Upstream};

/// The ConfigMap.
pub const NAME: &str = "coredns-custom";
/// Our key in it.
pub const KEY: &str = "tombolo.server";

/// Whether the Corefile imports server blocks from the ConfigMap.
pub fn is_imported(outline: &Outline) -> bool {
    let mut imports = outline.imports.iter();
    imports.any(|path| path.ends_with("custom/*.server"))
}

/// The ConfigMap's data with our key, given the Corefile that imports it.
///
/// # Errors
/// When the Corefile cannot be read with certainty, or another key serves a zone of ours.
pub fn with_key(
    corefile: &Outline,
    data: &BTreeMap<String, String>,
    upstream: &Upstream,
) -> Result<BTreeMap<String, String>, CorefileError> {
    corefile.refuse_others(upstream)?;
    let root = corefile.root.as_ref().ok_or(CorefileError::NoRoot)?;
    for (_, other) in data.iter().filter(|(key, _)| *key != KEY && key.ends_with(".server")) {
        corefile::outline(other)?.refuse_others(upstream)?;
    }
    let mut after = data.clone();
    after.insert(KEY.to_owned(), corefile::stanza(upstream, root));
    Ok(after)
}

/// The ConfigMap's data without our key.
pub fn without_key(data: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut after = data.clone();
    after.remove(KEY);
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    const COREFILE: &str = include_str!("golden/k3s.corefile");
    const SERVER: &str = include_str!("golden/k3s.server");

    fn upstream() -> Upstream {
        Upstream {
            zones: vec!["clusterset.local".to_owned()],
            ips: vec!["10.96.7.7".to_owned(), "fd00::7".to_owned()],
        }
    }

    fn data(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn k3s_gets_a_key_of_its_own_and_keeps_the_others() {
        let outline = corefile::outline(COREFILE).unwrap();
        assert!(is_imported(&outline));
        let before = data(&[("corp.server", "corp.example:53 {\n}\n"), ("log.override", "log")]);
        let after = with_key(&outline, &before, &upstream()).unwrap();
        assert_eq!(after.len(), 3);
        assert_eq!(after[KEY], SERVER);
        assert_eq!(with_key(&outline, &after, &upstream()).unwrap(), after);
        assert_eq!(without_key(&after), before);
    }

    #[test]
    fn a_corefile_that_imports_none_is_told() {
        let kubeadm = corefile::outline(include_str!("golden/kubeadm.before")).unwrap();
        assert!(!is_imported(&kubeadm));
        let aks = corefile::outline(".:53 {\n    import custom/*.override\n}\nimport custom/*.server\n").unwrap();
        assert!(is_imported(&aks));
    }

    #[test]
    fn another_key_that_serves_the_zone_is_left_to_its_owner() {
        let outline = corefile::outline(COREFILE).unwrap();
        let taken = data(&[("other.server", "clusterset.local:53 {\n}\n")]);
        let why = with_key(&outline, &taken, &upstream()).unwrap_err();
        assert_eq!(why, CorefileError::Taken("clusterset.local".to_owned(), 1));
        let odd = data(&[("other.server", "a.example {\n")]);
        assert_eq!(with_key(&outline, &odd, &upstream()), Err(CorefileError::Unbalanced(1)));
    }
}
