//! Whether cluster DNS leads to our name server: what a pod would see, asked the way a pod asks.

use std::time::Duration;

use k8s_api::condition::{CLUSTER_DNS, Finding};
use tokio::sync::watch;

/// Asks for ever, and says what came of it.
pub(crate) fn watch_cluster_dns() -> watch::Receiver<Option<Finding>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        while !sender.is_closed() {
            let finding = match ask().await {
                Ok(()) => Finding::new(CLUSTER_DNS, true, "Answers", format!("{NAME} is answered")),
                Err(why) => Finding::new(CLUSTER_DNS, false, "NoAnswer", why),
            };
            let holds = finding.status == Some(true);
            sender.send_if_modified(|last| {
                let is_news = last.as_ref() != Some(&finding);
                *last = Some(finding);
                is_news
            });
            tokio::time::sleep(if holds { WHEN_WELL } else { WHEN_NOT }).await;
        }
    });
    receiver
}

async fn ask() -> Result<(), String> {
    let text = tokio::fs::read_to_string("/etc/resolv.conf")
        .await
        .map_err(|error| format!("/etc/resolv.conf: {error}"))?;
    let servers = name_servers(&text);
    if servers.is_empty() {
        return Err("/etc/resolv.conf names no server; the pod needs dnsPolicy ClusterFirstWithHostNet".to_owned());
    }
    let mut last = String::new();
    for server in servers {
        match tokio::time::timeout(PATIENCE, query(server)).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => {
                last = format!(
                    "{server} does not know {NAME}; is the stanza of {ZONE} in the cluster's DNS configuration?",
                    ZONE = model::names::CLUSTERSET_ZONE
                );
            }
            Ok(Err(error)) => last = format!("{server}: {error}"),
            Err(_) => last = format!("{server} does not answer"),
        }
    }
    Err(last)
}

fn name_servers(resolv_conf: &str) -> Vec<std::net::SocketAddr> {
    let lines = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines
        .filter_map(|rest| rest.trim().parse().ok())
        .map(|ip| std::net::SocketAddr::new(ip, 53))
        .collect()
}

/// One TXT query; true when there is an answer.
async fn query(server: std::net::SocketAddr) -> std::io::Result<bool> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = tokio::net::UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&question()).await?;
    let mut response = [0; 1500];
    let length = socket.recv(&mut response).await?;
    // Header: id, flags (the low four bits are the response code), then the counts of questions and answers.
    Ok(length >= 12 && response[..2] == ID && response[3] & 0x0f == 0 && response[6..8] != [0, 0])
}

fn question() -> Vec<u8> {
    let mut message = [&ID[..], &[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in NAME.split('.') {
        message.push(u8::try_from(label.len()).expect("labels of a literal are short"));
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 16, 0, 1]);
    message
}

const NAME: &str = "dns-version.clusterset.local";
/// The socket is connected, and nothing depends on this answer but a condition.
const ID: [u8; 2] = [0x74, 0x6f];
const PATIENCE: Duration = Duration::from_secs(2);
const WHEN_WELL: Duration = Duration::from_secs(30);
const WHEN_NOT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_from_resolv_conf() {
        let text = "search a.b\n# nameserver 192.0.2.9\nnameserver 10.0.0.10\nnameserver fd00::a\noptions ndots:5\n";
        let servers: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.10:53", "[fd00::a]:53"]);
    }

    #[test]
    fn the_question_is_for_a_txt_record() {
        let message = question();
        assert_eq!(message.len(), 12 + NAME.len() + 2 + 4);
        assert_eq!(message[message.len() - 4..], [0, 16, 0, 1]);
    }
}
