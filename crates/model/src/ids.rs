use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{value}\" is not valid: {why}")]
pub struct InvalidId {
    /// The kind of id, in words.
    pub what: &'static str,
    /// The text as given.
    pub value: String,
    /// The rule that it breaks, and so the mend.
    pub why: &'static str,
}

/// The id of a cluster: an RFC 1123 label of at most 50 characters, because it becomes part of a namespace name.
/// Stable for the life of the membership.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

impl ClusterId {
    /// The longest id.
    pub const MAX_LEN: usize = 50;

    /// The one that none comes before.
    pub(crate) fn first() -> Self {
        Self("0".to_owned())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace of this member on the broker.
    pub fn broker_namespace(&self) -> String {
        format!("{}{}", crate::names::MEMBER_NAMESPACE_PREFIX, self.0)
    }

    /// The member whose namespace on the broker this is, if it is one.
    pub fn from_broker_namespace(namespace: &str) -> Option<Self> {
        namespace
            .strip_prefix(crate::names::MEMBER_NAMESPACE_PREFIX)?
            .parse()
            .ok()
    }
}

impl FromStr for ClusterId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let why = if text.is_empty() {
            Some("it is empty; use 1 to 50 lower-case letters, digits and '-'")
        } else if text.len() > Self::MAX_LEN {
            Some("it is longer than 50 characters")
        } else if !is_rfc1123_label(text) {
            Some("use lower-case letters, digits and '-', and begin and end with a letter or digit")
        } else {
            None
        };
        match why {
            Some(why) => Err(InvalidId {
                what: "cluster id",
                value: text.to_owned(),
                why,
            }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// The name of a Kubernetes node (an RFC 1123 subdomain of at most 253 characters).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() <= 253 && !text.is_empty() && text.split('.').all(is_rfc1123_label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                what: "node name",
                value: text.to_owned(),
                why: "a node name is an RFC 1123 subdomain of at most 253 characters",
            })
        }
    }
}

macro_rules! text_id {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $id {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
        impl From<$id> for String {
            fn from(id: $id) -> Self {
                id.0
            }
        }
    )*};
}
text_id!(ClusterId, NodeName);

/// A gateway: a node of a cluster. Written `<cluster>.<node>`, which is also the name of its object in member clusters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayId {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The node that it runs on.
    pub node: NodeName,
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.cluster, self.node)
    }
}

impl fmt::Debug for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A service by namespace and name; by namespace sameness (KEP-1645) it means the same service in every cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ServiceKey {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// `<svc>.<ns>`: the name of the `ExportedService` on the broker. A service name has no dot, so it can be read back.
    pub fn broker_name(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }

    /// Reads [`broker_name`](Self::broker_name) back.
    pub fn from_broker_name(name: &str) -> Option<Self> {
        let (name, namespace) = name.split_once('.')?;
        (is_rfc1123_label(name) && is_rfc1123_label(namespace)).then(|| Self::new(namespace, name))
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 1123 label: 1 to 63 lower-case letters, digits and inner dashes.
fn is_rfc1123_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_labels_of_at_most_fifty() {
        for good in ["east", "a", "0", "eu-west-1", &"a".repeat(50)] {
            assert_eq!(good.parse::<ClusterId>().unwrap().as_str(), good);
        }
        for bad in ["", "East", "-a", "a-", "a.b", "a_b", "é", " a", &"a".repeat(51)] {
            let error = bad.parse::<ClusterId>().unwrap_err();
            assert!(error.to_string().contains(&format!("\"{bad}\"")), "{error}");
        }
    }

    #[test]
    fn the_broker_namespace_names_its_member() {
        let id: ClusterId = "east".parse().unwrap();
        assert_eq!(id.broker_namespace(), "tombolo-m-east");
        assert_eq!(ClusterId::from_broker_namespace("tombolo-m-east"), Some(id));
        assert_eq!(ClusterId::from_broker_namespace("kube-system"), None);
        assert_eq!(ClusterId::from_broker_namespace("tombolo-m-"), None);
    }

    #[test]
    fn a_service_key_survives_its_broker_name() {
        let key = ServiceKey::new("shop", "cart");
        assert_eq!(key.broker_name(), "cart.shop");
        assert_eq!(ServiceKey::from_broker_name("cart.shop"), Some(key));
        for bad in ["cart", "cart.", ".shop", "Cart.shop", "a.b.c"] {
            assert_eq!(ServiceKey::from_broker_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn malformed_ids_do_not_deserialize() {
        let error = serde_json::from_str::<ClusterId>("\"Not_A_Label\"").unwrap_err();
        assert!(error.to_string().contains("cluster id \"Not_A_Label\""), "{error}");
    }
}
