//! Clusters and a broker as plain tables of objects: rounds run and their writes are carried out at once, without a server or a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use k8s_runtime::Change;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::sync::round::{Patience, Round, round};
use crate::sync::world::{Local, Remote, World};
use crate::sync::write::{ANNEX_MANAGER, Side, Write};

type Key = (String, Option<String>, String);

/// One API server's objects.
#[derive(Default)]
pub(super) struct Table {
    objects: BTreeMap<Key, Value>,
    created: i64,
}

impl Table {
    /// Puts an object there as a person would, uid and age added.
    pub(super) fn put(&mut self, mut object: Value) {
        let key = key(&object);
        self.created += 1;
        object["metadata"]["uid"] = json!(format!("uid-{}", self.created));
        object["metadata"]["creationTimestamp"] = json!(Timestamp::from_second(self.created).unwrap().to_string());
        self.objects.insert(key, object);
    }

    pub(super) fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<&Value> {
        self.objects.get(&(kind.into(), namespace.map(Into::into), name.into()))
    }

    pub(super) fn get_mut(&mut self, kind: &str, namespace: Option<&str>, name: &str) -> &mut Value {
        self.objects
            .get_mut(&(kind.into(), namespace.map(Into::into), name.into()))
            .expect("the object is there")
    }

    pub(super) fn remove(&mut self, kind: &str, namespace: Option<&str>, name: &str) {
        self.objects
            .remove(&(kind.into(), namespace.map(Into::into), name.into()))
            .expect("the object is there");
    }

    /// Names of all objects of a kind, with their namespaces.
    pub(super) fn names(&self, kind: &str) -> Vec<String> {
        let of_kind = self.objects.keys().filter(|key| key.0 == kind);
        of_kind
            .map(|key| key.1.iter().chain([&key.2]).cloned().collect::<Vec<_>>().join("/"))
            .collect()
    }

    pub(super) fn clear(&mut self) {
        self.objects.clear();
    }

    fn list<K: DeserializeOwned>(&self, kind: &str) -> Vec<Arc<K>> {
        let of_kind = self.objects.iter().filter(|(key, _)| key.0 == kind);
        of_kind
            .filter_map(|(_, value)| serde_json::from_value(value.clone()).ok())
            .map(Arc::new)
            .collect()
    }

    fn apply(&mut self, write: &Write) {
        let order = &write.order;
        let key = (order.resource.kind.clone(), order.namespace.clone(), order.name.clone());
        match &order.change {
            Change::Delete { .. } => {
                self.objects.remove(&key).expect("only what is there is deleted");
            }
            Change::Apply(object) if order.manager == ANNEX_MANAGER => self.merge(&key, object, "spec"),
            Change::Apply(object) => {
                if !self.objects.contains_key(&key) {
                    self.put(object.clone());
                    return;
                }
                let old = self.objects.get_mut(&key).expect("just seen");
                let mut new = object.clone();
                for kept in ["uid", "creationTimestamp"] {
                    new["metadata"][kept] = old["metadata"][kept].clone();
                }
                if !old["status"].is_null() {
                    new["status"] = old["status"].clone();
                }
                *old = new;
            }
            Change::Status(object) => self.merge(&key, object, "status"),
        }
    }

    fn merge(&mut self, key: &Key, object: &Value, part: &str) {
        let old = self.objects.get_mut(key).expect("only what is there is added to");
        for (name, value) in object[part].as_object().expect("an object") {
            old[part][name] = value.clone();
        }
    }
}

/// A clusterset.
#[derive(Default)]
pub(super) struct Simulation {
    pub(super) broker: Table,
    pub(super) members: BTreeMap<&'static str, Table>,
    pub(super) is_broker_away: bool,
    pub(super) is_mcs_absent: bool,
}

impl Simulation {
    /// Members that have just joined; each has prefixes `10.<n>.0.0/16` and `10.<100 + n>.0.0/16`.
    pub(super) fn of(names: &[&'static str]) -> Self {
        let mut simulation = Self::default();
        simulation.broker.put(broker("first"));
        for (n, name) in names.iter().enumerate() {
            simulation.members.insert(name, member(name, n + 1));
        }
        simulation
    }

    pub(super) fn member(&mut self, name: &str) -> &mut Table {
        self.members.get_mut(name).expect("a member")
    }

    pub(super) fn world(&self, name: &str) -> World {
        let table = &self.members[name];
        let local = Local {
            brokers: table.list("Broker"),
            clusters: table.list("Cluster"),
            gateways: table.list("Gateway"),
            exported: table.list("ExportedService"),
            nodes: table.list("Node"),
            namespaces: table.list("Namespace"),
            services: table.list("Service"),
            slices: table.list("EndpointSlice"),
            exports: table.list("ServiceExport"),
            imports: table.list("ServiceImport"),
            has_mcs: !self.is_mcs_absent,
        };
        let remote = Remote {
            brokers: self.broker.list("Broker"),
            clusters: self.broker.list("Cluster"),
            gateways: self.broker.list("Gateway"),
            exported: self.broker.list("ExportedService"),
            unreadable: Vec::new(),
        };
        World {
            cluster: name.parse().unwrap(),
            namespace: "tombolo-system".into(),
            local,
            broker: (!self.is_broker_away).then_some(remote),
        }
    }

    /// One round of one member, carried out.
    pub(super) fn step(&mut self, name: &'static str, patience: &Patience) -> Round {
        let now = Timestamp::from_second(1_000).unwrap();
        let round = round(&self.world(name), patience, now);
        for write in &round.writes {
            match write.side {
                Side::Local => self.member(name).apply(write),
                Side::Broker => {
                    let own = format!("tombolo-m-{name}");
                    assert_eq!(
                        write.order.namespace.as_ref(),
                        Some(&own),
                        "{name} writes outside its namespace"
                    );
                    self.broker.apply(write);
                }
            }
        }
        round
    }

    /// Rounds of everybody until nobody wants anything more. Returns what the last ones found.
    pub(super) fn settle(&mut self) -> BTreeMap<&'static str, Round> {
        self.settle_with(&Patience {
            may_prune: true,
            ..Patience::default()
        })
    }

    pub(super) fn settle_with(&mut self, patience: &Patience) -> BTreeMap<&'static str, Round> {
        for _ in 0..20 {
            let names: Vec<&'static str> = self.members.keys().copied().collect();
            let rounds: BTreeMap<_, _> = names
                .into_iter()
                .map(|name| (name, self.step(name, patience)))
                .collect();
            if rounds.values().all(|round| round.writes.is_empty()) {
                return rounds;
            }
        }
        panic!("the rounds never come to rest");
    }

    /// A condition of an object in a member as `status reason`.
    pub(super) fn condition(&self, member: &str, kind: &str, object: (&str, &str), condition: &str) -> String {
        let object = self.members[member]
            .get(kind, Some(object.0), object.1)
            .expect("the object is there");
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|found| found["type"] == condition);
        found.map_or("none".to_owned(), |found| {
            format!(
                "{} {}",
                found["status"].as_str().unwrap(),
                found["reason"].as_str().unwrap()
            )
        })
    }
}

pub(super) fn broker(incarnation: &str) -> Value {
    json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "Broker", "metadata": {"name": "tombolo"},
        "spec": {"apiLevel": 1, "incarnation": incarnation},
    })
}

pub(super) fn cluster(namespace: &str, name: &str, n: usize) -> Value {
    json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "Cluster",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterId": name, "podPrefixes": [format!("10.{n}.0.0/16")],
            "servicePrefixes": [format!("10.{}.0.0/16", 100 + n)], "protocol": {"min": 1, "max": 1},
        },
    })
}

pub(super) fn gateway(namespace: &str, name: &str, cluster: &str, node: &str) -> Value {
    json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterId": cluster, "node": node, "port": 4510, "addresses": [],
            "publicKey": "SGVsbG8gd29ybGQsIHRoaXMgaXMgYSB0ZXN0IGtleTA=",
        },
    })
}

pub(super) fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"tombolo.dev/gateway": "true"}},
    })
}

/// As most people write it: without a spec.
pub(super) fn service_export() -> Value {
    json!({
        "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
        "metadata": {"name": "cart", "namespace": "shop"},
    })
}

/// The service shop/cart with one ready endpoint, in a member whose number is `n`.
pub(super) fn service_objects(n: usize) -> [Value; 2] {
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "namespace": "shop"},
            "spec": {
                "type": "ClusterIP", "clusterIP": format!("10.{}.0.9", 100 + n), "ipFamilies": ["IPv4"],
                "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
            },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "cart-x7z", "namespace": "shop", "labels": {"kubernetes.io/service-name": "cart"}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [format!("10.{n}.0.7")], "conditions": {"ready": true}}],
        }),
    ]
}

/// Adds them.
pub(super) fn add_service(table: &mut Table, n: usize) {
    for object in service_objects(n) {
        table.put(object);
    }
}

fn member(name: &str, n: usize) -> Table {
    let mut table = Table::default();
    for namespace in ["tombolo-system", "shop"] {
        table.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    }
    table.put(cluster("tombolo-system", name, n));
    table.put(node("gw1"));
    table.put(gateway("tombolo-system", &format!("{name}.gw1"), name, "gw1"));
    table
}

fn key(object: &Value) -> Key {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let metadata = &object["metadata"];
    (
        text(&object["kind"]).expect("a kind"),
        text(&metadata["namespace"]),
        text(&metadata["name"]).expect("a name"),
    )
}
