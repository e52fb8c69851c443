//! The clusterset zone in a CoreDNS configuration: put in, taken out, both byte for byte. Pure.
//!
//! The stanza stands between two marker comments at the end of the file, so that taking it out gives back the file as it was
//! (with a newline at its end, if it had none). A
//! Corefile that we cannot read with certainty is left alone, and the person is given the stanza to place.

/// Where the clusterset zone is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The ClusterIPs of lighthouse-dns.
    pub ips: Vec<String>,
}

/// Why a Corefile is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorefileError {
    /// A brace has no partner.
    #[error("its braces do not pair up (line {0})")]
    Unbalanced(usize),
    /// There is no block for the root zone, so it cannot be told on which port it listens.
    #[error("it has no server block for the root zone \".\"")]
    NoRoot,
    /// Somebody else serves the clusterset zone.
    #[error("line {0} serves clusterset.local already, and not by our hand")]
    Taken(usize),
    /// Our markers were edited.
    #[error("only one of the lines \"{BEGIN}\" and \"{END}\" is there")]
    HalfMarked,
}

/// The Corefile with the stanza, whether or not there was one.
///
/// # Errors
/// When the Corefile cannot be read with certainty; it should then be left alone.
pub fn with_stanza(corefile: &str, upstream: &Upstream) -> Result<String, CorefileError> {
    let without = without_stanza(corefile)?;
    let port = root_port(&without)?;
    let newline = if without.is_empty() || without.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    Ok(format!("{without}{newline}{}", stanza(upstream, port.as_deref())))
}

/// The Corefile without the stanza; a file without one comes back as it is.
///
/// # Errors
/// When only one marker is left of it.
pub fn without_stanza(corefile: &str) -> Result<String, CorefileError> {
    let begin = line_start(corefile, BEGIN);
    let end = line_start(corefile, END);
    match (begin, end) {
        (None, None) => Ok(corefile.to_owned()),
        (Some(begin), Some(end)) if begin < end => {
            let after = corefile[end..].split_once('\n').map_or("", |(_, after)| after);
            Ok(format!("{}{after}", &corefile[..begin]))
        }
        _ => Err(CorefileError::HalfMarked),
    }
}

/// The stanza, markers included.
pub fn stanza(upstream: &Upstream, port: Option<&str>) -> String {
    // Short times, and denials shorter: a service that is exported, or moves, is to be seen within seconds.
    format!(
        "{BEGIN}\n\
         clusterset.local:{port} {{\n    \
             errors\n    \
             cache 5 {{\n        \
                 success 9984 5\n        \
                 denial 9984 1\n    \
             }}\n    \
             forward . {ips}\n\
         }}\n\
         {END}\n",
        port = port.unwrap_or("53"),
        ips = upstream.ips.join(" "),
    )
}

/// The port of the root zone's block, if it names one; the clusterset zone must be answered on the same.
fn root_port(corefile: &str) -> Result<Option<String>, CorefileError> {
    let mut root = None;
    let mut depth = 0usize;
    for (index, line) in corefile.lines().enumerate() {
        let number = index + 1;
        let code = line.split_once('#').map_or(line, |(code, _)| code);
        for word in code.split_whitespace() {
            match word {
                "{" => depth += 1,
                "}" => depth = depth.checked_sub(1).ok_or(CorefileError::Unbalanced(number))?,
                _ if depth > 0 => {}
                key => {
                    let (zone, port) = zone_and_port(key);
                    if zone == "clusterset.local" || zone.ends_with(".clusterset.local") {
                        return Err(CorefileError::Taken(number));
                    }
                    if zone == "." && root.is_none() {
                        root = Some(port);
                    }
                }
            }
        }
    }
    if depth != 0 {
        return Err(CorefileError::Unbalanced(corefile.lines().count()));
    }
    root.ok_or(CorefileError::NoRoot)
}

/// `dns://.:53,` is zone `.` on port 53.
fn zone_and_port(key: &str) -> (String, Option<String>) {
    let key = key.trim_end_matches(',');
    let key = key.split_once("://").map_or(key, |(_, zone)| zone);
    let (zone, port) = match key.rsplit_once(':') {
        Some((zone, port)) => (zone, Some(port.to_owned())),
        None => (key, None),
    };
    let zone = if zone == "." { zone } else { zone.trim_end_matches('.') };
    (zone.to_ascii_lowercase(), port)
}

fn line_start(text: &str, line: &str) -> Option<usize> {
    let mut start = 0;
    for candidate in text.split_inclusive('\n') {
        if candidate.trim() == line {
            return Some(start);
        }
        start += candidate.len();
    }
    None
}

const BEGIN: &str = "# begin tombolo: added by `tombolo join`, removed by `tombolo leave`";
const END: &str = "# end tombolo";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KUBEADM: &str = "\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    reload
}
";

    fn upstream(ips: &[&str]) -> Upstream {
        Upstream {
            ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
        }
    }

    #[test]
    fn the_stanza_is_put_behind_the_file() {
        let edited = with_stanza(KUBEADM, &upstream(&["10.96.7.7", "fd00::7"])).unwrap();
        let stanza = "\
# begin tombolo: added by `tombolo join`, removed by `tombolo leave`
clusterset.local:53 {
    errors
    cache 5 {
        success 9984 5
        denial 9984 1
    }
    forward . 10.96.7.7 fd00::7
}
# end tombolo
";
        assert_eq!(edited, format!("{KUBEADM}{stanza}"));
    }

    #[test]
    fn doing_it_again_changes_nothing_and_a_new_address_replaces_the_old_one() {
        let once = with_stanza(KUBEADM, &upstream(&["10.96.7.7"])).unwrap();
        assert_eq!(with_stanza(&once, &upstream(&["10.96.7.7"])).unwrap(), once);
        let moved = with_stanza(&once, &upstream(&["10.96.8.8"])).unwrap();
        assert!(moved.contains("10.96.8.8") && !moved.contains("10.96.7.7"));
    }

    #[test]
    fn the_port_is_that_of_the_root_zone() {
        for (corefile, port) in [
            (".:1053 {\n}\n", "clusterset.local:1053 {"),
            (". {\n}\n", "clusterset.local:53 {"),
            ("dns://.:5353 {\n}\n", "clusterset.local:5353 {"),
            ("example.org:53, .:54 {\n}\n", "clusterset.local:54 {"),
        ] {
            assert!(
                with_stanza(corefile, &upstream(&["10.0.0.1"])).unwrap().contains(port),
                "{corefile}"
            );
        }
    }

    #[test]
    fn other_blocks_comments_and_imports_are_kept() {
        let corefile = "import ../custom/*.override\n# a comment with } and {\n(snip) {\n    log\n}\n.:53 {\n    forward . 1.1.1.1 # {\n}";
        let edited = with_stanza(corefile, &upstream(&["10.0.0.1"])).unwrap();
        assert!(edited.starts_with(corefile));
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let to = upstream(&["10.0.0.1"]);
        let refused = |corefile: &str| with_stanza(corefile, &to).unwrap_err();
        assert_eq!(refused(".:53 {\n    errors\n"), CorefileError::Unbalanced(2));
        assert_eq!(refused(".:53 {\n}\n}\n"), CorefileError::Unbalanced(3));
        assert_eq!(refused("example.org {\n}\n"), CorefileError::NoRoot);
        assert_eq!(refused(""), CorefileError::NoRoot);
        let taken = format!("{KUBEADM}clusterset.local:53 {{\n    forward . 10.9.9.9\n}}\n");
        assert_eq!(refused(&taken), CorefileError::Taken(18));
        assert_eq!(refused(&format!("{KUBEADM}{BEGIN}\n")), CorefileError::HalfMarked);
        assert_eq!(
            without_stanza(&format!("{END}\n{BEGIN}\n")),
            Err(CorefileError::HalfMarked)
        );
    }

    proptest! {
        #[test]
        fn no_corefile_panics(text in "(\\PC|[{}#.:\n ]){0,80}") {
            let _ = with_stanza(&text, &upstream(&["10.0.0.1"]));
        }

        #[test]
        fn taking_it_out_gives_the_file_back(zones in proptest::collection::vec("[a-z]{1,8}", 0..4)) {
            let others: String = zones.iter().map(|zone| format!("{zone}.example:53 {{\n    errors\n}}\n")).collect();
            let corefile = format!("{others}{KUBEADM}");
            let edited = with_stanza(&corefile, &upstream(&["10.0.0.1"])).unwrap();
            prop_assert_eq!(without_stanza(&edited).unwrap(), corefile);
        }
    }
}
