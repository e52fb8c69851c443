use std::net::SocketAddr;

/// What stands between a cable and `Connected`, for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason<'a> {
    /// No address is known, so only the other side can begin.
    NoAddress,
    /// The other side begins, and has not yet.
    WaitingForPeer,
    /// The handshake is on its way.
    Starting,
    /// Handshakes went out and none was answered.
    NoHandshake {
        targets: &'a [SocketAddr],
        tries: u32,
        send_error: Option<&'a str>,
    },
    /// The handshake was answered, probes are not.
    NoReply { remote: Option<SocketAddr> },
    /// The first probe is on its way.
    Probing,
}

impl Reason<'_> {
    /// `was_connected` says that the cable worked before.
    pub(crate) fn describe(self, was_connected: bool) -> String {
        let now = match self {
            Self::NoAddress => {
                "no address is known for it: it must start the handshake itself, or publish an address".to_owned()
            }
            Self::WaitingForPeer => "waiting for it to start the handshake".to_owned(),
            Self::Starting => "starting the handshake".to_owned(),
            Self::NoHandshake {
                targets,
                tries,
                send_error,
            } => {
                let error = send_error
                    .map(|error| format!(" (last send: {error})"))
                    .unwrap_or_default();
                format!(
                    "no handshake answer from {} after {}{error}: check that UDP reaches it and that its key is current",
                    join(targets),
                    count(tries, "try", "tries"),
                )
            }
            Self::NoReply { remote } => {
                let from = remote.map(|remote| format!(" from {remote}")).unwrap_or_default();
                format!("handshake done but no probe reply{from} in 3 s")
            }
            Self::Probing => "handshake done, waiting for the first probe reply".to_owned(),
        };
        if was_connected {
            format!("connection lost; {now}")
        } else {
            now
        }
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
        let reason = Reason::NoHandshake {
            targets: &targets,
            tries: 12,
            send_error: None,
        };
        assert_eq!(
            reason.describe(false),
            "no handshake answer from 192.0.2.20:4510, [2001:db8::1]:4510 after 10 tries: check that UDP reaches it and that \
             its key is current",
        );
    }
}
