//! Which server block answers a query, and in which order its plugins are asked: `cache`, `kubernetes`, `forward`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use domain::base::Message;
use domain::base::iana::{Class, Opcode, Rcode};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::cache::Cache;
use super::config::{Config, Server};
use super::forward;
use super::reply::{self, Question, Reply};
use super::zone::Zone;

/// A Corefile at work. A new Corefile is a new resolver, with empty caches.
#[derive(Debug)]
pub(super) struct Resolver {
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    server: Server,
    /// Nothing until the cluster's objects are known.
    zone: Mutex<Option<Arc<Zone>>>,
    cache: Mutex<Cache>,
}

impl Resolver {
    pub(super) fn new(config: Config) -> Self {
        let blocks = config.servers.into_iter().map(|server| Block {
            server,
            zone: Mutex::new(None),
            cache: Mutex::default(),
        });
        Self {
            blocks: blocks.collect(),
        }
    }

    /// Makes the names of every `kubernetes` plugin anew.
    pub(super) fn set_objects(&self, services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) {
        for block in &self.blocks {
            if let Some(plugin) = &block.server.kubernetes {
                *lock(&block.zone) = Some(Arc::new(Zone::build(plugin, services, slices)));
            }
        }
    }

    /// Answers one message that came in at `port`, in at most `limit` bytes. Nothing, when it is not a query.
    pub(super) async fn respond(&self, message: &[u8], port: u16, limit: Option<usize>) -> Option<Vec<u8>> {
        let query = Message::from_slice(message).ok()?;
        if query.header().qr() {
            return None;
        }
        let reply = match reply::question(query) {
            _ if query.header().opcode() != Opcode::QUERY => Reply::of(Rcode::NOTIMP),
            None => Reply::of(Rcode::FORMERR),
            Some(question) => self.answer(&question, port).await,
        };
        Some(reply::write(
            query,
            &reply,
            limit.unwrap_or_else(|| reply::datagram_limit(query)),
        ))
    }

    async fn answer(&self, question: &Question, port: u16) -> Reply {
        let admitting = self
            .blocks
            .iter()
            .filter(|block| block.server.port == port && question.name.ends_with(&block.server.zone));
        // The most specific zone wins, wherever it stands in the file.
        let Some(block) = admitting.max_by_key(|block| block.server.zone.len()) else {
            return Reply::of(Rcode::REFUSED);
        };
        let reply = block.answer(question).await;
        if block.server.has_log {
            tracing::info!(name = %question.name, rtype = %question.rtype, rcode = %reply.rcode, "answered");
        }
        reply
    }
}

impl Block {
    async fn answer(&self, question: &Question) -> Reply {
        let limits = self.server.cache.as_ref().filter(|_| question.class == Class::IN);
        if limits.is_some()
            && let Some(reply) = lock(&self.cache).find(question, Instant::now())
        {
            return self.shuffled(reply);
        }
        let (mut reply, may_keep) = self.ask_plugins(question).await;
        if let Some(limits) = limits.filter(|_| may_keep) {
            lock(&self.cache).keep(question, &mut reply, limits, Instant::now());
        }
        self.shuffled(reply)
    }

    /// The first plugin's answer that has one, and whether it is an answer rather than the lack of one.
    async fn ask_plugins(&self, question: &Question) -> (Reply, bool) {
        if let Some(plugin) = &self.server.kubernetes {
            let is_in = plugin.zones.iter().any(|zone| question.name.ends_with(zone));
            let zone = lock(&self.zone).clone();
            match zone {
                None if is_in => return (Reply::of(Rcode::SERVFAIL), false),
                None => {}
                Some(zone) => {
                    if let Some(reply) = zone.answer(plugin, question) {
                        return (reply, true);
                    }
                }
            }
        }
        match &self.server.forward {
            Some(forward) if question.name.ends_with(&forward.from) => match forward::ask(forward, question).await {
                Some(reply) => (reply, true),
                None => (Reply::of(Rcode::SERVFAIL), false),
            },
            _ => (Reply::of(Rcode::SERVFAIL), false),
        }
    }

    fn shuffled(&self, mut reply: Reply) -> Reply {
        // A CNAME comes before what it leads to.
        let is_chain = reply
            .answer
            .iter()
            .any(|record| record.rtype() == domain::base::iana::Rtype::CNAME);
        if self.server.is_shuffled && !is_chain {
            fastrand::shuffle(&mut reply.answer);
        }
        reply
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is in there is whole after every operation, so a panic elsewhere while it was held does no harm.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
