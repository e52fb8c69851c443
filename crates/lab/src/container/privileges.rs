//! Takes privileges away, for good.

use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

use super::Privileges;

/// Leaves the calling thread with exactly these.
///
/// As with a container runtime, another user than root starts with none of the capabilities in effect; they only bound what
/// a program with file capabilities could gain.
pub(super) fn reduce(privileges: &Privileges) -> anyhow::Result<()> {
    let own = capabilities(None).context("cannot read the capabilities")?.permitted;
    let kept = if privileges.is_privileged {
        own
    } else {
        parse(&privileges.capabilities)? & own
    };

    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel's last capability was the one before.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error).context("cannot bound the capabilities"),
        }
    }
    clear_ambient_capability_set().context("cannot clear the ambient capabilities")?;

    let groups: Vec<Gid> = privileges
        .supplementary_groups
        .iter()
        .copied()
        .map(Gid::from_raw)
        .collect();
    setgroups(&groups).context("cannot set the supplementary groups")?;
    setgid(Gid::from_raw(privileges.group)).with_context(|| format!("cannot be of group {}", privileges.group))?;
    setuid(Uid::from_raw(privileges.user)).with_context(|| format!("cannot be user {}", privileges.user))?;

    let in_effect = if privileges.user == 0 {
        kept
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: in_effect,
        permitted: in_effect,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).context("cannot give the capabilities up")?;
    if privileges.is_final {
        set_no_new_privs(true).context("cannot rule new privileges out")?;
    }
    Ok(())
}

fn parse(names: &[String]) -> anyhow::Result<CapabilitySet> {
    let mut set = CapabilitySet::empty();
    for name in names {
        let Some(capability) = CapabilitySet::from_name(name) else {
            bail!("the kernel knows no capability '{name}'; securityContext.capabilities takes names without CAP_");
        };
        set |= capability;
    }
    Ok(set)
}
