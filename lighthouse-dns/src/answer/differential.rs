//! Responses against a second opinion: the same question is read by hickory-proto and answered from the view's names as text, with
//! none of the code that answers for real; both must say the same.

use std::net::IpAddr;

use clusterset::dns::{ClusterNames, Records, ZoneView, zone_view};
use hickory_proto::op::{Message as Oracle, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use model::{Family, ImportKind};
use proptest::prelude::*;

use super::{MAX_UDP_PAYLOAD, Transport};
use crate::fixture::{TTL, ZONES, addresses, answer, export, import, query, snapshot};
use crate::zone::Zone;

/// What a response must say.
#[derive(Debug, PartialEq, Eq)]
struct Opinion {
    code: ResponseCode,
    /// As text, sorted.
    answers: Vec<String>,
    negative_ttl: Option<u32>,
}

fn second_opinion(view: &ZoneView, asked: &[u8], turn: usize) -> Opinion {
    let asked = Oracle::from_vec(asked).unwrap().queries.remove(0);
    let name = asked.name().to_lowercase().to_ascii();
    let kind = asked.query_type();
    let refused = Opinion {
        code: ResponseCode::Refused,
        answers: vec![],
        negative_ttl: None,
    };
    if matches!(kind, RecordType::AXFR | RecordType::IXFR) {
        return refused;
    }
    let zone = ZONES.iter().find_map(|zone| {
        let below = name.strip_suffix(&format!("{zone}."))?;
        let below = below.strip_suffix('.').or(below.is_empty().then_some(""))?;
        Some((*zone, below))
    });
    let Some((zone, below)) = zone else {
        let owner = view.reverse().find(|(address, _)| reverse_name(*address) == name);
        return match owner {
            None => refused,
            Some((_, owner)) if matches!(kind, RecordType::PTR | RecordType::ANY) => {
                said(vec![format!("{owner}.{}.", ZONES[0])])
            }
            Some(_) => denied(ResponseCode::NoError, TTL),
        };
    };
    let found = match below {
        "dns-version" if matches!(kind, RecordType::TXT | RecordType::ANY) => return said(vec!["1.0.0".to_owned()]),
        "dns-version" => return denied(ResponseCode::NoError, TTL),
        "dns" | "ns.dns" => Some(&Records::NonTerminal),
        _ => view.lookup(below),
    };
    let records = match found {
        None => return denied(ResponseCode::NXDomain, TTL),
        Some(Records::Dead) => return denied(ResponseCode::NXDomain, 1),
        Some(records) => records,
    };
    let family = |family| -> Vec<String> {
        let addresses: Vec<IpAddr> = records.addresses(family, turn);
        addresses.iter().map(ToString::to_string).collect()
    };
    let services = || {
        let services = view.services(below).iter();
        let text = services.map(|one| format!("0 1 {} {}.{zone}.", one.port, one.target));
        text.collect::<Vec<_>>()
    };
    let soa = || vec![format!("ns.dns.{zone}. hostmaster.{zone}. 7 7200 1800 86400 {TTL}")];
    let answers: Vec<String> = match kind {
        RecordType::A => family(Family::V4),
        RecordType::AAAA => family(Family::V6),
        RecordType::SRV => services(),
        RecordType::SOA | RecordType::ANY if below.is_empty() => soa(),
        RecordType::NS if below.is_empty() => vec![format!("ns.dns.{zone}.")],
        RecordType::ANY => {
            let sets = [family(Family::V4), family(Family::V6), services()];
            sets.into_iter().find(|set| !set.is_empty()).unwrap_or_default()
        }
        _ => vec![],
    };
    if answers.is_empty() {
        return denied(ResponseCode::NoError, TTL);
    }
    said(answers)
}

fn denied(code: ResponseCode, ttl: u32) -> Opinion {
    Opinion {
        code,
        answers: vec![],
        negative_ttl: Some(ttl),
    }
}

fn said(mut answers: Vec<String>) -> Opinion {
    answers.sort();
    Opinion {
        code: ResponseCode::NoError,
        answers,
        negative_ttl: None,
    }
}

/// By hickory's hand, not ours.
fn reverse_name(address: IpAddr) -> String {
    hickory_proto::rr::Name::from(address).to_ascii()
}

fn opinion_of(response: &Oracle) -> Opinion {
    let mut answers: Vec<String> = response.answers.iter().map(|record| record.data.to_string()).collect();
    answers.sort();
    let negative_ttl = response.authorities.first().map(|authority| {
        let RData::SOA(soa) = &authority.data else {
            panic!("authority without SOA: {authority}")
        };
        assert_eq!(soa.minimum, authority.ttl);
        authority.ttl
    });
    Opinion {
        code: response.metadata.response_code,
        answers,
        negative_ttl,
    }
}

/// Services `s0`, `s1`, …: of which kind, with how many endpoints, and whether with clusterset IPs.
fn generated_view() -> impl Strategy<Value = ZoneView> {
    let service = (any::<bool>(), 0u32..40, any::<bool>());
    (proptest::collection::vec(service, 1..4), any::<bool>()).prop_map(|(services, is_strict)| {
        let mut snapshot = snapshot();
        for (index, (is_headless, count, has_ips)) in services.into_iter().enumerate() {
            let name = format!("s{index}");
            let mut endpoints = addresses(count);
            if count % 3 == 1 {
                endpoints.push("fd01::1".parse().unwrap());
            }
            if is_headless {
                export(&mut snapshot, &name, ImportKind::Headless, &endpoints);
            } else {
                export(&mut snapshot, &name, ImportKind::ClusterSetIP, &endpoints);
                if has_ips {
                    import(
                        &mut snapshot,
                        &name,
                        &["243.0.0.7".parse().unwrap(), "fd43::7".parse().unwrap()],
                    );
                }
            }
        }
        let names = if is_strict {
            ClusterNames::Reserved
        } else {
            ClusterNames::Answered
        };
        zone_view(&snapshot, names)
    })
}

/// Names that are there, names beside them, and names of others; in letters of any case.
fn generated_name() -> impl Strategy<Value = String> {
    let front = prop_oneof![
        Just(""),
        Just("east."),
        Just("west."),
        Just("10-1-0-0.east."),
        Just("fd01--1.east."),
        Just("below.east."),
        Just("_http._tcp."),
        Just("_metrics._tcp."),
        Just("_tcp."),
        Just("_http._udp."),
        Just("dns-version."),
    ];
    let middle = prop_oneof![
        Just("s0.shop.svc."),
        Just("s1.shop.svc."),
        Just("s9.shop.svc."),
        Just("shop.svc."),
        Just("svc."),
        Just("ns.dns."),
        Just(""),
    ];
    let zone = prop_oneof![
        4 => Just("clusterset.local."), 2 => Just("corp.example."), 1 => Just("xcorp.example."), 1 => Just("example.")
    ];
    let below_a_zone = (front, middle, zone).prop_map(|(front, middle, zone)| format!("{front}{middle}{zone}"));
    let reverse = prop_oneof![
        Just("243.0.0.7".parse().unwrap()),
        Just("243.0.0.8".parse().unwrap()),
        Just("fd43::7".parse().unwrap()),
    ];
    let name =
        prop_oneof![8 => below_a_zone, 1 => reverse.prop_map(reverse_name), 1 => Just(ZONES[0].to_owned() + ".")];
    (name, any::<u64>()).prop_map(|(name, case)| {
        let letters = name.chars().enumerate();
        let raise = |(index, letter): (usize, char)| {
            if case >> (index % 64) & 1 == 1 {
                letter.to_ascii_uppercase()
            } else {
                letter
            }
        };
        letters.map(raise).collect()
    })
}

/// What is answered, what never is, and a type that nobody knows.
const KINDS: [RecordType; 14] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::TXT,
    RecordType::SOA,
    RecordType::NS,
    RecordType::PTR,
    RecordType::ANY,
    RecordType::MX,
    RecordType::CNAME,
    RecordType::HTTPS,
    RecordType::AXFR,
    RecordType::IXFR,
    RecordType::Unknown(65_280),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn both_say_the_same(
        view in generated_view(),
        name in generated_name(),
        kind in proptest::sample::select(&KINDS[..]),
        edns in proptest::option::of(0u16..5000),
        turn in 0usize..100,
    ) {
        let zone = Zone::new(ZONES, Some(&view), 7, TTL).unwrap();
        let asked = query(&name, kind, edns);
        let (whole, _) = answer(&asked, &zone, Transport::Tcp, turn).unwrap();
        let over_tcp = Oracle::from_vec(&whole).unwrap();
        let apart = second_opinion(&view, &asked, turn);
        prop_assert_eq!(opinion_of(&over_tcp), apart);
        prop_assert_eq!(over_tcp.queries[0].name().to_ascii(), name);
        prop_assert!(over_tcp.answers.iter().all(|record| record.ttl == TTL));

        let (bytes, _) = answer(&asked, &zone, Transport::Udp, turn).unwrap();
        let over_udp = Oracle::from_vec(&bytes).unwrap();
        let limit = usize::from(edns.unwrap_or(512).clamp(512, MAX_UDP_PAYLOAD));
        prop_assert!(bytes.len() <= limit);
        if over_udp.metadata.truncation {
            prop_assert!(whole.len() > limit && over_udp.answers.is_empty());
        } else {
            prop_assert_eq!(opinion_of(&over_udp), opinion_of(&over_tcp));
        }
    }
}
