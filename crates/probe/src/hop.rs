use std::time::{Duration, Instant};

use crate::heartbeat::{Heartbeat, Lost, Request};
use crate::message::{Message, MessageKind, Says};
use crate::pace::Pace;
use crate::path_mtu::PathMtu;
use crate::window::RttSummary;

/// The way from a node to one gateway of its own cluster, seen from the node. The gateway only answers.
#[derive(Debug)]
pub struct Hop {
    heartbeat: Heartbeat,
    path_mtu: PathMtu,
    opened: Instant,
    was_up: bool,
    says: Option<Says>,
}

impl Hop {
    /// A way over a link that takes packets of `ceiling` bytes.
    pub fn new(ceiling: u16, now: Instant) -> Self {
        Self {
            heartbeat: Heartbeat::new(Pace::STANDBY, now),
            path_mtu: PathMtu::new(ceiling, Pace::STANDBY, now),
            opened: now,
            was_up: false,
            says: None,
        }
    }

    /// How often to probe. A faster pace holds at once.
    pub fn handle_pace(&mut self, pace: Pace, now: Instant) {
        self.heartbeat.handle_pace(pace, now);
        self.path_mtu.handle_pace(pace, now);
    }

    /// What the link takes, bytes.
    pub fn handle_ceiling(&mut self, ceiling: u16, now: Instant) {
        self.path_mtu.handle_ceiling(ceiling, now);
    }

    /// A message of the gateway.
    pub fn handle_message(&mut self, message: &Message, now: Instant) {
        match message.kind {
            MessageKind::Request => {}
            MessageKind::Reply if message.size > 0 => {
                self.heartbeat.handle_heard(now);
                self.path_mtu.handle_reply(message.sequence, message.size, now);
            }
            MessageKind::Reply => match self.heartbeat.handle_reply(message.sequence, message.stamp, now) {
                None => {}
                Some(came_up) => {
                    self.was_up = true;
                    self.says = Some(message.says.clone());
                    if came_up {
                        self.path_mtu.handle_new_path(now);
                    }
                }
            },
        }
    }

    /// The gateway's kernel says that nobody listens there.
    pub fn handle_refused(&mut self, now: Instant) {
        let lost = self.heartbeat.handle_refused(now);
        self.handle_lost(lost);
    }

    /// The kernel found a probe too large for the link.
    pub fn handle_too_big(&mut self, now: Instant) {
        self.path_mtu.handle_doubt(now);
    }

    /// Lets time have its effects.
    pub fn handle_timeout(&mut self, now: Instant) {
        let lost = self.heartbeat.handle_timeout(now);
        self.handle_lost(lost);
        self.path_mtu.handle_timeout(self.heartbeat.patience(), now);
    }

    /// The probe to be sent now, if one is due. To be called until there is none.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Request> {
        if let Some(request) = self.heartbeat.poll_probe(now) {
            return Some(request);
        }
        let (sequence, size) = self.path_mtu.poll_probe(self.heartbeat.patience(), now)?;
        Some(Request {
            sequence,
            stamp: self.heartbeat.stamp(now),
            size,
        })
    }

    /// When to call again at the latest.
    pub fn poll_timeout(&self) -> Instant {
        let (probe, _) = self.heartbeat.poll_timeout();
        let size = self.path_mtu.poll_timeout(self.heartbeat.patience());
        size.map_or(probe, |size| size.min(probe))
    }

    /// What is sent for a request.
    pub fn ask(&self, request: Request, says: Says) -> Message {
        Message {
            kind: MessageKind::Request,
            sequence: request.sequence,
            stamp: request.stamp,
            size: request.size,
            is_deaf: self.heartbeat.is_deaf(),
            finds_broken: false,
            wants_size_back: false,
            says,
        }
    }

    /// Whether the gateway answers; nothing while it has not had the time for its first answer.
    pub fn is_up(&self, now: Instant) -> Option<bool> {
        let is_known = self.was_up || now >= self.opened + FIRST_ANSWER;
        is_known.then_some(self.heartbeat.is_up())
    }

    /// When [`Self::is_up`] is known at the latest.
    pub fn known_at(&self) -> Instant {
        self.opened + FIRST_ANSWER
    }

    /// Since when it answers.
    pub fn up_since(&self) -> Option<Instant> {
        self.heartbeat.up_since()
    }

    /// What the gateway last said of itself, while it answers.
    pub fn says(&self) -> Option<&Says> {
        self.says.as_ref().filter(|_| self.heartbeat.is_up())
    }

    /// The largest packet that the way takes, bytes.
    pub fn mtu(&self) -> u16 {
        self.path_mtu.mtu()
    }

    /// Times of the last probes.
    pub fn rtt(&self) -> Option<RttSummary> {
        self.heartbeat.rtt()
    }

    fn handle_lost(&mut self, lost: Option<Lost>) {
        if lost.is_some() {
            self.path_mtu.handle_down();
        }
    }
}

/// A gateway that has not answered by then is not there.
const FIRST_ANSWER: Duration = Duration::from_millis(750);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(hop: &mut Hop, at: Instant) {
        while let Some(request) = hop.poll_probe(at) {
            let reply = hop.ask(request, Says::default()).reply(Says::default());
            hop.handle_message(&reply, at);
        }
    }

    #[test]
    fn a_closed_port_is_believed_the_second_time() {
        let start = Instant::now();
        let mut hop = Hop::new(1450, start);
        assert_eq!((hop.is_up(start), hop.says()), (None, None));
        answer(&mut hop, start);
        assert_eq!(hop.is_up(start), Some(true));
        let later = start + Duration::from_secs(1);
        hop.handle_timeout(later);
        assert!(hop.poll_probe(later).is_some());
        hop.handle_refused(later);
        assert_eq!(hop.is_up(later), Some(true), "the refusal may be of the past");
        assert!(hop.poll_probe(later).is_some(), "it is asked again at once");
        hop.handle_refused(later);
        assert_eq!((hop.is_up(later), hop.says()), (Some(false), None));
    }

    #[test]
    fn a_gateway_that_never_answers_is_not_there() {
        let start = Instant::now();
        let mut hop = Hop::new(1450, start);
        assert!(hop.poll_probe(start).is_some());
        assert_eq!(hop.is_up(hop.known_at() - Duration::from_millis(1)), None);
        assert_eq!(hop.is_up(hop.known_at()), Some(false));
    }
}
