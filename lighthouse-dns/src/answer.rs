//! From a query to its response: a pure function of the bytes, the view, and a turn counter.
//!
//! What the zone holds is decided in [`clusterset::dns`]; here is only what DNS makes of it: RFC 1034/1035 answers and
//! negative answers with the zone's SOA (RFC 2308), RFC 8020 (nothing exists below a name that does not), EDNS (RFC 6891), and
//! truncation by the size that the client can take. The question's letters come back as they were asked.

use clusterset::dns::{Records, ZoneView};
use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::message_builder::{AnswerBuilder, MessageBuilder};
use domain::base::name::{Name, ParsedName, ToLabelIter};
use domain::base::wire::ParseError;
use domain::base::{Message, Question, Serial, StaticCompressor, Ttl};
use domain::rdata::{A, Aaaa, Ns, Soa, Txt};
use model::Family;

/// How the query came, which bounds the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// At most 512 bytes, or what EDNS offers, up to [`MAX_UDP_PAYLOAD`].
    Udp,
    /// At most 65,535 bytes.
    Tcp,
}

/// The view that answers come from, and how to speak of it.
#[derive(Debug, Clone)]
pub struct Zone {
    origin: Name<Vec<u8>>,
    /// None until there was ever a view: everything is SERVFAIL then.
    view: Option<ZoneView>,
    serial: Serial,
    ttl: Ttl,
}

impl Zone {
    /// A zone of this name. `serial` grows with every view.
    ///
    /// # Errors
    /// When the name is not a domain name.
    pub fn new(origin: &str, view: Option<ZoneView>, serial: u32, ttl: u32) -> Result<Self, InvalidZone> {
        let origin: Name<Vec<u8>> = Name::vec_from_str(origin).map_err(|_| InvalidZone(origin.to_owned()))?;
        Ok(Self {
            origin,
            view,
            serial: Serial(serial),
            ttl: Ttl::from_secs(ttl),
        })
    }
}

/// A text that is not the name of a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("zone \"{0}\" is not a domain name; write one such as clusterset.local")]
pub struct InvalidZone(pub String);

/// What happened, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Records were given.
    Answered,
    /// The name exists without records of this type.
    NoData,
    /// The name does not exist, or nothing behind it is live.
    NxDomain,
    /// The name is not of our zone.
    Refused,
    /// There is no view yet.
    ServFail,
    /// The query is malformed.
    FormErr,
    /// We do not do this.
    NotImp,
    /// EDNS of a version that we do not speak.
    BadVers,
}

impl Outcome {
    /// All of them, so that metrics exist before they happen.
    pub const ALL: [Self; 8] = [
        Self::Answered,
        Self::NoData,
        Self::NxDomain,
        Self::Refused,
        Self::ServFail,
        Self::FormErr,
        Self::NotImp,
        Self::BadVers,
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NoData => "nodata",
            Self::NxDomain => "nxdomain",
            Self::Refused => "refused",
            Self::ServFail => "servfail",
            Self::FormErr => "formerr",
            Self::NotImp => "notimp",
            Self::BadVers => "badvers",
        }
    }
}

/// Largest response over UDP: what passes any path without fragments (DNS flag day 2020).
pub const MAX_UDP_PAYLOAD: u16 = 1232;

/// Answers a query. `turn` grows by one a query, so that answers rotate. `None` means that nothing is to be sent: the datagram
/// is too short to be answered, or is itself a response.
pub fn answer(query: &[u8], zone: &Zone, transport: Transport, turn: usize) -> Option<(Vec<u8>, Outcome)> {
    let query = Message::from_octets(query).ok()?;
    if query.header().qr() {
        return None;
    }
    let size = response_size(&query, transport);
    let reply = Reply {
        query: &query,
        zone,
        size,
        turn,
    };
    Some(reply.respond())
}

/// How large the response may be.
fn response_size(query: &Message<&[u8]>, transport: Transport) -> usize {
    match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => usize::from(
            query
                .opt()
                .map_or(512, |opt| opt.udp_payload_size().clamp(512, MAX_UDP_PAYLOAD)),
        ),
    }
}

struct Reply<'a> {
    query: &'a Message<&'a [u8]>,
    zone: &'a Zone,
    size: usize,
    turn: usize,
}

/// What stands in the answer section.
enum Content {
    Addresses(Vec<std::net::IpAddr>),
    Soa,
    Ns,
    Text(&'static str),
}

enum Verdict {
    Positive(Content),
    /// The SOA's negative TTL goes with it.
    Negative(Outcome, Ttl),
    Failure(Outcome),
}

type Target = StaticCompressor<Vec<u8>>;
type QueryName<'a> = ParsedName<&'a [u8]>;

impl Reply<'_> {
    fn respond(&self) -> (Vec<u8>, Outcome) {
        let question = self.question();
        let verdict = match &question {
            Err(outcome) => Verdict::Failure(*outcome),
            Ok(question) => self.judge(question),
        };
        let outcome = match &verdict {
            Verdict::Positive(_) => Outcome::Answered,
            Verdict::Negative(outcome, _) | Verdict::Failure(outcome) => *outcome,
        };
        let message = self
            .build(question.ok().as_ref(), &verdict, outcome, self.size)
            .unwrap_or_else(|| {
                // It does not fit: an empty response that says so. A header, a question and an OPT always fit in 512 bytes.
                self.truncated(outcome)
            });
        (message, outcome)
    }

    /// The one question of a query that we can answer.
    fn question(&self) -> Result<Question<QueryName<'_>>, Outcome> {
        let header = self.query.header();
        if header.opcode() != Opcode::QUERY {
            return Err(Outcome::NotImp);
        }
        let question = self.query.sole_question().map_err(|_: ParseError| Outcome::FormErr)?;
        // Walks the whole message, so that trailing rubbish is told from a query.
        let is_whole = self
            .query
            .additional()
            .is_ok_and(|records| records.into_iter().all(|record| record.is_ok()));
        if !is_whole {
            return Err(Outcome::FormErr);
        }
        if self.query.opt().is_some_and(|opt| opt.version() > 0) {
            return Err(Outcome::BadVers);
        }
        Ok(question)
    }

    fn judge(&self, question: &Question<QueryName<'_>>) -> Verdict {
        if question.qclass() != Class::IN && question.qclass() != Class::ANY {
            return Verdict::Failure(Outcome::Refused);
        }
        let Some(relative) = self.relative_name(question.qname()) else {
            return Verdict::Failure(Outcome::Refused);
        };
        if matches!(question.qtype(), Rtype::AXFR | Rtype::IXFR) {
            return Verdict::Failure(Outcome::Refused);
        }
        if relative == "dns-version" {
            return match question.qtype() {
                Rtype::TXT | Rtype::ANY => Verdict::Positive(Content::Text(DNS_VERSION)),
                _ => Verdict::Negative(Outcome::NoData, self.zone.ttl),
            };
        }
        let Some(view) = &self.zone.view else {
            return Verdict::Failure(Outcome::ServFail);
        };
        match (view.lookup(&relative), question.qtype()) {
            (None, _) => Verdict::Negative(Outcome::NxDomain, self.zone.ttl),
            (Some(Records::Dead), _) => Verdict::Negative(Outcome::NxDomain, Ttl::from_secs(1)),
            (Some(_), Rtype::SOA) if relative.is_empty() => Verdict::Positive(Content::Soa),
            (Some(_), Rtype::NS) if relative.is_empty() => Verdict::Positive(Content::Ns),
            (Some(records), Rtype::A) => self.addresses(records, &[Family::V4]),
            (Some(records), Rtype::AAAA) => self.addresses(records, &[Family::V6]),
            (Some(records), Rtype::ANY) => self.addresses(records, &[Family::V4, Family::V6]),
            (Some(_), _) => Verdict::Negative(Outcome::NoData, self.zone.ttl),
        }
    }

    fn addresses(&self, records: &Records, families: &[Family]) -> Verdict {
        let addresses: Vec<_> = families
            .iter()
            .flat_map(|family| records.addresses(*family, self.turn))
            .collect();
        if addresses.is_empty() {
            Verdict::Negative(Outcome::NoData, self.zone.ttl)
        } else {
            Verdict::Positive(Content::Addresses(addresses))
        }
    }

    /// The name below the zone, lower case; `None` when it is not in the zone.
    fn relative_name(&self, name: &QueryName<'_>) -> Option<String> {
        if !name.ends_with(&self.zone.origin) {
            return None;
        }
        let below = name.iter_labels().count() - self.zone.origin.iter_labels().count();
        let labels: Vec<String> = name
            .iter_labels()
            .take(below)
            .map(|label| String::from_utf8_lossy(label.as_slice()).to_ascii_lowercase())
            .collect();
        // A dot inside a label would read as two labels. No name of ours has one.
        if labels.iter().any(|label| label.contains('.')) {
            return Some("\u{0}".to_owned());
        }
        Some(labels.join("."))
    }

    /// The response, or `None` when it does not fit.
    fn build(
        &self,
        question: Option<&Question<QueryName<'_>>>,
        verdict: &Verdict,
        outcome: Outcome,
        size: usize,
    ) -> Option<Vec<u8>> {
        let mut answer = self.start(question, outcome, size)?;
        if let (Some(question), Verdict::Positive(content)) = (question, verdict) {
            self.push(&mut answer, question.qname(), content)?;
        }
        let mut authority = answer.authority();
        if let Verdict::Negative(_, ttl) = verdict {
            authority.push((&self.zone.origin, *ttl, self.soa(*ttl))).ok()?;
        }
        let mut additional = authority.additional();
        self.push_opt(&mut additional, outcome)?;
        Some(additional.finish().into_target())
    }

    fn truncated(&self, outcome: Outcome) -> Vec<u8> {
        let question = self.question().ok();
        let whole = self
            .start(question.as_ref(), outcome, usize::from(u16::MAX))
            .and_then(|mut answer| {
                answer.header_mut().set_tc(true);
                let mut additional = answer.additional();
                self.push_opt(&mut additional, outcome)?;
                Some(additional.finish().into_target())
            });
        whole.unwrap_or_default()
    }

    fn start(
        &self,
        question: Option<&Question<QueryName<'_>>>,
        outcome: Outcome,
        size: usize,
    ) -> Option<AnswerBuilder<Target>> {
        let mut message = MessageBuilder::from_target(StaticCompressor::new(Vec::with_capacity(512))).ok()?;
        message.set_push_limit(size);
        let asked = self.query.header();
        let header = message.header_mut();
        header.set_id(asked.id());
        header.set_qr(true);
        header.set_opcode(asked.opcode());
        header.set_rd(asked.rd());
        header.set_aa(!matches!(
            outcome,
            Outcome::Refused | Outcome::FormErr | Outcome::NotImp | Outcome::BadVers
        ));
        header.set_rcode(match outcome {
            Outcome::Answered | Outcome::NoData | Outcome::BadVers => Rcode::NOERROR,
            Outcome::NxDomain => Rcode::NXDOMAIN,
            Outcome::Refused => Rcode::REFUSED,
            Outcome::ServFail => Rcode::SERVFAIL,
            Outcome::FormErr => Rcode::FORMERR,
            Outcome::NotImp => Rcode::NOTIMP,
        });
        let mut section = message.question();
        if let Some(question) = question {
            section.push(question).ok()?;
        }
        Some(section.answer())
    }

    fn push(&self, answer: &mut AnswerBuilder<Target>, name: &QueryName<'_>, content: &Content) -> Option<()> {
        let ttl = self.zone.ttl;
        match content {
            Content::Addresses(addresses) => {
                for address in addresses {
                    match address {
                        std::net::IpAddr::V4(address) => answer.push((name, ttl, A::from(*address))),
                        std::net::IpAddr::V6(address) => answer.push((name, ttl, Aaaa::from(*address))),
                    }
                    .ok()?;
                }
            }
            Content::Soa => answer.push((name, ttl, self.soa(ttl))).ok()?,
            Content::Ns => answer.push((name, ttl, Ns::new(self.server_name()))).ok()?,
            Content::Text(text) => {
                let text = Txt::<Vec<u8>>::build_from_slice(text.as_bytes()).ok()?;
                answer.push((name, ttl, text)).ok()?;
            }
        }
        Some(())
    }

    fn push_opt(
        &self,
        additional: &mut domain::base::message_builder::AdditionalBuilder<Target>,
        outcome: Outcome,
    ) -> Option<()> {
        if self.query.opt().is_none() {
            return Some(());
        }
        additional
            .opt(|opt| {
                opt.set_udp_payload_size(MAX_UDP_PAYLOAD);
                if outcome == Outcome::BadVers {
                    opt.set_rcode(OptRcode::BADVERS);
                }
                Ok(())
            })
            .ok()
    }

    fn soa(&self, negative_ttl: Ttl) -> Soa<Name<Vec<u8>>> {
        let (refresh, retry, expire) = (Ttl::from_secs(7200), Ttl::from_secs(1800), Ttl::from_secs(86_400));
        Soa::new(
            self.server_name(),
            self.below("hostmaster"),
            self.zone.serial,
            refresh,
            retry,
            expire,
            negative_ttl,
        )
    }

    fn server_name(&self) -> Name<Vec<u8>> {
        self.below("ns.dns")
    }

    fn below(&self, labels: &str) -> Name<Vec<u8>> {
        Name::vec_from_str(&format!("{labels}.{}", self.zone.origin)).unwrap_or_else(|_| self.zone.origin.clone())
    }
}

/// The schema of the clusterset zone (KEP-1645 DNS specification).
const DNS_VERSION: &str = "1.0.0";

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
