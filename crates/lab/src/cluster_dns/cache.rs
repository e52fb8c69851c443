//! The `cache` plugin: answers, kept for as long as their TTLs and the Corefile's bounds say. Time is a parameter.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use domain::base::iana::Rcode;
use domain::rdata::ZoneRecordData;

use super::config::{Bounds, CacheLimits};
use super::reply::{Question, Reply};

#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Question, Entry>,
}

#[derive(Debug)]
struct Entry {
    reply: Reply,
    expires: Instant,
}

impl Cache {
    /// The answer kept for this question, with what is left of its TTL.
    pub(super) fn find(&self, question: &Question, now: Instant) -> Option<Reply> {
        let entry = self.entries.get(question)?;
        let left = entry
            .expires
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())?;
        let mut reply = entry.reply.clone();
        reply.is_authoritative = false;
        // Rounded up, or the last second would be a TTL of zero.
        reply.set_ttl(u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX));
        Some(reply)
    }

    /// Keeps an answer if it may be kept, and gives it the TTL that it is kept for.
    pub(super) fn keep(&mut self, question: &Question, reply: &mut Reply, limits: &CacheLimits, now: Instant) {
        let Some(lifetime) = lifetime(question, reply, limits) else {
            return;
        };
        if reply.rcode != Rcode::SERVFAIL {
            reply.set_ttl(u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX));
        }
        if lifetime.is_zero() {
            return;
        }
        if self.entries.len() >= CAPACITY {
            self.entries.retain(|_, entry| entry.expires > now);
        }
        if self.entries.len() < CAPACITY {
            self.entries.insert(
                question.clone(),
                Entry {
                    reply: reply.clone(),
                    expires: now + lifetime,
                },
            );
        }
    }
}

/// How long an answer is kept, or nothing when it is none of the cache's business.
fn lifetime(question: &Question, reply: &Reply, limits: &CacheLimits) -> Option<Duration> {
    let is_in = |zones: &[domain::base::Name<Vec<u8>>]| zones.iter().any(|zone| question.name.ends_with(zone));
    if reply.rcode == Rcode::SERVFAIL {
        return Some(limits.failure);
    }
    let (bounds, excepted) = if reply.is_denial() {
        (limits.denial, &limits.never_denial)
    } else if reply.rcode == Rcode::NOERROR {
        (limits.success, &limits.never_success)
    } else {
        return None;
    };
    (!is_in(excepted)).then(|| bound(least_ttl(reply), bounds))
}

/// The upper bound wins over the lower, as in CoreDNS.
fn bound(ttl: u32, bounds: Bounds) -> Duration {
    Duration::from_secs(u64::from(ttl.max(bounds.min).min(bounds.max)))
}

fn least_ttl(reply: &Reply) -> u32 {
    let records = reply.answer.iter().chain(&reply.authority).chain(&reply.additional);
    let ttls = records.map(|record| {
        let ttl = record.ttl().as_secs();
        match record.data() {
            // RFC 2308 §5: a denial lives for the lesser of the SOA's TTL and its minimum field.
            ZoneRecordData::Soa(soa) if reply.is_denial() => ttl.min(soa.minimum().as_secs()),
            _ => ttl,
        }
    });
    ttls.min().unwrap_or(UNSAID)
}

/// What CoreDNS takes an answer without any record to mean, in seconds.
const UNSAID: u32 = 5;
const CAPACITY: usize = 9984;
