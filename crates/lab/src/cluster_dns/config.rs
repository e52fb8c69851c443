//! What a Corefile asks for: the subset of CoreDNS's plugins that a cluster's DNS and Tombolo's `join` need. Pure.
//!
//! Anything that is not understood is an error, so that the lab never obeys half a Corefile.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use domain::base::Name;

use super::corefile::{self, Block, CorefileError, Directive};

/// What to serve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Config {
    pub(super) servers: Vec<Server>,
}

/// One zone of a server block, at one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) zone: Name<Vec<u8>>,
    pub(super) port: u16,
    pub(super) has_log: bool,
    pub(super) is_shuffled: bool,
    pub(super) is_reloaded: bool,
    pub(super) cache: Option<CacheLimits>,
    pub(super) kubernetes: Option<Kubernetes>,
    pub(super) forward: Option<Forward>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kubernetes {
    pub(super) zones: Vec<Name<Vec<u8>>>,
    /// Names in these zones that do not exist are left to the next plugin.
    pub(super) fallthrough: Vec<Name<Vec<u8>>>,
    pub(super) ttl: u32,
    pub(super) has_pod_names: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) from: Name<Vec<u8>>,
    pub(super) upstreams: Vec<Upstream>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Upstream {
    Address(SocketAddr),
    /// The name servers of this resolv.conf.
    ResolvConf(String),
}

/// How long answers are kept, in seconds: a record's own TTL, at least `min`, at most `max`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheLimits {
    pub(super) success: Bounds,
    pub(super) denial: Bounds,
    /// For how long a failure is remembered.
    pub(super) failure: Duration,
    /// Zones whose positive or negative answers are not kept.
    pub(super) never_success: Vec<Name<Vec<u8>>>,
    pub(super) never_denial: Vec<Name<Vec<u8>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) min: u32,
    pub(super) max: u32,
}

impl Config {
    /// Understands a Corefile.
    pub(super) fn parse(text: &str) -> Result<Self, CorefileError> {
        let mut servers: BTreeMap<(Name<Vec<u8>>, u16), Server> = BTreeMap::new();
        for block in corefile::parse(text)? {
            for key in &block.keys {
                let server = server(key, &block)?;
                let place = (server.zone.clone(), server.port);
                if servers.insert(place, server).is_some() {
                    return Err(CorefileError::new(
                        block.line,
                        format!("{key} is served by another block already"),
                    ));
                }
            }
        }
        Ok(Self {
            servers: servers.into_values().collect(),
        })
    }
}

fn server(key: &str, block: &Block) -> Result<Server, CorefileError> {
    let bare = key.strip_prefix("dns://").unwrap_or(key);
    let (zone, port) = match bare.rsplit_once(':') {
        Some((zone, port)) => (zone, parse_word(port, "a port", block.line)?),
        None => (bare, DNS_PORT),
    };
    let mut server = Server {
        zone: name(zone, block.line)?,
        port,
        has_log: false,
        is_shuffled: false,
        is_reloaded: false,
        cache: None,
        kubernetes: None,
        forward: None,
    };
    for directive in &block.directives {
        match directive.name.as_str() {
            "errors" | "loop" | "prometheus" => {}
            "health" | "ready" => probe(directive)?,
            "log" => server.has_log = true,
            "loadbalance" => server.is_shuffled = true,
            "reload" => server.is_reloaded = true,
            "cache" => server.cache = Some(cache(directive)?),
            "kubernetes" => server.kubernetes = Some(kubernetes(directive, &server.zone)?),
            "forward" => server.forward = Some(forward(directive)?),
            unknown => {
                return Err(CorefileError::new(
                    directive.line,
                    format!("the lab's DNS has no plugin {unknown:?}"),
                ));
            }
        }
    }
    Ok(server)
}

/// The probes answer at CoreDNS's own ports, which is where manifests look for them.
fn probe(directive: &Directive) -> Result<(), CorefileError> {
    let usual = if directive.name == "health" { ":8080" } else { ":8181" };
    match directive.arguments.as_slice() {
        [] => Ok(()),
        [address] if address == usual => Ok(()),
        _ => Err(CorefileError::new(
            directive.line,
            format!("{} answers only at {usual} here", directive.name),
        )),
    }
}

fn kubernetes(directive: &Directive, block_zone: &Name<Vec<u8>>) -> Result<Kubernetes, CorefileError> {
    let line = directive.line;
    let mut zones = names(&directive.arguments, line)?;
    if zones.is_empty() {
        zones.push(block_zone.clone());
    }
    let mut plugin = Kubernetes {
        zones,
        fallthrough: Vec::new(),
        ttl: 5,
        has_pod_names: false,
    };
    for option in &directive.options {
        match words(option).as_slice() {
            ["pods", "disabled"] => plugin.has_pod_names = false,
            ["pods", "insecure" | "verified"] => plugin.has_pod_names = true,
            ["ttl", seconds] => plugin.ttl = parse_word(seconds, "seconds", line)?,
            ["fallthrough"] => plugin.fallthrough = vec![Name::root_vec()],
            ["fallthrough", ..] => plugin.fallthrough = names(&option[1..], line)?,
            _ => return Err(unknown_option(directive, option)),
        }
    }
    Ok(plugin)
}

fn forward(directive: &Directive) -> Result<Forward, CorefileError> {
    let line = directive.line;
    let [from, to @ ..] = directive.arguments.as_slice() else {
        return Err(CorefileError::new(
            line,
            "forward needs a zone and at least one upstream",
        ));
    };
    if to.is_empty() {
        return Err(CorefileError::new(line, "forward needs at least one upstream"));
    }
    for option in &directive.options {
        // These tune what the lab has no need to tune.
        if !matches!(
            option[0].as_str(),
            "max_concurrent" | "policy" | "prefer_udp" | "max_fails" | "health_check" | "expire"
        ) {
            return Err(unknown_option(directive, option));
        }
    }
    let upstreams = to.iter().map(|upstream| {
        if upstream.starts_with('/') {
            return Ok(Upstream::ResolvConf(upstream.clone()));
        }
        let bare = upstream.strip_prefix("dns://").unwrap_or(upstream);
        let address = bare.parse::<SocketAddr>().ok();
        let address = address.or_else(|| bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT)));
        address.map(Upstream::Address).ok_or_else(|| {
            CorefileError::new(
                line,
                format!("forward to {upstream:?}: expected an address, address:port, or a file"),
            )
        })
    });
    Ok(Forward {
        from: name(from, line)?,
        upstreams: upstreams.collect::<Result<_, _>>()?,
    })
}

fn cache(directive: &Directive) -> Result<CacheLimits, CorefileError> {
    let line = directive.line;
    // CoreDNS's own defaults.
    let mut limits = CacheLimits {
        success: Bounds { min: 5, max: 3600 },
        denial: Bounds { min: 5, max: 1800 },
        failure: Duration::from_secs(5),
        never_success: Vec::new(),
        never_denial: Vec::new(),
    };
    match words(&directive.arguments).as_slice() {
        [] => {}
        [ttl] => {
            limits.success.max = parse_word(ttl, "seconds", line)?;
            limits.denial.max = limits.success.max;
        }
        _ => return Err(CorefileError::new(line, "cache takes one TTL here, and no zones")),
    }
    for option in &directive.options {
        match words(option).as_slice() {
            ["success", bounds @ ..] => read_bounds(bounds, &mut limits.success, line)?,
            ["denial", bounds @ ..] => read_bounds(bounds, &mut limits.denial, line)?,
            ["servfail", duration] => limits.failure = seconds(duration, line)?,
            ["disable", "success", ..] => limits.never_success = names_or_root(&option[2..], line)?,
            ["disable", "denial", ..] => limits.never_denial = names_or_root(&option[2..], line)?,
            _ => return Err(unknown_option(directive, option)),
        }
    }
    Ok(limits)
}

/// `CAPACITY [TTL [MINTTL]]`.
fn read_bounds(arguments: &[&str], bounds: &mut Bounds, line: usize) -> Result<(), CorefileError> {
    let [capacity, rest @ ..] = arguments else {
        return Err(CorefileError::new(line, "a capacity is missing"));
    };
    let _: u32 = parse_word(capacity, "a capacity", line)?;
    if let Some(max) = rest.first() {
        bounds.max = parse_word(max, "seconds", line)?;
    }
    if let Some(min) = rest.get(1) {
        bounds.min = parse_word(min, "seconds", line)?;
    }
    Ok(())
}

fn seconds(text: &str, line: usize) -> Result<Duration, CorefileError> {
    let number = text.strip_suffix('s').unwrap_or(text);
    Ok(Duration::from_secs(parse_word(number, "seconds", line)?))
}

fn names_or_root(texts: &[String], line: usize) -> Result<Vec<Name<Vec<u8>>>, CorefileError> {
    if texts.is_empty() {
        Ok(vec![Name::root_vec()])
    } else {
        names(texts, line)
    }
}

fn names(texts: &[String], line: usize) -> Result<Vec<Name<Vec<u8>>>, CorefileError> {
    texts.iter().map(|text| name(text, line)).collect()
}

fn name(text: &str, line: usize) -> Result<Name<Vec<u8>>, CorefileError> {
    if text.is_empty() || text == "." {
        return Ok(Name::root_vec());
    }
    Name::vec_from_str(text).map_err(|error| CorefileError::new(line, format!("{text:?} is not a zone: {error}")))
}

fn parse_word<T: std::str::FromStr>(text: &str, what: &str, line: usize) -> Result<T, CorefileError> {
    text.parse()
        .map_err(|_| CorefileError::new(line, format!("{text:?} is not {what}")))
}

fn words(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn unknown_option(directive: &Directive, option: &[String]) -> CorefileError {
    let reason = format!(
        "the lab's DNS does not know {:?} in {}",
        option.join(" "),
        directive.name
    );
    CorefileError::new(directive.line, reason)
}

const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name<Vec<u8>> {
        Name::vec_from_str(text).unwrap()
    }

    /// As kubeadm writes it, with the stanza that `join` adds.
    const KUBEADM: &str = include_str!("testdata/kubeadm.corefile");

    #[test]
    fn a_real_corefile_is_understood() {
        let config = Config::parse(KUBEADM).unwrap();
        let [root, clusterset] = config.servers.as_slice() else {
            panic!("{config:?}")
        };
        assert!(root.zone.is_root() && root.is_reloaded && root.is_shuffled);
        let kubernetes = root.kubernetes.as_ref().unwrap();
        assert_eq!(
            kubernetes.zones,
            [name("cluster.local"), name("in-addr.arpa"), name("ip6.arpa")]
        );
        assert_eq!(kubernetes.fallthrough, [name("in-addr.arpa"), name("ip6.arpa")]);
        assert_eq!((kubernetes.ttl, kubernetes.has_pod_names), (30, true));
        let cache = root.cache.as_ref().unwrap();
        assert_eq!((cache.success.max, cache.denial.max), (30, 30));
        assert_eq!(cache.never_denial, [name("cluster.local")]);

        assert_eq!(
            (clusterset.zone.clone(), clusterset.port),
            (name("clusterset.local"), 53)
        );
        let upstream = "10.96.7.7:53".parse().unwrap();
        assert_eq!(
            clusterset.forward.as_ref().unwrap().upstreams,
            [Upstream::Address(upstream)]
        );
        let cache = clusterset.cache.as_ref().unwrap();
        assert_eq!(
            (cache.success, cache.denial),
            (Bounds { min: 5, max: 5 }, Bounds { min: 0, max: 1 })
        );
        assert_eq!(cache.failure, Duration::ZERO);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (body, complaint) in [
            ("hosts /etc/hosts", "no plugin \"hosts\""),
            ("forward . dns.example", "expected an address"),
            ("forward .", "at least one upstream"),
            ("cache soon", "\"soon\" is not seconds"),
            ("cache {\n success\n }", "a capacity is missing"),
            ("kubernetes {\n endpoint x\n }", "does not know \"endpoint x\""),
            ("ready :9", "only at :8181"),
        ] {
            let error = Config::parse(&format!(". {{\n {body}\n}}")).unwrap_err();
            assert_eq!(error.line, 2, "{error}");
            assert!(error.reason.contains(complaint), "{error}");
        }
        assert!(
            Config::parse(". {\n}\n.:53 {\n}\n")
                .unwrap_err()
                .reason
                .contains("another block")
        );
        assert!(Config::parse(".:x {\n}").unwrap_err().reason.contains("not a port"));
    }
}
