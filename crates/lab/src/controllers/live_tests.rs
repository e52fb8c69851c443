//! The controllers against a real API: the embedded server, in process. The test plays the kubelet.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use apiserver::{ApiServer, Config};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::pod::{is_ready, is_terminating, node_of};
use super::{garbage, namespaces, reconcile};

/// A cluster with two gateways and a worker, its controllers, and something like a kubelet. Dropping it ends them.
struct Cluster {
    client: Client,
    _tasks: JoinSet<()>,
}

impl Cluster {
    async fn start() -> Self {
        let server = ApiServer::open(Config {
            service_prefixes: vec!["10.96.0.0/24".parse().unwrap()],
            admin_token: "admin".to_owned(),
            ..Config::default()
        })
        .unwrap();
        let client = Client::new(server.admin_router(), "default");
        let nodes: Api<Node> = Api::all(client.clone());
        for (name, role) in [("gw1", "gateway"), ("gw2", "gateway"), ("worker", "work")] {
            create(&nodes, json!({"metadata": {"name": name, "labels": {"role": role}}})).await;
            let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
            nodes
                .patch_status(name, &PatchParams::default(), &Patch::Merge(&ready))
                .await
                .unwrap();
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(reconcile(client.clone()));
        tasks.spawn(garbage::run(client.clone()));
        tasks.spawn(play_kubelet(client.clone()));
        Self { client, _tasks: tasks }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn list<K>(&self) -> Vec<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        self.api::<K>().list(&ListParams::default()).await.unwrap().items
    }
}

async fn create<K: DeserializeOwned + Serialize + Clone + std::fmt::Debug>(api: &Api<K>, object: Value) {
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap())
        .await
        .unwrap();
}

/// Pods that are bound run, and pods that are to end are gone. A pod labelled so is never ready.
async fn play_kubelet(client: Client) {
    let all: Api<Pod> = Api::all(client.clone());
    loop {
        for (number, pod) in all.list(&ListParams::default()).await.unwrap().into_iter().enumerate() {
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
            let wanted = !pod.labels().contains_key("unready");
            if is_terminating(&pod) {
                let _ = api
                    .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                    .await;
            } else if node_of(&pod).is_some() && is_ready(&pod) != wanted {
                let status = json!({"status": {
                    "phase": "Running", "podIP": format!("10.1.0.{}", number + 1),
                    "conditions": [{"type": "Ready", "status": if wanted { "True" } else { "False" }}],
                }});
                let _ = api
                    .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&status))
                    .await;
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Polls until the answer is there; says what it waited for when it does not come.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} for: {what}");
        tokio::time::sleep(POLL).await;
    }
}

fn workload(name: &str, more: &Value) -> Value {
    let mut workload = json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "one", "ports": [{"name": "web", "containerPort": 8080}]}]},
            },
        },
    });
    json_patch::merge(&mut workload, more);
    workload
}

#[tokio::test]
async fn a_daemon_set_runs_where_it_should_and_its_pods_go_with_it() {
    let cluster = Cluster::start().await;
    let sets: Api<DaemonSet> = cluster.api();
    let selector = json!({"spec": {"template": {"spec": {"nodeSelector": {"role": "gateway"}}}}});
    create(&sets, workload("agent", &selector)).await;
    let status = async || sets.get("agent").await.unwrap().status.unwrap_or_default();
    eventually("two ready pods", async || {
        (status().await.number_ready == 2).then_some(())
    })
    .await;
    let nodes: BTreeSet<String> = cluster
        .list::<Pod>()
        .await
        .iter()
        .filter_map(|pod| node_of(pod).map(str::to_owned))
        .collect();
    assert_eq!(nodes, ["gw1".to_owned(), "gw2".to_owned()].into());

    let newer = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}});
    sets.patch("agent", &PatchParams::default(), &Patch::Merge(&newer))
        .await
        .unwrap();
    eventually("a finished roll", async || {
        let status = status().await;
        let is_done = status.observed_generation == Some(2) && status.updated_number_scheduled == Some(2);
        (is_done && status.number_ready == 2).then_some(())
    })
    .await;
    for pod in cluster.list::<Pod>().await.iter().filter(|pod| !is_terminating(*pod)) {
        assert_eq!(pod.spec.as_ref().unwrap().containers[0].image.as_deref(), Some("two"));
    }

    sets.delete("agent", &DeleteParams::default()).await.unwrap();
    eventually("no pods", async || cluster.list::<Pod>().await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn slices_follow_the_readiness_of_a_deployments_pods_and_everything_owned_is_collected() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = cluster.api();
    create(&deployments, workload("cart", &json!({"spec": {"replicas": 2}}))).await;
    let services: Api<Service> = cluster.api();
    let ports = json!([{"name": "http", "port": 80, "targetPort": "web"}]);
    create(
        &services,
        json!({"metadata": {"name": "cart"}, "spec": {"selector": {"app": "cart"}, "ports": ports}}),
    )
    .await;
    let ready = async || {
        let slices = cluster.list::<EndpointSlice>().await;
        let own = slices.into_iter().filter(|slice| {
            slice
                .labels()
                .get("kubernetes.io/service-name")
                .is_some_and(|of| of == "cart")
        });
        own.flat_map(|slice| slice.endpoints)
            .filter(|endpoint| endpoint.conditions.as_ref().and_then(|at| at.ready) == Some(true))
            .count()
    };
    eventually("two ready endpoints", async || (ready().await == 2).then_some(())).await;
    eventually("an available deployment", async || {
        let status = deployments.get("cart").await.unwrap().status?;
        (status.available_replicas == Some(2) && status.observed_generation == Some(1)).then_some(())
    })
    .await;

    let pods: Api<Pod> = cluster.api();
    let first = cluster.list::<Pod>().await.remove(0).name_any();
    let label = |value: Value| json!({"metadata": {"labels": {"unready": value}}});
    pods.patch(&first, &PatchParams::default(), &Patch::Merge(&label("yes".into())))
        .await
        .unwrap();
    eventually("one ready endpoint", async || (ready().await == 1).then_some(())).await;
    pods.patch(&first, &PatchParams::default(), &Patch::Merge(&label(Value::Null)))
        .await
        .unwrap();
    eventually("both again", async || (ready().await == 2).then_some(())).await;

    deployments.delete("cart", &DeleteParams::default()).await.unwrap();
    services.delete("cart", &DeleteParams::default()).await.unwrap();
    eventually("nothing that the deployment and the service made", async || {
        let left = cluster.list::<ReplicaSet>().await.len() + cluster.list::<Pod>().await.len();
        let slices = cluster.list::<EndpointSlice>().await;
        (left == 0 && slices.iter().all(|slice| slice.name_any() == "kubernetes")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_roll_replaces_every_pod_and_never_leaves_too_few() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = cluster.api();
    create(&deployments, workload("cart", &json!({"spec": {"replicas": 3}}))).await;
    let status = async || deployments.get("cart").await.unwrap().status.unwrap_or_default();
    eventually("three", async || {
        (status().await.available_replicas == Some(3)).then_some(())
    })
    .await;
    let newer = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}});
    deployments
        .patch("cart", &PatchParams::default(), &Patch::Merge(&newer))
        .await
        .unwrap();
    eventually("three of the new ones and no others", async || {
        let ready = cluster
            .list::<Pod>()
            .await
            .iter()
            .filter(|pod| is_ready(pod) && !is_terminating(*pod))
            .count();
        assert!(ready >= 3, "with three replicas a quarter is none: {ready} ready");
        let status = status().await;
        let is_done =
            status.observed_generation == Some(2) && status.updated_replicas == Some(3) && status.replicas == Some(3);
        (is_done && status.available_replicas == Some(3)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_object_stays_while_one_of_its_owners_does() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = cluster.api();
    for name in ["one", "two"] {
        create(&maps, json!({"metadata": {"name": name}})).await;
    }
    let owner = async |name: &str| {
        let uid = maps.get(name).await.unwrap().uid();
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid})
    };
    let (one, two) = (owner("one").await, owner("two").await);
    create(
        &maps,
        json!({"metadata": {"name": "of-both", "ownerReferences": [one, two]}}),
    )
    .await;
    create(&maps, json!({"metadata": {"name": "of-one", "ownerReferences": [one]}})).await;
    let gone = async |name: &str| maps.get_opt(name).await.unwrap().is_none().then_some(());
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    eventually("of-one to go", async || gone("of-one").await).await;
    assert_eq!(gone("of-both").await, None);
    maps.delete("two", &DeleteParams::default()).await.unwrap();
    eventually("of-both to go", async || gone("of-both").await).await;
}

const POLL: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_namespace_of_an_external_server_has_what_pods_need() {
    let cluster = Cluster::start().await;
    let accounts = cluster.api::<ServiceAccount>();
    accounts.delete("default", &DeleteParams::default()).await.unwrap();
    let _task = tokio::spawn(namespaces::run(cluster.client.clone(), Some("PEM".to_owned())));
    eventually("the account and the CA", async || {
        let map = cluster.api::<ConfigMap>().get_opt("kube-root-ca.crt").await.unwrap();
        let has_ca = map.is_some_and(|map| map.data.unwrap()["ca.crt"] == "PEM");
        let account = accounts.get_opt("default").await.unwrap();
        account.filter(|_| has_ca)
    })
    .await;
}
