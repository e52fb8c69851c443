//! What deep probes mean: for the peers of this gateway by its own, and for this gateway by those of others.

use std::time::{Duration, Instant};

use clusterset::claims;
use model::{Connection, ConnectionState, Snapshot};
use probe::{Direction, Fault, Reason};
use tunnel::CableStatus;

use crate::deep::{Found, Target, Targets};

/// The time in which a gateway that was called broken leaves the role to others.
#[derive(Debug, Default)]
pub(crate) struct Convalescence {
    called_broken: Option<Instant>,
}

impl Convalescence {
    /// Listens to what the peers say now.
    pub(crate) fn take(&mut self, cables: &[CableStatus], now: Instant) {
        if cables.iter().any(|cable| cable.calls_us_broken) {
            if !self.lasts(now) {
                tracing::warn!("another cluster finds that packets get lost behind this gateway: it steps back");
            }
            self.called_broken = Some(now);
        }
    }

    /// Whether it still has to recover.
    pub(crate) fn lasts(&self, now: Instant) -> bool {
        self.called_broken
            .is_some_and(|at| now.saturating_duration_since(at) < CONVALESCENCE)
    }
}

/// Nodes behind the peers in use, as far as they are in prefixes of the peer's own cluster.
pub(crate) fn targets(snapshot: &Snapshot, cables: &[CableStatus]) -> Targets {
    let used = cables
        .iter()
        .filter(|cable| cable.is_used && cable.connection.state == ConnectionState::Connected);
    let accepted = claims::accepted(snapshot);
    used.filter_map(|cable| {
        let remote = &cable.connection.remote;
        let prefixes = accepted.get(&remote.cluster)?;
        let nodes = cable.addresses.iter().copied().filter(|node| prefixes.contains(*node));
        let target = Target {
            nodes: nodes.collect(),
            size: cable.connection.mtu?,
            whole_at: cable.whole_at,
        };
        Some((remote.clone(), target))
    })
    .collect()
}

/// A cable behind which packets get lost is not wholly good, however well it answers itself.
pub(crate) fn with_verdict(connection: Connection, found: &Found) -> Connection {
    let Some(fault) = found.faults.get(&connection.remote).copied() else {
        return connection;
    };
    if connection.state != ConnectionState::Connected {
        return connection;
    }
    let remote = &connection.remote;
    let (reason, case) = match fault {
        Fault::Forwarding => (
            Reason::ForwardingBroken,
            format!("no node behind {remote} answers, though {remote} does"),
        ),
        Fault::BlackHole { size, direction } => {
            let way = match direction {
                Direction::There => format!("on the way from {remote} to its nodes"),
                Direction::Back => format!("on the way from its nodes to {remote}"),
            };
            let case = format!("packets of {size} bytes get lost {way}, smaller ones pass");
            (Reason::MtuBlackHole, case)
        }
    };
    Connection {
        state: ConnectionState::Degraded,
        reason: Some(reason.name().to_owned()),
        message: format!("{} ({case}): {}", reason.sentence(), reason.mend()),
        ..connection
    }
}

const CONVALESCENCE: Duration = Duration::from_secs(60);
