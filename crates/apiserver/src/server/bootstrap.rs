//! The objects that exist from the start. Run at every start; what is there stays.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{OpenError, Server};
use crate::{
    auth::{self, SigningKey, User},
    object::{Object as _, text_at},
    rbac,
    rest::{self, Change},
    store::Key,
};

/// `key` is the record of a new signing key.
pub(crate) fn run(server: &Server, key: Option<Value>, crds: &[Value]) -> Result<(), OpenError> {
    credentials(server, key)?;
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        ensure(server, "", "namespaces", "", json!({"metadata": {"name": namespace}}))?;
    }
    for (plural, object) in rbac::bootstrap::objects() {
        ensure(server, "rbac.authorization.k8s.io", plural, "", object)?;
    }
    for definition in crds {
        ensure(
            server,
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            "",
            definition.clone(),
        )?;
    }
    kubernetes_service(server)?;
    let namespaces: Vec<String> = {
        let store = server.store();
        let all = store.list(&crate::store::Resource::new("", "namespaces"), None);
        all.filter(|(_, object)| !object.is_terminating())
            .map(|(place, _)| place.name.clone())
            .collect()
    };
    for namespace in namespaces {
        ensure(
            server,
            "",
            "serviceaccounts",
            &namespace,
            json!({"metadata": {"name": "default"}}),
        )?;
        if let Some(ca) = server.root_ca() {
            put(server, "", "configmaps", &namespace, rest::root_ca(ca))?;
        }
    }
    Ok(())
}

/// Nothing that is signed with a new key leaves before its record is on disk: like everything, it waits for what came before.
fn credentials(server: &Server, key: Option<Value>) -> Result<(), OpenError> {
    let kept = server.write(false, |txn, _| {
        auth::sweep(txn, Timestamp::now());
        if let Some(record) = key {
            txn.put(SigningKey::place(), record);
        }
        Ok(())
    });
    kept.map(|_| ()).map_err(|status| OpenError::Bootstrap {
        what: "the key of service account tokens".into(),
        status: status.message,
    })
}

/// The service `kubernetes` leads to this server.
fn kubernetes_service(server: &Server) -> Result<(), OpenError> {
    let addresses: Vec<String> = server
        .services
        .first_addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    let Some(first) = addresses.first() else { return Ok(()) };
    let cidrs: Vec<String> = server.services.iter().map(ToString::to_string).collect();
    let cidr = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}});
    ensure(server, "networking.k8s.io", "servicecidrs", "", cidr)?;
    service_range_is_ready(server)?;
    let port = server.advertise.map_or(6443, |address| address.port());
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "clusterIP": first, "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "targetPort": port, "protocol": "TCP"}],
        },
    });
    ensure(server, "", "services", "default", service)?;
    // Nobody elsewhere could use a loopback address, so it is no endpoint.
    if let Some(address) = server
        .advertise
        .filter(|address| !address.ip().is_loopback() && !address.ip().is_unspecified())
    {
        let slice = json!({
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        });
        put(server, "discovery.k8s.io", "endpointslices", "default", slice)?;
        // The same for clients of the older kind, and for nobody to copy from there.
        let endpoints = json!({
            "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": [{"ip": address.ip().to_string()}],
                         "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
        });
        put(server, "", "endpoints", "default", endpoints)?;
    }
    Ok(())
}

/// The status of the range that services get their addresses from, which is always ready.
fn service_range_is_ready(server: &Server) -> Result<(), OpenError> {
    let admin = User::admin();
    let result = server.write(false, |txn, registry| {
        let Some(write) = server.own_write(registry, &admin, "networking.k8s.io", "servicecidrs", "") else {
            return Ok(());
        };
        let live = txn.get(&Key::new(&write.kind.resource, "", "kubernetes"));
        if live.is_none_or(|live| live["status"]["conditions"].is_array()) {
            return Ok(());
        }
        let write = rest::Write {
            subresource: "status",
            manager: "kubernetes-service-cidr-controller",
            ..write
        };
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": crate::object::time(write.now),
                           "message": "Kubernetes default Service CIDR is ready"});
        let config = json!({"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1",
                            "metadata": {"name": "kubernetes"}, "status": {"conditions": [ready]}});
        let change = Change::Apply { config, force: true };
        rest::update(txn, &write, "kubernetes", change).map(|_| ())
    });
    result.map(|_| ()).map_err(|status| OpenError::Bootstrap {
        what: "servicecidrs \"kubernetes\"".into(),
        status: status.message,
    })
}

fn ensure(server: &Server, group: &str, plural: &str, namespace: &str, object: Value) -> Result<(), OpenError> {
    write(server, group, plural, namespace, object, false)
}

/// Creates an object, or updates the one that is there.
fn put(server: &Server, group: &str, plural: &str, namespace: &str, object: Value) -> Result<(), OpenError> {
    write(server, group, plural, namespace, object, true)
}

fn write(
    server: &Server,
    group: &str,
    plural: &str,
    namespace: &str,
    mut object: Value,
    update: bool,
) -> Result<(), OpenError> {
    let admin = User::admin();
    let name = object.name().to_owned();
    let result = server.write(false, |txn, registry| {
        let Some(write) = server.own_write(registry, &admin, group, plural, namespace) else {
            return Ok(());
        };
        for (field, value) in [
            ("kind", write.kind.kind.clone()),
            ("apiVersion", write.kind.api_version()),
        ] {
            if text_at(&object, &[field]).is_empty() {
                object[field] = value.into();
            }
        }
        match txn.get(&Key::new(&write.kind.resource, namespace, &name)) {
            Some(_) if update => rest::update(txn, &write, &name, Change::Put(object)).map(|_| ()),
            Some(_) => Ok(()),
            None => rest::create(txn, &write, object).map(|_| ()),
        }
    });
    let what = || format!("{plural} {name:?}");
    result.map(|_| ()).map_err(|status| OpenError::Bootstrap {
        what: what(),
        status: status.message,
    })
}
