//! What the client wants to read: the Accept header.

use http::HeaderValue;

/// How a body is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Json,
    PrettyJson,
    Yaml,
}

/// What objects are turned into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    #[default]
    Object,
    Table,
    Metadata,
    /// Aggregated discovery, v2 or v2beta1.
    Discovery(&'static str),
}

/// The first alternative that this server can write; none if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accept {
    header: String,
    choice: Option<(Format, Shape)>,
}

impl Accept {
    pub(crate) fn parse(header: Option<&HeaderValue>, query: Option<&str>, agent: &str) -> Self {
        let header = header.and_then(|value| value.to_str().ok()).unwrap_or("*/*");
        let header = if header.trim().is_empty() { "*/*" } else { header };
        let human = ["curl", "Wget", "Mozilla"].iter().any(|name| agent.starts_with(name));
        let pretty =
            query.is_some_and(|query| query.split('&').any(|pair| pair == "pretty=true" || pair == "pretty=1"));
        let json = if human || pretty {
            Format::PrettyJson
        } else {
            Format::Json
        };
        Self {
            header: header.to_owned(),
            choice: header.split(',').find_map(|alternative| understood(alternative, json)),
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.choice.map_or(Format::Json, |(format, _)| format)
    }

    pub(crate) fn shape(&self) -> Shape {
        self.choice.map_or(Shape::Object, |(_, shape)| shape)
    }

    /// Whether the client takes a document of this type, which is written in no other.
    pub(crate) fn admits(&self, kind: &str) -> bool {
        let mut types = self.header.split(',').filter_map(|part| part.split(';').next());
        types.any(|part| matches!(part.trim(), "*/*" | "application/*") || part.trim() == kind)
    }

    pub(crate) fn is_acceptable(&self) -> bool {
        self.choice.is_some()
    }
}

fn understood(alternative: &str, json: Format) -> Option<(Format, Shape)> {
    let mut parts = alternative.split(';').map(str::trim);
    let format = match parts.next()? {
        "application/json" | "*/*" | "application/*" | "text/html" => json,
        "application/yaml" => Format::Yaml,
        _ => return None,
    };
    let (mut shown, mut version) = ("", "");
    for parameter in parts {
        match parameter.split_once('=') {
            Some(("as", value)) => shown = value,
            Some(("v", value)) => version = value,
            _ => {}
        }
    }
    let shape = match shown {
        "" => Shape::Object,
        "Table" => Shape::Table,
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Metadata,
        "APIGroupDiscoveryList" if version == "v2" => Shape::Discovery("v2"),
        "APIGroupDiscoveryList" if version == "v2beta1" => Shape::Discovery("v2beta1"),
        _ => return None,
    };
    Some((format, shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(header: &'static str) -> Accept {
        Accept::parse(Some(&HeaderValue::from_static(header)), None, "kubectl/1")
    }

    #[test]
    fn the_first_that_can_be_written_wins() {
        let table = accept("application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
        assert_eq!(table.shape(), Shape::Table);
        assert_eq!(
            accept("application/vnd.kubernetes.protobuf,application/json").format(),
            Format::Json
        );
        assert!(!accept("application/vnd.kubernetes.protobuf").is_acceptable());
        assert_eq!(accept("application/yaml").format(), Format::Yaml);
        let discovery = accept("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json");
        assert_eq!(discovery.shape(), Shape::Discovery("v2"));
        assert_eq!(Accept::parse(None, None, "curl/8").format(), Format::PrettyJson);
    }
}
