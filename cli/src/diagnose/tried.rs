//! What can only be tried: the name, through cluster DNS, and a connection to what it stands for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::{A, Aaaa};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::facts::Facts;
use super::walk::Step;

/// Asks for the name, then connects to its TCP ports; nothing after the first failure.
pub(super) async fn from_here(facts: &Facts) -> Vec<Step> {
    let (step, addresses) = name(facts).await;
    let mut steps = vec![step];
    if !addresses.is_empty() {
        steps.push(connection(facts, &addresses).await);
    }
    steps
}

async fn name(facts: &Facts) -> (Step, Vec<IpAddr>) {
    let name = facts.dns_name();
    let Some(server) = facts
        .cluster_dns
        .first()
        .and_then(|address| address.parse::<IpAddr>().ok())
    else {
        return (
            Step::skipped("DNS", "there is no Service kube-system/kube-dns to ask"),
            Vec::new(),
        );
    };
    let mut addresses = Vec::new();
    for kind in [Rtype::A, Rtype::AAAA] {
        match ask(server, &name, kind).await {
            Err(_) => {
                let detail = format!(
                    "cluster DNS ({server}) does not answer here: this machine is not on the cluster's network, or DNS is down"
                );
                return (Step::skipped("DNS", detail), Vec::new());
            }
            Ok(Answer {
                code: Rcode::NOERROR,
                addresses: found,
            }) => addresses.extend(found),
            Ok(Answer { code, .. }) => {
                let mend = "See the condition ClusterDnsAnswers: kubectl -n tombolo-system get gateways -o yaml";
                return (
                    Step::bad(
                        "DNS",
                        format!("{name} is answered with {code} by cluster DNS ({server})"),
                        mend,
                    ),
                    Vec::new(),
                );
            }
        }
    }
    if addresses.is_empty() {
        let step = Step::bad(
            "DNS",
            format!("{name} exists, but has no address"),
            "Look at the pods of tombolo-lighthouse-dns",
        );
        return (step, addresses);
    }
    let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    (Step::good("DNS", format!("{name} is {}", list.join(", "))), addresses)
}

async fn connection(facts: &Facts, addresses: &[IpAddr]) -> Step {
    let ports = facts.import.iter().flat_map(|import| &import.spec.ports);
    let tcp: Vec<u16> = ports
        .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
        .filter_map(|port| u16::try_from(port.port).ok())
        .collect();
    let mut tried = Vec::new();
    for target in addresses
        .iter()
        .flat_map(|address| tcp.iter().map(|port| SocketAddr::new(*address, *port)))
    {
        let Err(error) = connect(target).await else {
            tried.push(target.to_string());
            continue;
        };
        if is_clusterset_ip(facts, target.ip())
            && let Some(endpoint) = endpoint_that_answers(facts, error.kind()).await
        {
            let detail = format!(
                "{target}: {error}, while its endpoint {endpoint} answers: the clusterset IP is not translated here \
                 (VipNotTranslated)"
            );
            let mend = "Look at this node's pod of tombolo-route-agent, and at its RouteAgent: kubectl -n tombolo-system get \
                        routeagents -o yaml";
            return Step::bad("connect", detail, mend);
        }
        let mend = "See `tombolo show connections`, then NetworkPolicies and the pods behind the service";
        return Step::bad("connect", format!("{target}: {error}"), mend);
    }
    if tried.is_empty() {
        return Step::skipped("connect", "the service has no TCP port");
    }
    Step::good("connect", tried.join(", "))
}

async fn connect(target: SocketAddr) -> io::Result<()> {
    match timeout(PATIENCE, TcpStream::connect(target)).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {PATIENCE:?}"),
        )),
    }
}

fn is_clusterset_ip(facts: &Facts, address: IpAddr) -> bool {
    let ips = facts.import.iter().flat_map(|import| import.spec.ips.iter().flatten());
    ips.filter_map(|ip| ip.parse::<IpAddr>().ok()).any(|ip| ip == address)
}

/// One of the pods behind the service that takes a connection, without any translation; a few are tried. After a refusal all of them
/// have to, for it may have come from one of them as well as from our own rules.
async fn endpoint_that_answers(facts: &Facts, failure: io::ErrorKind) -> Option<SocketAddr> {
    let endpoints = facts.slices.iter().flat_map(|slice| {
        let ports = slice.ports.iter().flatten();
        let mut tcp = ports.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
        let port = tcp.find_map(|port| u16::try_from(port.port?).ok());
        let addresses = slice.endpoints.iter().filter_map(|endpoint| endpoint.addresses.first());
        addresses.filter_map(move |address| Some(SocketAddr::new(address.parse().ok()?, port?)))
    });
    let mut answering = None;
    for endpoint in endpoints.take(ENDPOINTS) {
        match (connect(endpoint).await, failure) {
            (Ok(()), io::ErrorKind::ConnectionRefused) => answering = Some(endpoint),
            (Ok(()), _) => return Some(endpoint),
            (Err(_), io::ErrorKind::ConnectionRefused) => return None,
            (Err(_), _) => {}
        }
    }
    answering
}

struct Answer {
    code: Rcode,
    addresses: Vec<IpAddr>,
}

async fn ask(server: IpAddr, name: &str, kind: Rtype) -> anyhow::Result<Answer> {
    let mut query = MessageBuilder::new_vec();
    query.header_mut().set_random_id();
    query.header_mut().set_rd(true);
    let mut query = query.question();
    query.push((name.parse::<Name<Vec<u8>>>()?, kind))?;
    let query = query.finish();
    let own: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((own, 0)).await?;
    socket.connect((server, 53)).await?;
    let mut last = anyhow::anyhow!("no answer");
    for _ in 0..2 {
        socket.send(&query).await?;
        let mut buffer = [0; 4096];
        match timeout(PATIENCE / 2, socket.recv(&mut buffer)).await {
            Ok(Ok(length)) => return read(&buffer[..length]),
            Ok(Err(error)) => last = error.into(),
            Err(late) => last = late.into(),
        }
    }
    Err(last)
}

fn read(reply: &[u8]) -> anyhow::Result<Answer> {
    let message = Message::from_octets(reply)?;
    let answers = message.answer()?;
    let v4 = answers
        .limit_to::<A>()
        .flatten()
        .map(|record| IpAddr::V4(record.data().addr()));
    let v6 = answers
        .limit_to::<Aaaa>()
        .flatten()
        .map(|record| IpAddr::V6(record.data().addr()));
    Ok(Answer {
        code: message.header().rcode(),
        addresses: v4.chain(v6).collect(),
    })
}

/// So many endpoints are tried beside the clusterset IP.
const ENDPOINTS: usize = 3;
/// As long as anything here waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::super::walk::Outcome;
    use super::*;

    /// Connecting to it fails in this machine's own kernel.
    const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

    /// A service with a clusterset IP, and one endpoint on this machine.
    fn facts(ip: IpAddr, port: u16, endpoint: SocketAddr) -> Facts {
        let import = json!({"metadata": {"name": "cart"}, "spec": {"type": "ClusterSetIP", "ports": [{"port": port}], "ips": [ip]}});
        let slice = json!({
            "addressType": "IPv4", "metadata": {}, "endpoints": [{"addresses": [endpoint.ip()]}],
            "ports": [{"port": endpoint.port(), "protocol": "TCP"}],
        });
        Facts {
            import: Some(serde_json::from_value(import).unwrap()),
            slices: vec![serde_json::from_value(slice).unwrap()],
            ..Facts::default()
        }
    }

    #[tokio::test]
    async fn an_ip_that_leads_nowhere_while_its_endpoint_answers_is_not_translated() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        let step = connection(&facts(NOWHERE, 80, endpoint), &[NOWHERE]).await;
        assert_eq!(step.outcome, Outcome::Bad);
        assert!(step.detail.contains("VipNotTranslated"), "{}", step.detail);
        assert!(step.detail.contains(&endpoint.to_string()), "{}", step.detail);

        // It is refused where nobody listens, as our rules refuse what they do not translate.
        let refusing = TcpListener::bind("127.174.0.1:0").await.unwrap().local_addr().unwrap();
        let step = connection(&facts(refusing.ip(), refusing.port(), endpoint), &[refusing.ip()]).await;
        assert!(step.detail.contains("VipNotTranslated"), "{}", step.detail);

        // An address of the exporter's own is nobody's to translate here.
        let step = connection(&facts(IpAddr::V4(Ipv4Addr::LOCALHOST), 80, endpoint), &[NOWHERE]).await;
        assert!(!step.detail.contains("VipNotTranslated"), "{}", step.detail);
        drop(listener);
        let step = connection(&facts(NOWHERE, 80, endpoint), &[NOWHERE]).await;
        assert!(
            !step.detail.contains("VipNotTranslated"),
            "nobody answers: {}",
            step.detail
        );
    }
}
