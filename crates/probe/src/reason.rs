use std::net::SocketAddr;

/// Why a cable is not connected, or not wholly: a closed list, so that every entry can be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No address is known, so only the other side can begin.
    NoAddress,
    /// The other side begins, and has not yet.
    WaitingForPeer,
    /// The handshake is on its way.
    Starting,
    /// Handshakes went out and none was answered.
    NoHandshake,
    /// The kernel does not send our handshakes.
    UdpBlocked,
    /// The other end uses another key than it publishes.
    PeerKeyChanged,
    /// The handshake was answered, and the first probe is on its way.
    Probing,
    /// The handshake was answered, probes are not.
    NoReply,
    /// We hear the other end, and it does not hear us.
    OneWay,
    /// Small packets pass and large ones do not.
    MtuBlackHole,
    /// The cable works, and what leaves the gateway behind it does not arrive.
    ForwardingBroken,
    /// Some of the cable's lanes carry nothing.
    LaneDown,
    /// A firewall drops packets that connection tracking does not know.
    UntrackedDropped,
    /// Handshakes are refused because clocks went back.
    ClockSkew,
    /// Only standby gateways of the other cluster answer.
    StandbyOnly,
    /// What is known of the other cluster is old.
    BrokerStale,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::NoAddress,
        Self::WaitingForPeer,
        Self::Starting,
        Self::NoHandshake,
        Self::UdpBlocked,
        Self::PeerKeyChanged,
        Self::Probing,
        Self::NoReply,
        Self::OneWay,
        Self::MtuBlackHole,
        Self::ForwardingBroken,
        Self::LaneDown,
        Self::UntrackedDropped,
        Self::ClockSkew,
        Self::StandbyOnly,
        Self::BrokerStale,
    ];

    /// Its name in a status.
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// What is wrong, in one sentence.
    pub fn sentence(self) -> &'static str {
        self.entry().1
    }

    /// What to do about it; empty where waiting is all.
    pub fn mend(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NoAddress => (
                "NoAddress",
                "no address is known for it",
                "it must start the handshake itself, or publish an address",
            ),
            Self::WaitingForPeer => ("WaitingForPeer", "waiting for it to start the handshake", ""),
            Self::Starting => ("Starting", "starting the handshake", ""),
            Self::NoHandshake => (
                "NoHandshake",
                "no handshake answer",
                "check that UDP reaches it and that its key is current",
            ),
            Self::UdpBlocked => (
                "UdpBlocked",
                "this node does not send our UDP datagrams",
                "check its routes and its firewall",
            ),
            Self::PeerKeyChanged => (
                "PeerKeyChanged",
                "it uses another key than it publishes",
                "check that both clusters reach the broker",
            ),
            Self::Probing => ("Probing", "handshake done, waiting for the first probe reply", ""),
            Self::NoReply => (
                "NoReply",
                "handshake done but no probe reply",
                "check that its agent runs and that nothing drops UDP on the way back",
            ),
            Self::OneWay => (
                "OneWay",
                "it is heard, and does not hear us",
                "check what drops UDP on the way to it",
            ),
            Self::MtuBlackHole => (
                "MtuBlackHole",
                "large packets are lost on the way and nobody says so",
                "look for a firewall that drops by size, or a link of a smaller MTU, on the node that is named",
            ),
            Self::ForwardingBroken => (
                "ForwardingBroken",
                "the cable works, but packets do not get past the gateway",
                "check IP forwarding and the firewall on that gateway's node",
            ),
            Self::LaneDown => (
                "LaneDown",
                "some lanes carry nothing, and the first carries their flows too",
                "check what drops UDP by its source port: every lane has one of its own",
            ),
            Self::UntrackedDropped => (
                "UntrackedDropped",
                "a firewall drops packets that connection tracking does not know",
                "let it accept packets between the clusters' prefixes",
            ),
            Self::ClockSkew => (
                "ClockSkew",
                "handshakes are refused because the clock of their sender went back",
                "set the clocks of both gateway nodes",
            ),
            Self::StandbyOnly => (
                "StandbyOnly",
                "only standby gateways of that cluster answer",
                "check the gateway that it calls active",
            ),
            Self::BrokerStale => (
                "BrokerStale",
                "what is known of it is old",
                "check the way to the broker",
            ),
        }
    }
}

/// A reason with what is known of the case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) reason: Reason,
    /// Where handshakes went.
    pub(crate) targets: &'a [SocketAddr],
    pub(crate) tries: u32,
    pub(crate) send_error: Option<&'a str>,
    pub(crate) remote: Option<SocketAddr>,
    /// It worked before.
    pub(crate) was_connected: bool,
}

impl Case<'_> {
    /// For a person.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        if self.was_connected {
            text += "connection lost; ";
        }
        text += self.reason.sentence();
        match self.reason {
            Reason::NoHandshake | Reason::UdpBlocked => {
                let way = if self.reason == Reason::UdpBlocked {
                    "to"
                } else {
                    "from"
                };
                text += &format!(
                    " {way} {} after {}",
                    join(self.targets),
                    count(self.tries, "try", "tries")
                );
                if let Some(error) = self.send_error {
                    text += &format!(" (last send: {error})");
                }
            }
            Reason::NoReply => {
                text += &self.remote.map(|remote| format!(" from {remote}")).unwrap_or_default();
                text += " in 3 s";
            }
            _ => {}
        }
        if !self.reason.mend().is_empty() {
            text = format!("{text}: {}", self.reason.mend());
        }
        text
    }
}

fn join(targets: &[SocketAddr]) -> String {
    targets.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn count(n: u32, one: &str, many: &str) -> String {
    let n = coarse(n);
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The largest of 1, 2, 5, 10, 20, 50 … that is not above `n`.
fn coarse(n: u32) -> u32 {
    let mut step = 1u32;
    while let Some(ten) = step.checked_mul(10).filter(|ten| *ten <= n) {
        step = ten;
    }
    match n / step {
        0 => 0,
        1 => step,
        2..=4 => step * 2,
        _ => step * 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_coarse() {
        let coarsened: Vec<u32> = [0, 1, 2, 4, 5, 9, 10, 19, 20, 49, 50, 999, 1000, u32::MAX]
            .map(coarse)
            .to_vec();
        assert_eq!(
            coarsened,
            [0, 1, 2, 2, 5, 5, 10, 10, 20, 20, 50, 500, 1000, 2_000_000_000]
        );
    }

    #[test]
    fn the_reason_names_the_addresses_and_the_mend() {
        let targets = [
            "192.0.2.20:4510".parse().unwrap(),
            "[2001:db8::1]:4510".parse().unwrap(),
        ];
        let case = Case {
            reason: Reason::NoHandshake,
            targets: &targets,
            tries: 12,
            send_error: None,
            remote: None,
            was_connected: false,
        };
        assert_eq!(
            case.describe(),
            "no handshake answer from 192.0.2.20:4510, [2001:db8::1]:4510 after 10 tries: check that UDP reaches it and that \
             its key is current",
        );
    }

    #[test]
    fn every_reason_has_its_own_name_and_sentence() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        let sentences: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.sentence()).collect();
        assert_eq!((names.len(), sentences.len()), (Reason::ALL.len(), Reason::ALL.len()));
        for reason in Reason::ALL {
            assert_eq!(format!("{reason:?}"), reason.name());
        }
    }
}
