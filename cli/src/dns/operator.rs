//! The clusterset zone in the object of OpenShift's DNS operator, `dns.operator.openshift.io/default`. Pure.
//!
//! The operator writes the Corefile from the object. A server entry of ours, by name, forwards the zones; every other field stays
//! as it is.

use serde_json::{Value, json};

use super::corefile::Upstream;

/// Why the object is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// Another entry serves the zone.
    #[error("its server \"{1}\" serves {0} already, and not by our hand")]
    Taken(String, String),
    /// It is not as the operator's schema says.
    #[error("its spec.servers is no list")]
    NoList,
    /// Nobody manages cluster DNS by it now.
    #[error("its managementState is \"{0}\", so the operator would not act on it")]
    Unmanaged(String),
}

/// The object with our entry.
///
/// # Errors
/// When it should be left alone.
pub fn with_entry(object: &Value, upstream: &Upstream) -> Result<Value, OperatorError> {
    if let Some(state) = object["spec"]["managementState"].as_str()
        && !matches!(state, "" | "Managed")
    {
        return Err(OperatorError::Unmanaged(state.to_owned()));
    }
    let entry = entry(upstream);
    let servers = servers(object)?;
    for server in servers.iter().filter(|server| server["name"] != NAME) {
        let zones = server["zones"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        for zone in zones {
            let plain = zone.trim_end_matches('.').to_ascii_lowercase();
            let mut ours = upstream.zones.iter();
            if ours.any(|own| plain == *own || plain.ends_with(&format!(".{own}"))) {
                let name = server["name"].as_str().unwrap_or_default();
                return Err(OperatorError::Taken(zone.to_owned(), name.to_owned()));
            }
        }
    }
    let mut servers = servers.to_vec();
    match servers.iter_mut().find(|server| server["name"] == NAME) {
        Some(ours) => *ours = entry,
        None => servers.push(entry),
    }
    let mut after = object.clone();
    after["spec"]["servers"] = Value::Array(servers);
    Ok(after)
}

/// The object without our entry.
///
/// # Errors
/// When it is not as the operator's schema says.
pub fn without_entry(object: &Value) -> Result<Value, OperatorError> {
    let mut servers = servers(object)?.to_vec();
    let before = servers.len();
    servers.retain(|server| server["name"] != NAME);
    let mut after = object.clone();
    if servers.len() == before {
        return Ok(after);
    }
    if let Some(spec) = after["spec"].as_object_mut() {
        if servers.is_empty() {
            // The API server keeps no empty list here, so there was none before us.
            spec.remove("servers");
        } else {
            spec.insert("servers".to_owned(), Value::Array(servers));
        }
    }
    Ok(after)
}

/// Our entry.
pub fn entry(upstream: &Upstream) -> Value {
    json!({
        "name": NAME,
        "zones": upstream.zones,
        "forwardPlugin": { "policy": "Random", "upstreams": upstream.ips },
    })
}

fn servers(object: &Value) -> Result<&[Value], OperatorError> {
    match &object["spec"]["servers"] {
        Value::Null => Ok(&[]),
        Value::Array(servers) => Ok(servers),
        _ => Err(OperatorError::NoList),
    }
}

/// The entry's name.
const NAME: &str = "tombolo";

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream() -> Upstream {
        Upstream {
            zones: vec!["clusterset.local".to_owned()],
            ips: vec!["172.30.9.9".to_owned()],
        }
    }

    fn golden(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_entry_is_put_behind_the_others_and_taken_out_again() {
        let before = golden(include_str!("golden/openshift.before.json"));
        let after = golden(include_str!("golden/openshift.after.json"));
        assert_eq!(with_entry(&before, &upstream()).unwrap(), after);
        assert_eq!(with_entry(&after, &upstream()).unwrap(), after);
        assert_eq!(without_entry(&after).unwrap(), before);
        assert_eq!(without_entry(&before).unwrap(), before);
    }

    #[test]
    fn an_object_without_servers_has_none_afterwards() {
        let before = json!({"kind": "DNS", "metadata": {"name": "default"}, "spec": {"logLevel": "Normal"}});
        let after = with_entry(&before, &upstream()).unwrap();
        assert_eq!(after["spec"]["servers"][0]["name"], "tombolo");
        assert_eq!(without_entry(&after).unwrap(), before);
    }

    #[test]
    fn what_is_not_ours_or_not_managed_is_left_alone() {
        let taken = json!({"spec": {"servers": [{"name": "other", "zones": ["a.example", "Svc.Clusterset.Local."]}]}});
        let why = with_entry(&taken, &upstream()).unwrap_err();
        assert_eq!(
            why,
            OperatorError::Taken("Svc.Clusterset.Local.".to_owned(), "other".to_owned())
        );
        let unmanaged = json!({"spec": {"managementState": "Unmanaged"}});
        assert!(matches!(
            with_entry(&unmanaged, &upstream()),
            Err(OperatorError::Unmanaged(_))
        ));
        assert_eq!(
            without_entry(&json!({"spec": {"servers": 7}})),
            Err(OperatorError::NoList)
        );
    }
}
