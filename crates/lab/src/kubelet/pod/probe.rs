//! Readiness probes: HTTP and TCP.
//!
//! Until a container has been ready for the first time it is asked four times a second, whatever its period, so that labs start
//! as fast as what runs in them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks a running container for as long as it is polled, and tells `report` whenever the answer is another one than `initial`
/// or the one before.
pub(super) async fn watch(container: &Container, address: Option<IpAddr>, initial: bool, report: impl Fn(bool)) {
    let Some(probe) = &container.readiness_probe else {
        report(true);
        return std::future::pending().await;
    };
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let threshold = |value: Option<i32>, default| value.filter(|value| *value > 0).unwrap_or(default);
    let (success, failure) = (
        threshold(probe.success_threshold, 1),
        threshold(probe.failure_threshold, 3),
    );
    let (mut is_ready, mut was_ready, mut streak) = (initial, initial, 0);
    loop {
        let asked = tokio::time::timeout(seconds(probe.timeout_seconds, 1), ask(probe, container, address)).await;
        let outcome = asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
        if let Err(error) = &outcome {
            tracing::debug!(container = container.name, error = format!("{error:#}"), "not ready");
        }
        // Consecutive answers that differ from what is reported.
        streak = if outcome.is_ok() == is_ready { 0 } else { streak + 1 };
        if streak >= if is_ready { failure } else { success } {
            (is_ready, streak) = (!is_ready, 0);
            was_ready |= is_ready;
            report(is_ready);
        }
        let period = seconds(probe.period_seconds, 10);
        tokio::time::sleep(if was_ready { period } else { period.min(EAGER) }).await;
    }
}

async fn ask(probe: &Probe, container: &Container, address: Option<IpAddr>) -> anyhow::Result<()> {
    if let Some(action) = &probe.http_get {
        let at = socket(container, action.host.as_deref(), &action.port, address)?;
        return get(action, at).await;
    }
    if let Some(action) = &probe.tcp_socket {
        let at = socket(container, action.host.as_deref(), &action.port, address)?;
        return TcpStream::connect(at)
            .await
            .map(drop)
            .with_context(|| format!("no TCP connection to {at}"));
    }
    bail!("the lab's kubelet knows httpGet and tcpSocket probes only");
}

async fn get(action: &HTTPGetAction, at: SocketAddr) -> anyhow::Result<()> {
    ensure!(
        action.scheme.as_deref().unwrap_or("HTTP") == "HTTP",
        "the lab's kubelet probes plain HTTP only"
    );
    let path = action.path.as_deref().unwrap_or("/");
    let headers = action.http_headers.iter().flatten();
    let headers: String = headers
        .map(|header| format!("{}: {}\r\n", header.name, header.value))
        .collect();
    let mut stream = TcpStream::connect(at)
        .await
        .with_context(|| format!("no TCP connection to {at}"))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {at}\r\nUser-Agent: kube-probe/lab\r\n{headers}Connection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .context("the server stopped reading")?;
    // The first line is all that matters: "HTTP/1.1 200 …".
    let mut line = Vec::new();
    while line.len() < 12 {
        ensure!(
            stream
                .read_buf(&mut line)
                .await
                .context("the server stopped answering")?
                > 0,
            "no HTTP answer"
        );
    }
    let code = std::str::from_utf8(&line[9..12])
        .ok()
        .and_then(|code| code.parse::<u16>().ok());
    let code = code.context("no HTTP answer")?;
    ensure!((200..400).contains(&code), "HTTP probe failed with statuscode: {code}");
    Ok(())
}

fn socket(
    container: &Container,
    host: Option<&str>,
    port: &IntOrString,
    address: Option<IpAddr>,
) -> anyhow::Result<SocketAddr> {
    let address = match host {
        Some(host) => host
            .parse()
            .with_context(|| format!("the probe's host '{host}' is no IP address"))?,
        None => address.context("the pod has no address yet")?,
    };
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let mut named = ports.filter(|port| port.name.as_deref() == Some(name));
            named
                .next()
                .with_context(|| format!("the container has no port '{name}'"))?
                .container_port
        }
    };
    let number = u16::try_from(number).with_context(|| format!("{number} is no port"))?;
    Ok(SocketAddr::new(address, number))
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    let value = value
        .and_then(|value| u64::try_from(value).ok())
        .filter(|value| *value > 0);
    Duration::from_secs(value.unwrap_or(default))
}

const EAGER: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that is well as long as the flag says so.
    async fn server(is_well: Arc<AtomicBool>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let code = if is_well.load(Ordering::Relaxed) {
                    "200 OK"
                } else {
                    "503 Not Now"
                };
                // In two pieces, as a network may deliver it.
                let _ = stream.write_all(b"HTTP/1.").await;
                tokio::task::yield_now().await;
                let _ = stream.write_all(format!("1 {code}\r\n\r\n").as_bytes()).await;
                let _ = stream.read(&mut [0; 1024]).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn readiness_follows_the_answers() {
        let is_well = Arc::new(AtomicBool::new(false));
        let port = server(Arc::clone(&is_well)).await;
        let container: Container = serde_json::from_value(json!({
            "name": "c", "ports": [{"name": "admin", "containerPort": port}],
            "readinessProbe": {"httpGet": {"port": "admin"}, "periodSeconds": 1, "failureThreshold": 1},
        }))
        .unwrap();
        let reports = Arc::new(Mutex::new(Vec::new()));
        let (seen, flag) = (Arc::clone(&reports), Arc::clone(&is_well));
        let probing = watch(&container, Some("127.0.0.1".parse().unwrap()), false, move |is_ready| {
            seen.lock().unwrap().push(is_ready);
            flag.store(!is_ready, Ordering::Relaxed);
        });
        let until_three = async {
            is_well.store(true, Ordering::Relaxed);
            while reports.lock().unwrap().len() < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = probing => {}
            done = tokio::time::timeout(Duration::from_secs(30), until_three) => done.expect("three reports"),
        }
        assert_eq!(*reports.lock().unwrap(), [true, false, true]);
    }

    #[tokio::test]
    async fn without_a_probe_running_is_ready() {
        let container = Container {
            name: "c".to_owned(),
            ..Container::default()
        };
        let (send, receive) = tokio::sync::oneshot::channel();
        let send = Mutex::new(Some(send));
        let probing = watch(&container, None, false, |is_ready| {
            let _ = send.lock().unwrap().take().unwrap().send(is_ready);
        });
        tokio::select! {
            () = probing => {}
            is_ready = receive => assert!(is_ready.unwrap()),
        }
    }
}
