//! Whether clients on this node reach clusterset IPs.

use hostnet::{Desired, Op};
use k8s_api::condition::{Finding, VIP_NOT_TRANSLATED};
use model::NodeName;

use crate::reconcile::Outcome;

/// What the `VipNotTranslated` condition says after a round.
pub(crate) fn finding(node: &NodeName, outcome: &Outcome) -> Finding {
    let has_range = |desired: &Desired| !desired.vips.range.is_empty();
    if !outcome.desired.as_ref().is_some_and(has_range) {
        let message = format!("node {node}: the cluster has no range of clusterset IPs; `tombolo join` sets one");
        return Finding::new(VIP_NOT_TRANSLATED, true, "NoRange", message);
    }
    let mut failures = outcome.failures.iter();
    match failures.find(|failure| matches!(failure.op, Op::WriteNft(_) | Op::UpdateVips(_))) {
        Some(failure) => Finding::new(VIP_NOT_TRANSLATED, true, "NftFailed", format!("node {node}: {failure}")),
        None => Finding::new(VIP_NOT_TRANSLATED, false, "Translated", ""),
    }
}

#[cfg(test)]
mod tests {
    use hostnet::VipUpdate;
    use hostnet_linux::{ApplyError, Feature, OpError};

    use super::*;

    fn desired() -> Desired {
        let underlay = hostnet::Underlay {
            device: "eth0".into(),
            local: "192.0.2.1".parse().unwrap(),
        };
        let mut vips = hostnet::Vips::default();
        vips.range.insert("244.174.0.0/16".parse().unwrap());
        Desired {
            underlay,
            vtep: hostnet::vtep("uid"),
            peers: vec![],
            local: Default::default(),
            sources: vec![],
            clusters: Default::default(),
            gateway: false,
            vips,
            untracked: None,
            keep_source: true,
        }
    }

    #[test]
    fn what_nft_did_not_take_is_said() {
        let node = "w1".parse().unwrap();
        let reason = |outcome: &Outcome| finding(&node, outcome).reason;
        let mut outcome = Outcome::default();
        assert_eq!(reason(&outcome), "NoRange");
        outcome.desired = Some(desired());
        assert_eq!(reason(&outcome), "Translated");
        outcome.failures.push(ApplyError {
            op: Op::UpdateVips(VipUpdate::default()),
            cause: OpError::Unsupported(Feature::NftProgram),
        });
        let found = finding(&node, &outcome);
        assert_eq!((found.status, found.reason.as_str()), (Some(true), "NftFailed"));
        assert!(found.message.contains("node w1"), "{}", found.message);
    }
}
