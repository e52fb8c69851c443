//! The leaders of two clusters and a broker, as they run.

mod clusters;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_api::mcs::{ServiceExport, ServiceImport};
use k8s_api::{Cluster, ExportedService, Gateway};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::Role;
use k8s_runtime::ServerAddress;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use model::ClusterId;
use serde_json::json;

use self::clusters::{Member, PATIENCE, broker, create, eventually};
use crate::sync::tests::simulation;

#[tokio::test]
async fn an_export_crosses_and_goes_again() {
    let broker = broker().await;
    let (east, west) = tokio::join!(broker.member("east", 1), broker.member("west", 2));
    east.reported("sync of east", |report| report.synced.status == Some(true))
        .await;
    eventually("east's gateway in west", async || {
        west.system::<Gateway>().get_opt("east.gw1").await.unwrap()
    })
    .await;

    east.export(1).await;
    let imports = west.shop::<ServiceImport>();
    let has_clusters =
        |import: &ServiceImport| import.status.as_ref().is_some_and(|status| !status.clusters.is_empty());
    eventually("the import in west", async || {
        imports.get_opt("cart").await.unwrap().filter(has_clusters)
    })
    .await;
    let slices = west.shop::<EndpointSlice>();
    let slice = eventually("its slice", async || slices.get_opt("cart.east.ipv4.0").await.unwrap()).await;
    assert_eq!(slice.endpoints[0].addresses, ["10.1.0.7"]);
    let exports = east.shop::<ServiceExport>();
    eventually("a ready export", async || {
        let conditions = exports.get("cart").await.unwrap().status?.conditions;
        k8s_api::condition::is_true(&conditions, "Ready").then_some(())
    })
    .await;

    exports.delete("cart", &DeleteParams::default()).await.unwrap();
    let none = |left: usize| (left == 0).then_some(());
    let everything = ListParams::default();
    eventually("no import in west", async || {
        none(imports.list(&everything).await.unwrap().items.len())
    })
    .await;
    eventually("no slice in west", async || {
        none(slices.list(&everything).await.unwrap().items.len())
    })
    .await;
    let told: Api<ExportedService> = Api::all(broker.admin.clone());
    eventually("no export on the broker", async || {
        none(told.list(&everything).await.unwrap().items.len())
    })
    .await;
}

#[tokio::test]
async fn the_leader_comes_to_rest() {
    let broker = broker().await;
    let (east, west) = tokio::join!(broker.member("east", 1), broker.member("west", 2));
    east.export(1).await;
    eventually("the slice in west", async || {
        west.shop::<EndpointSlice>().get_opt("cart.east.ipv4.0").await.unwrap()
    })
    .await;
    let version = async |member: &Member| {
        let list = member.system::<Cluster>().list(&ListParams::default()).await.unwrap();
        list.metadata.resource_version.unwrap()
    };
    // Once a server's revision stands still for several rounds, nobody writes any more.
    eventually("rest", async || {
        let before = (version(&east).await, version(&west).await);
        tokio::time::sleep(Duration::from_secs(6)).await;
        (before == (version(&east).await, version(&west).await)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_of_unknown_age_is_renewed_and_works() {
    let broker = broker().await;
    let east = broker.member("east", 1).await;
    let secrets = east.system::<Secret>();
    let data = eventually("a renewed token", async || {
        let data = secrets.get("tombolo-broker").await.unwrap().data.unwrap_or_default();
        data.contains_key("tokenExpires").then_some(data)
    })
    .await;
    let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
    let (url, ca) = (text("url"), text("ca.crt"));
    let server = ServerAddress {
        url: &url,
        ca: &ca,
        name: "",
    };
    let renewed = k8s_runtime::client_for(server, &text("token")).unwrap();
    let clusters: Api<Cluster> = Api::namespaced(renewed.clone(), "tombolo-m-east");
    eventually("the own cluster on the broker", async || {
        clusters.get_opt("east").await.unwrap()
    })
    .await;

    broker.invite("west").await;
    let foreign: Api<Cluster> = Api::namespaced(renewed, "tombolo-m-west");
    let object: Cluster = serde_json::from_value(simulation::cluster("tombolo-m-west", "west", 2)).unwrap();
    let refused = foreign.create(&PostParams::default(), &object).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
}

#[tokio::test]
async fn a_malformed_object_is_reported_and_eviction_is_obeyed() {
    let broker = broker().await;
    let (east, west) = tokio::join!(broker.member("east", 1), broker.member("west", 2));
    eventually("east's gateway in west", async || {
        west.system::<Gateway>().get_opt("east.gw1").await.unwrap()
    })
    .await;
    broker.invite("south").await;
    let mut bad = simulation::cluster("tombolo-m-south", "south", 3);
    bad["spec"]["podPrefixes"] = json!(["10.3.0.1/16"]);
    create(&broker.admin, bad).await;
    west.reported("the malformed prefix", |report| {
        report.malformed.iter().any(|why| why.contains("10.3.0.0/16"))
    })
    .await;

    let clusters: Api<Cluster> = Api::namespaced(broker.admin.clone(), "tombolo-m-east");
    let evict = json!({"spec": {"state": "Evicted"}});
    clusters
        .patch("east", &PatchParams::default(), &Patch::Merge(&evict))
        .await
        .unwrap();
    east.reported("the eviction in east", |report| report.synced.reason == "Evicted")
        .await;
    eventually("no gateway of east in west", async || {
        west.system::<Gateway>()
            .get_opt("east.gw1")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    let tombstone = clusters.get("east").await.unwrap();
    assert_eq!(tombstone.spec.state, "Evicted");
}

#[tokio::test]
async fn a_write_that_is_refused_is_named_and_done_once_it_is_allowed() {
    let broker = broker().await;
    let east = broker.member("east", 1).await;
    east.reported("sync", |report| report.synced.status == Some(true)).await;
    let roles: Api<Role> = Api::namespaced(broker.admin.clone(), "tombolo-m-east");
    let allowed = roles.get("member").await.unwrap();
    let nothing = json!({"rules": []});
    roles
        .patch("member", &PatchParams::default(), &Patch::Merge(&nothing))
        .await
        .unwrap();
    east.export(1).await;
    east.reported("the refusal", |report| {
        report.synced.reason == "WritesFail" && report.synced.message.contains("exportedservices")
    })
    .await;
    let again = json!({"rules": allowed.rules});
    roles
        .patch("member", &PatchParams::default(), &Patch::Merge(&again))
        .await
        .unwrap();
    east.reported("sync again", |report| report.synced.status == Some(true))
        .await;
    let told: Api<ExportedService> = Api::all(broker.admin.clone());
    assert_eq!(told.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_lost_broker_is_named_and_handed_over() {
    let mut broker = broker().await;
    let mut east = broker.member("east", 1).await;
    east.reported("sync", |report| report.synced.status == Some(true)).await;
    drop(broker.stop.take());
    let url = broker.url.clone();
    east.reported("the lost broker", |report| {
        report.synced.reason == "BrokerUnreachable" && report.synced.message.contains(&url)
    })
    .await;
    east.export(1).await;
    eventually("the own export at home", async || {
        east.shop::<EndpointSlice>().get_opt("cart.east.ipv4.0").await.unwrap()
    })
    .await;
    let ended = tokio::time::timeout(PATIENCE, &mut east.leader)
        .await
        .expect("the leader hands over");
    let error = ended.unwrap().unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_secret_that_is_missing_or_foreign_is_named() {
    let broker = broker().await;
    let east = broker.member("east", 1).await;
    let other: ClusterId = "other".parse().unwrap();
    let secrets = east.system::<Secret>();
    let foreign = json!({"stringData": BTreeMap::from([("clusterId", other.as_str())])});
    secrets
        .patch("tombolo-broker", &PatchParams::default(), &Patch::Merge(&foreign))
        .await
        .unwrap();
    east.reported("the foreign Secret", |report| report.synced.reason == "BadSecret")
        .await;
    secrets
        .delete("tombolo-broker", &DeleteParams::default())
        .await
        .unwrap();
    east.reported("no Secret", |report| report.synced.reason == "NotJoined")
        .await;
}
