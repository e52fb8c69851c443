//! From a securityContext to privileges: as container runtimes read it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Capabilities, Container, Pod};

use crate::container::Privileges;

/// What a container may.
pub(super) fn privileges(pod: &Pod, container: &Container) -> Privileges {
    let of_pod = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.clone())
        .unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    // The lab's images are built for root; without a word on the user, that is who runs.
    let user = own.run_as_user.or(of_pod.run_as_user).unwrap_or(0);
    let group = own.run_as_group.or(of_pod.run_as_group).unwrap_or(0);
    let groups = of_pod
        .supplemental_groups
        .iter()
        .flatten()
        .chain(of_pod.fs_group.iter());
    Privileges {
        user: id(user),
        group: id(group),
        supplementary_groups: groups.copied().map(id).collect(),
        capabilities: capabilities(own.capabilities.as_ref()),
        is_final: own.allow_privilege_escalation == Some(false),
        is_privileged: own.privileged == Some(true),
    }
}

/// The default set, less what is dropped, plus what is added. What is dropped and added is there, and `ALL` is everything.
fn capabilities(change: Option<&Capabilities>) -> Vec<String> {
    let names = |list: Option<&Vec<String>>| -> BTreeSet<String> {
        list.into_iter()
            .flatten()
            .map(|name| name.to_uppercase().trim_start_matches("CAP_").to_owned())
            .collect()
    };
    let (drop, add) = (
        names(change.and_then(|c| c.drop.as_ref())),
        names(change.and_then(|c| c.add.as_ref())),
    );
    let mut set: BTreeSet<String> = DEFAULT.iter().map(|name| (*name).to_owned()).collect();
    if add.contains(ALL) {
        set.extend(EVERY.iter().map(|name| (*name).to_owned()));
    }
    if drop.contains(ALL) {
        set.clear();
    }
    set.retain(|name| !drop.contains(name));
    set.extend(add.into_iter().filter(|name| name != ALL));
    set.into_iter().collect()
}

/// The API admits 0 to 2³¹ − 1 only.
fn id(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX - 1)
}

const ALL: &str = "ALL";

/// What containerd gives when nothing is said.
const DEFAULT: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The rest of capabilities(7).
const EVERY: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "PERFMON",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn set(drop: &[&str], add: &[&str]) -> Vec<String> {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        capabilities(Some(&Capabilities {
            drop: names(drop),
            add: names(add),
        }))
    }

    #[test]
    fn dropping_all_and_adding_some_leaves_those() {
        assert_eq!(set(&["ALL"], &["NET_ADMIN", "CAP_NET_RAW"]), ["NET_ADMIN", "NET_RAW"]);
        assert_eq!(set(&["all"], &[]), [""; 0]);
    }

    #[test]
    fn a_change_is_to_the_default_set() {
        assert_eq!(capabilities(None), DEFAULT);
        assert!(!set(&["NET_RAW"], &[]).contains(&"NET_RAW".to_owned()));
        assert_eq!(set(&[], &["NET_ADMIN"]).len(), DEFAULT.len() + 1);
    }

    #[test]
    fn all_less_one() {
        let names = set(&["SYS_ADMIN"], &["ALL"]);
        assert_eq!(names.len(), DEFAULT.len() + EVERY.len() - 1);
        assert!(!names.contains(&"SYS_ADMIN".to_owned()));
    }
}
