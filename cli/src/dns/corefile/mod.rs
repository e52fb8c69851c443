//! The clusterset zone in a CoreDNS configuration: put in, taken out, both byte for byte. Pure.
//!
//! The stanza stands between two marker comments at the end of the file, so that taking it out gives back the file as it was. It
//! listens where the root zone does, on the same port and addresses: node-local DNS shares its node's port 53 with others. A
//! Corefile that we cannot read with certainty is left alone, and the person is given the stanza to place.

mod read;
#[cfg(test)]
mod tests;

pub use read::{Outline, Root, outline};

/// Which zones are answered, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The zones, without a dot at the end.
    pub zones: Vec<String>,
    /// The ClusterIPs of lighthouse-dns.
    pub ips: Vec<String>,
}

/// Why a Corefile is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorefileError {
    /// A brace has no partner.
    #[error("its braces do not pair up (line {0})")]
    Unbalanced(usize),
    /// A quote has no partner.
    #[error("a quote that begins in line {0} does not end")]
    Unquoted(usize),
    /// The whole file is one server block, and a second one would end it.
    #[error("its server block has no braces (line {0})")]
    Braceless(usize),
    /// The addresses of the root zone's block depend on more than its words.
    #[error("the \"bind\" in line {0} has options")]
    Bind(usize),
    /// There is no block for the root zone, so it cannot be told on which port it listens.
    #[error("it has no server block for the root zone \".\"")]
    NoRoot,
    /// Somebody else serves the zone.
    #[error("line {1} serves {0} already, and not by our hand")]
    Taken(String, usize),
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
    let outline = outline(&without)?;
    outline.refuse_others(upstream)?;
    let root = outline.root.ok_or(CorefileError::NoRoot)?;
    let stanza = stanza(upstream, &root);
    Ok(if without.is_empty() || without.ends_with('\n') {
        format!("{without}{stanza}")
    } else {
        // Said in the marker, so that the newline goes with the stanza.
        format!("{without}\n{}", stanza.replacen(BEGIN, BEGIN_AFTER_OPEN_LINE, 1))
    })
}

/// The Corefile without the stanza; a file without one comes back as it is.
///
/// # Errors
/// When only one marker is left of it.
pub fn without_stanza(corefile: &str) -> Result<String, CorefileError> {
    let (begin, is_after_open_line) = match line_start(corefile, BEGIN_AFTER_OPEN_LINE) {
        Some(begin) => (Some(begin), true),
        None => (line_start(corefile, BEGIN), false),
    };
    match (begin, line_start(corefile, END)) {
        (None, None) => Ok(corefile.to_owned()),
        (Some(begin), Some(end)) if begin < end => {
            let after = corefile[end..].split_once('\n').map_or("", |(_, after)| after);
            let before = &corefile[..begin];
            let before = if is_after_open_line && after.is_empty() {
                before.strip_suffix('\n').unwrap_or(before)
            } else {
                before
            };
            Ok(format!("{before}{after}"))
        }
        _ => Err(CorefileError::HalfMarked),
    }
}

/// The stanza, markers included.
pub fn stanza(upstream: &Upstream, root: &Root) -> String {
    let port = root.port.as_deref().unwrap_or("53");
    let keys: Vec<String> = upstream.zones.iter().map(|zone| format!("{zone}:{port}")).collect();
    let bind = match root.bind.as_slice() {
        [] => String::new(),
        addresses => format!("    bind {}\n", addresses.join(" ")),
    };
    // No cache: names of a cluster that is dead go at once, those of a new export come at once, and ours answers from memory.
    format!(
        "{BEGIN}\n\
         {keys} {{\n    \
             errors\n\
         {bind}    \
             forward . {ips}\n\
         }}\n\
         {END}\n",
        keys = keys.join(" "),
        ips = upstream.ips.join(" "),
    )
}

impl Outline {
    /// Fails where one of the zones, or a part of it, is served already.
    pub(super) fn refuse_others(&self, upstream: &Upstream) -> Result<(), CorefileError> {
        let is_ours = |zone: &str| {
            let mut ours = upstream.zones.iter();
            ours.any(|own| {
                zone.strip_suffix(own.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
        };
        match self.zones.iter().find(|(zone, _)| is_ours(zone)) {
            Some((zone, line)) => Err(CorefileError::Taken(zone.clone(), *line)),
            None => Ok(()),
        }
    }
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
const BEGIN_AFTER_OPEN_LINE: &str =
    "# begin tombolo: added by `tombolo join`, removed by `tombolo leave` with the newline before it";
const END: &str = "# end tombolo";
