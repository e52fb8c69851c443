//! UDP has no connection that could break: a client that keeps its socket would go on to an endpoint that is gone, for as
//! long as conntrack remembers. So what moved is forgotten.

use std::process::Stdio;

use super::backends::{Backend, Backends, Frontend, Protocol};

/// Makes the kernel forget flows to endpoints that left, and flows that found no endpoint where there is one now.
///
/// Without the `conntrack` tool it does nothing but say so.
pub(super) async fn forget_moved(before: &Backends, now: &Backends) {
    for arguments in moved(before, now) {
        let mut command = tokio::process::Command::new("conntrack");
        command
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It ends with 1 when there was nothing to forget.
        if let Err(error) = command.status().await {
            tracing::warn!(%error, "UDP flows to endpoints that left stay until they time out: cannot start conntrack");
            return;
        }
    }
}

/// The arguments of each `conntrack` run: pure.
fn moved(before: &Backends, now: &Backends) -> Vec<Vec<String>> {
    let udp = |backends: &Backends| {
        let backends = backends.clone().into_iter();
        backends
            .filter(|(frontend, _)| frontend.protocol == Protocol::Udp)
            .collect::<Vec<(Frontend, Backend)>>()
    };
    let mut runs = Vec::new();
    for (frontend, backend) in udp(before) {
        let stay = now.get(&frontend).map(|backend| &backend.endpoints);
        for endpoint in backend
            .endpoints
            .iter()
            .filter(|endpoint| !stay.is_some_and(|stay| stay.contains(endpoint)))
        {
            let mut run = deletion(&frontend);
            run.extend(["--dst-nat".to_owned(), endpoint.ip().to_string()]);
            runs.push(run);
        }
    }
    for (frontend, backend) in udp(now) {
        let was_empty = before.get(&frontend).is_none_or(|before| before.endpoints.is_empty());
        if was_empty && !backend.endpoints.is_empty() {
            runs.push(deletion(&frontend));
        }
    }
    runs
}

fn deletion(frontend: &Frontend) -> Vec<String> {
    let family = if frontend.address.is_ipv4() { "ipv4" } else { "ipv6" };
    let (address, port) = (frontend.address.to_string(), frontend.port.to_string());
    [
        "-D",
        "-f",
        family,
        "-p",
        "udp",
        "--orig-dst",
        &address,
        "--orig-port-dst",
        &port,
    ]
    .map(str::to_owned)
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_flows_that_moved_are_forgotten() {
        let frontend = |protocol, port| Frontend {
            address: [10, 96, 0, 10].into(),
            protocol,
            port,
        };
        let backend = |endpoints: &[&str]| Backend {
            service: "shop/cart".to_owned(),
            endpoints: endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
            has_affinity: false,
        };
        let state = |udp: &[&str], other: &[&str], tcp: &[&str]| -> Backends {
            let (first, second) = (frontend(Protocol::Udp, 53), frontend(Protocol::Udp, 54));
            [(first, udp), (second, other), (frontend(Protocol::Tcp, 80), tcp)]
                .map(|(frontend, endpoints)| (frontend, backend(endpoints)))
                .into()
        };
        let before = state(&["10.1.0.1:53", "10.1.0.2:53"], &[], &["10.1.0.1:80"]);
        let now = state(&["10.1.0.2:53", "10.1.0.3:53"], &["10.1.0.2:54"], &[]);
        let runs: Vec<String> = moved(&before, &now).iter().map(|run| run.join(" ")).collect();
        let flows = "-D -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst";
        assert_eq!(runs, [format!("{flows} 53 --dst-nat 10.1.0.1"), format!("{flows} 54")]);
        assert!(moved(&now, &now).is_empty());
    }
}
