//! Which program an image stands for: the one table.
//!
//! The lab pulls nothing. A container's root is the machine's distribution, read-only, with these programs in `/usr/local/bin`.

use std::path::{Path, PathBuf};

/// What runs for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Programs put into the container: where they are on the machine, and where they appear.
    pub programs: Vec<(PathBuf, PathBuf)>,
    /// What comes before the container's `args` when it has no `command`.
    pub entrypoint: Vec<String>,
}

/// Finds an image; tags and digests do not matter. `executable` is the program that the lab itself is.
pub fn find(reference: &str, executable: &Path) -> Option<Image> {
    let name = repository(reference);
    let row = TABLE.iter().find(|row| row.image == name)?;
    let own = Path::new(PROGRAMS).join("tombolo");
    let mut programs = vec![(executable.to_owned(), own.clone())];
    let beside = executable.parent().unwrap_or(Path::new("/"));
    programs.extend(
        row.beside
            .iter()
            .map(|program| (beside.join(program), Path::new(PROGRAMS).join(program))),
    );
    let entrypoint = match row.role {
        Some(role) => vec![own.display().to_string(), "lab".to_owned(), role.to_owned()],
        None => Vec::new(),
    };
    Some(Image { programs, entrypoint })
}

/// Every image that there is, for an error that has to name them.
pub fn names() -> Vec<&'static str> {
    TABLE.iter().map(|row| row.image).collect()
}

struct Row {
    image: &'static str,
    /// Programs from the directory of the lab's own.
    beside: &'static [&'static str],
    /// The role of the lab's own program that is the entrypoint.
    role: Option<&'static str>,
}

const TABLE: &[Row] = &[
    Row {
        image: "tombolo/tombolo",
        beside: &["tombolo-gateway-agent", "tombolo-route-agent", "tombolo-lighthouse-dns"],
        role: None,
    },
    Row {
        image: "lab/coredns",
        beside: &[],
        role: Some("cluster-dns"),
    },
    Row {
        image: "lab/echo",
        beside: &[],
        role: Some("echo"),
    },
    Row {
        image: "lab/pause",
        beside: &[],
        role: Some("pause"),
    },
];

const PROGRAMS: &str = "/usr/local/bin";

/// The part without registry host, tag and digest.
fn repository(reference: &str) -> &str {
    let reference = reference.split('@').next().unwrap_or(reference);
    let reference = match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => reference,
    };
    match reference.split_once('/') {
        Some((host, rest)) if rest.contains('/') && host.contains(['.', ':']) => rest,
        _ => reference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_digests_and_registries_do_not_matter() {
        for reference in [
            "lab/echo",
            "lab/echo:1.2",
            "lab/echo@sha256:00",
            "r.example:5000/lab/echo:1",
            "r.example/lab/echo",
        ] {
            assert_eq!(repository(reference), "lab/echo", "{reference}");
        }
        assert_eq!(repository("docker/lab/echo"), "docker/lab/echo");
    }

    #[test]
    fn the_product_has_all_its_programs() {
        let image = find("tombolo/tombolo:0.1.0", Path::new("/b/tombolo")).unwrap();
        let agent = (
            PathBuf::from("/b/tombolo-route-agent"),
            PathBuf::from("/usr/local/bin/tombolo-route-agent"),
        );
        assert!(image.programs.contains(&agent));
        assert!(image.entrypoint.is_empty());
        assert_eq!(
            find("lab/pause", Path::new("/b/tombolo")).unwrap().entrypoint,
            ["/usr/local/bin/tombolo", "lab", "pause"]
        );
        assert_eq!(find("nginx", Path::new("/b/tombolo")), None);
    }
}
