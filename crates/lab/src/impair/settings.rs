//! What is wrong with a link, one direction at a time.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::quantity::{Percent, Rate};

/// A link's settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Settings {
    /// From the host.
    pub(crate) out: Impairment,
    /// To the host.
    #[serde(rename = "in")]
    pub(crate) into: Impairment,
    /// The hosts behind the link share one address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nat: Option<NatSettings>,
}

/// One direction's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Impairment {
    /// Added to every packet's way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay: Option<Duration>,
    /// Up to so much more, evenly distributed; packets keep their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jitter: Option<Duration>,
    /// So many vanish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loss: Option<Percent>,
    /// So many are held back while others overtake them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reorder: Option<Percent>,
    /// So many arrive twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duplicate: Option<Percent>,
    /// No more than this passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<Rate>,
    /// Larger IP packets do not pass; nothing is fragmented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u16>,
    /// Their senders are not told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_silent: bool,
}

/// The hosts behind a link as the others see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NatSettings {
    /// Who may answer.
    pub(crate) kind: NatKind,
    /// The address that they share.
    pub(crate) outside: Ipv4Addr,
}

/// The classic kinds (RFC 3489 §5): who may send to an outside port that a host has opened by sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NatKind {
    /// Anybody
    FullCone,
    /// Every address to which the host has sent
    AddressRestricted,
    /// Every address and port to which the host has sent
    PortRestricted,
    /// The same, and every such address and port sees another outside port
    Symmetric,
}

impl Impairment {
    /// With another's settings on top.
    #[must_use]
    pub(crate) fn with(self, other: &Self) -> Self {
        Self {
            delay: other.delay.or(self.delay),
            jitter: other.jitter.or(self.jitter),
            loss: other.loss.or(self.loss),
            reorder: other.reorder.or(self.reorder),
            duplicate: other.duplicate.or(self.duplicate),
            rate: other.rate.or(self.rate),
            mtu: other.mtu.or(self.mtu),
            // Belongs to the MTU, and is replaced with it.
            is_silent: if other.mtu.is_some() {
                other.is_silent
            } else {
                self.is_silent
            },
        }
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        let mut word = |name: &str, value: Option<String>| words.extend(value.map(|value| format!("{name} {value}")));
        word("delay", self.delay.map(|time| format!("{time:?}")));
        word("jitter", self.jitter.map(|time| format!("{time:?}")));
        word("loss", self.loss.map(|share| share.to_string()));
        word("reorder", self.reorder.map(|share| share.to_string()));
        word("duplicate", self.duplicate.map(|share| share.to_string()));
        word("rate", self.rate.map(|rate| rate.to_string()));
        word("mtu", self.mtu.map(|mtu| mtu.to_string()));
        if self.is_silent {
            words.push("without ICMP".to_owned());
        }
        f.write_str(&words.join(", "))
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.out == self.into {
            parts.push(self.out.to_string());
        } else {
            for (name, direction) in [("out", &self.out), ("in", &self.into)] {
                let text = direction.to_string();
                if !text.is_empty() {
                    parts.push(format!("{name}: {text}"));
                }
            }
        }
        if let Some(nat) = self.nat {
            let kind = nat.kind.to_possible_value();
            let kind = kind.as_ref().map_or("", |kind| kind.get_name());
            parts.push(format!("NAT {kind} behind {}", nat.outside));
        }
        parts.retain(|part| !part.is_empty());
        f.write_str(if parts.is_empty() { "nothing yet" } else { "" })?;
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_replaces_its_like_and_keeps_the_rest() {
        let before = Impairment {
            delay: Some(Duration::from_millis(150)),
            mtu: Some(1300),
            is_silent: true,
            ..Impairment::default()
        };
        let loss = Impairment {
            loss: "2".parse().ok(),
            ..Impairment::default()
        };
        let both = before.with(&loss);
        assert_eq!(both.to_string(), "delay 150ms, loss 2%, mtu 1300, without ICMP");
        let told = Impairment {
            mtu: Some(1400),
            ..Impairment::default()
        };
        assert_eq!(both.with(&told).to_string(), "delay 150ms, loss 2%, mtu 1400");
    }

    #[test]
    fn settings_survive_their_file() {
        let settings = Settings {
            into: Impairment {
                rate: "1mbit".parse().ok(),
                ..Impairment::default()
            },
            nat: Some(NatSettings {
                kind: NatKind::PortRestricted,
                outside: Ipv4Addr::new(192, 0, 2, 17),
            }),
            ..Settings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
        assert_eq!(
            settings.to_string(),
            "in: rate 1mbit; NAT port-restricted behind 192.0.2.17"
        );
    }
}
