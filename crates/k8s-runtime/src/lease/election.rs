use std::time::{Duration, Instant};

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long others leave an untouched lease to its holder. Whole seconds.
    pub duration: Duration,
    /// Time between two renewals.
    pub renew: Duration,
    /// How long after its last renewal a holder leads; shorter than `duration`.
    pub deadline: Duration,
    /// Time between two looks of a follower.
    pub look: Duration,
}

impl Timing {
    /// Five seconds: what a role can be without that the data plane moves by itself.
    pub const SHORT: Self = Self {
        duration: Duration::from_secs(5),
        renew: Duration::from_millis(1500),
        deadline: Duration::from_secs(4),
        look: Duration::from_millis(500),
    };
}

/// What a holder does when it cannot renew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSilence {
    /// It stops at its deadline, before another may begin: the role must never be held twice.
    Stop,
    /// It goes on until it sees another holder: the role is better held twice for a moment, which the epoch settles, than by nobody.
    Freeze,
}

/// A lease as the API server keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Who holds it, if anybody.
    pub holder: Option<String>,
    /// How often it has changed hands.
    pub transitions: u64,
    /// How long its holder wants it left alone; none if it does not say.
    pub duration: Option<Duration>,
}

/// The version of a lease object; none while there is no object.
pub type Version = Option<String>;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing before this time.
    Wait(Instant),
    /// Read the lease and tell [`Election::handle_read`].
    Read,
    /// Write this over the version named, and tell [`Election::handle_written`], [`Election::handle_conflict`] or
    /// [`Election::handle_failure`].
    Write(Record, Version),
}

/// Who leads, as far as this candidate knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Whether it is this candidate.
    pub leads: bool,
    /// The epoch: of its own leading if it leads, else the last one seen.
    pub epoch: u64,
    /// The holder last seen.
    pub holder: Option<String>,
    /// Whether anybody could have it: it was given back, or its holder has gone silent.
    pub is_free: bool,
    /// Whether it leads only because it cannot ask.
    pub is_frozen: bool,
    /// Whether the lease was read at all: before that, nothing here means anything.
    pub is_known: bool,
}

/// One candidate in one election.
#[derive(Debug)]
pub struct Election {
    me: String,
    timing: Timing,
    on_silence: OnSilence,
    is_candidate: bool,
    seen: Option<Seen>,
    /// When the write that made or kept us the holder was sent.
    renewed: Option<Instant>,
    epoch: u64,
    next: Instant,
    is_known: bool,
}

/// The lease as last seen.
#[derive(Debug)]
struct Seen {
    record: Record,
    version: Version,
    /// When this version was seen first.
    since: Instant,
}

impl Election {
    /// A candidate that knows nothing yet.
    pub fn new(me: impl Into<String>, timing: Timing, on_silence: OnSilence, now: Instant) -> Self {
        Self {
            me: me.into(),
            timing,
            on_silence,
            is_candidate: false,
            seen: None,
            renewed: None,
            epoch: 0,
            next: now,
            is_known: false,
        }
    }

    /// Stands for the election, or no longer. A holder that no longer does gives the lease back.
    pub fn set_candidate(&mut self, is_candidate: bool, now: Instant) {
        if self.is_candidate != is_candidate {
            self.is_candidate = is_candidate;
            self.next = now;
        }
    }

    /// What to do now.
    pub fn poll(&self, now: Instant) -> Action {
        if now < self.next {
            return Action::Wait(self.next);
        }
        let Some(seen) = &self.seen else {
            return Action::Read;
        };
        if self.is_mine(seen) {
            return Action::Write(self.proposal(seen, self.is_candidate), seen.version.clone());
        }
        if self.is_candidate && self.is_free(seen, now) {
            return Action::Write(self.proposal(seen, true), seen.version.clone());
        }
        Action::Read
    }

    /// The lease was read.
    pub fn handle_read(&mut self, record: Record, version: Version, now: Instant) {
        self.is_known = true;
        self.epoch = self.epoch.max(record.transitions);
        let is_known = self.seen.as_ref().is_some_and(|seen| seen.version == version);
        if !is_known {
            self.seen = Some(Seen {
                record,
                version,
                since: now,
            });
        }
        let Some(seen) = &self.seen else { return };
        let act_at_once = self.is_mine(seen) || (self.is_candidate && self.is_free(seen, now));
        if !self.is_mine(seen) {
            self.renewed = None;
        }
        self.next = if act_at_once { now } else { self.next_look(now) };
    }

    /// Our write, sent at `sent`, was accepted and has this version now.
    pub fn handle_written(&mut self, record: Record, version: Version, sent: Instant, now: Instant) {
        self.epoch = self.epoch.max(record.transitions);
        let is_mine = record.holder.as_ref() == Some(&self.me);
        self.renewed = is_mine.then_some(sent);
        self.seen = Some(Seen {
            record,
            version,
            since: now,
        });
        self.next = if is_mine {
            sent + self.timing.renew
        } else {
            now + self.timing.look
        };
    }

    /// Our write was refused, because the lease changed meanwhile.
    pub fn handle_conflict(&mut self, now: Instant) {
        self.seen = None;
        self.next = now;
    }

    /// There was no answer, or an error. If it was a write, it may have been carried out: then the next one, over the version that
    /// we know, is refused.
    pub fn handle_failure(&mut self, now: Instant) {
        self.next = now + self.timing.look;
    }

    /// Who leads now.
    pub fn standing(&self, now: Instant) -> Standing {
        let in_time = |renewed: Instant| now < renewed + self.timing.deadline;
        let leads = self
            .renewed
            .is_some_and(|renewed| self.on_silence == OnSilence::Freeze || in_time(renewed));
        Standing {
            leads,
            epoch: self.epoch,
            holder: match &self.seen {
                Some(seen) => seen.record.holder.clone(),
                None => leads.then(|| self.me.clone()),
            },
            is_free: (self.seen.as_ref()).is_some_and(|seen| !self.is_mine(seen) && self.is_free(seen, now)),
            is_frozen: leads && !self.renewed.is_some_and(in_time),
            is_known: self.is_known,
        }
    }

    /// When the standing changes by itself, if it does.
    pub fn standing_ends(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timing.deadline)
    }

    /// The write that gives the lease back, if we hold it.
    pub fn release(&self) -> Option<(Record, Version)> {
        let seen = self.seen.as_ref().filter(|seen| self.is_mine(seen))?;
        Some((self.proposal(seen, false), seen.version.clone()))
    }

    fn is_mine(&self, seen: &Seen) -> bool {
        seen.record.holder.as_ref() == Some(&self.me)
    }

    fn is_free(&self, seen: &Seen, now: Instant) -> bool {
        match &seen.record.holder {
            None => true,
            Some(_) => now >= seen.since + seen.record.duration.unwrap_or(self.timing.duration),
        }
    }

    /// The next look; no later than the moment at which the lease becomes free.
    fn next_look(&self, now: Instant) -> Instant {
        let look = now + self.timing.look;
        match &self.seen {
            Some(seen) if self.is_candidate => {
                look.min(seen.since + seen.record.duration.unwrap_or(self.timing.duration))
            }
            _ => look,
        }
    }

    fn proposal(&self, seen: &Seen, hold: bool) -> Record {
        let changes_hands = hold && !self.is_mine(seen);
        Record {
            holder: hold.then(|| self.me.clone()),
            // The lease may have been deleted and made anew: the epoch never goes back.
            transitions: self.epoch.max(seen.record.transitions) + u64::from(changes_hands),
            duration: Some(self.timing.duration),
        }
    }
}
