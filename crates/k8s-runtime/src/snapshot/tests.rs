use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Client, CustomResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Freshness, SnapshotOptions, View, saved, watch_snapshot};

/// A server that can be cut off.
struct Site {
    client: Client,
    is_cut: watch::Sender<bool>,
}

async fn site() -> Site {
    let crds = k8s_api::crds::member();
    let config = apiserver::Config {
        crds: crds.iter().map(|crd| serde_json::to_value(crd).unwrap()).collect(),
        ..apiserver::Config::default()
    };
    site_of(config).await
}

async fn site_of(mut config: apiserver::Config) -> Site {
    config.admin_token = "admin".into();
    let server = apiserver::ApiServer::open(config).unwrap();
    let (is_cut, cut) = watch::channel(false);
    let layer = axum::middleware::from_fn(move |request, next: axum::middleware::Next| {
        let is_cut = *cut.borrow();
        async move {
            use axum::response::IntoResponse;
            if is_cut {
                return http::StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            next.run(request).await
        }
    });
    let client = Client::new(server.admin_router().layer(layer), "default");
    let namespace = serde_json::from_value(json!({ "metadata": { "name": "tombolo-system" } })).unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    Site { client, is_cut }
}

impl Site {
    async fn put<K: CustomResourceExt>(&self, name: &str, labels: Value, spec: Value) {
        let resource: ApiResource = K::api_resource();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), "tombolo-system", &resource);
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": { "name": name, "labels": labels }, "spec": spec,
        });
        let params = PatchParams::apply("test").force();
        api.patch(name, &params, &Patch::Apply(object)).await.unwrap();
    }

    async fn put_cluster(&self, id: &str, is_mirror: bool, pods: &str) {
        let labels = if is_mirror {
            json!({ "app.kubernetes.io/managed-by": "tombolo" })
        } else {
            json!({})
        };
        let spec = json!({ "clusterId": id, "podPrefixes": [pods], "protocol": { "min": 1, "max": 1 } });
        self.put::<k8s_api::Cluster>(id, labels, spec).await;
    }
}

fn options() -> SnapshotOptions {
    SnapshotOptions {
        namespace: "tombolo-system".into(),
        cluster: None,
        nodes: true,
        exports: true,
        imports: false,
        saved: None,
    }
}

async fn until(views: &mut watch::Receiver<Arc<View>>, what: &str, holds: impl Fn(&View) -> bool) -> Arc<View> {
    let found = tokio::time::timeout(Duration::from_secs(30), views.wait_for(|view| holds(view))).await;
    if let Ok(view) = found {
        return Arc::clone(&view.expect("the watch goes on"));
    }
    drop(found);
    panic!("not within 30 s: {what}; now {:?}", views.borrow());
}

fn clusters(view: &View) -> Vec<&str> {
    let snapshot = view.snapshot.iter();
    snapshot
        .flat_map(|snapshot| snapshot.clusters.keys())
        .map(|id| id.as_str())
        .collect()
}

#[tokio::test]
async fn the_own_cluster_is_the_one_that_is_no_mirror_and_bad_objects_are_named() {
    let site = site().await;
    let mut views = watch_snapshot(&site.client, options());
    until(
        &mut views,
        "waiting for join",
        |view| matches!(&view.freshness, Freshness::Waiting(why) if why.contains("tombolo join")),
    )
    .await;
    site.put_cluster("a-mirror", true, "10.2.0.0/16").await;
    site.put_cluster("east", false, "10.1.0.0/16").await;
    let view = until(&mut views, "two clusters", |view| clusters(view).len() == 2).await;
    assert_eq!(view.snapshot.as_ref().unwrap().cluster.as_str(), "east");
    assert_eq!((view.freshness.clone(), view.malformed.len()), (Freshness::Live, 0));

    // A prefix that is none, and a name that belies the spec.
    site.put_cluster("bad", true, "10.3.0.1/16").await;
    let spec = json!({ "clusterId": "north", "protocol": { "min": 1, "max": 1 } });
    site.put::<k8s_api::Cluster>("south", json!({}), spec).await;
    site.put_cluster("west", true, "10.4.0.0/16").await;
    let view = until(&mut views, "west and two malformed", |view| {
        clusters(view).contains(&"west") && view.malformed.len() == 2
    })
    .await;
    assert_eq!(clusters(&view), ["a-mirror", "east", "west"]);
    let named: Vec<String> = view.malformed.iter().map(ToString::to_string).collect();
    assert!(
        named[0].contains("bad") && named[0].contains("10.3.0.1/16"),
        "{named:?}"
    );
    assert!(named[1].contains("south") && named[1].contains("north"), "{named:?}");
}

#[tokio::test]
async fn an_object_that_does_not_even_decode_is_skipped() {
    // A definition that is looser than our types, as a newer or older build's may be.
    let mut crd = serde_json::to_value(k8s_api::Cluster::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let mut crds = vec![crd];
    crds.extend(
        k8s_api::crds::member()
            .iter()
            .skip(2)
            .map(|crd| serde_json::to_value(crd).unwrap()),
    );
    let site = site_of(apiserver::Config {
        crds,
        ..apiserver::Config::default()
    })
    .await;
    site.put_cluster("east", false, "10.1.0.0/16").await;
    site.put::<k8s_api::Cluster>("strange", json!({}), json!({ "clusterId": ["what"] }))
        .await;
    let mut views = watch_snapshot(&site.client, options());
    let view = until(&mut views, "a live snapshot", |view| view.freshness == Freshness::Live).await;
    assert_eq!(clusters(&view), ["east"]);
    assert_eq!(view.malformed.len(), 1);
    assert!(
        view.malformed[0]
            .to_string()
            .starts_with("Cluster tombolo-system/strange"),
        "{}",
        view.malformed[0]
    );
    site.put_cluster("west", true, "10.2.0.0/16").await;
    until(&mut views, "the watch goes on", |view| clusters(view).contains(&"west")).await;
}

#[tokio::test]
async fn a_kind_that_the_server_lacks_is_none_of_it_until_it_comes() {
    let all = k8s_api::crds::member();
    let crds = all
        .iter()
        .filter(|crd| !k8s_api::crds::name(crd).starts_with("exportedservices"));
    let crds = crds.map(|crd| serde_json::to_value(crd).unwrap()).collect();
    let site = site_of(apiserver::Config {
        crds,
        ..apiserver::Config::default()
    })
    .await;
    site.put_cluster("east", false, "10.1.0.0/16").await;
    let mut views = watch_snapshot(&site.client, options());
    until(&mut views, "a snapshot without exports", |view| {
        view.freshness == Freshness::Live
    })
    .await;
}

#[tokio::test]
async fn a_lost_server_freezes_the_snapshot_also_across_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot.json");
    let kept = || SnapshotOptions {
        saved: Some(path.clone()),
        ..options()
    };
    let site = site().await;
    site.put_cluster("east", false, "10.1.0.0/16").await;
    let mut views = watch_snapshot(&site.client, kept());
    let live = until(&mut views, "a live snapshot", |view| view.freshness == Freshness::Live).await;
    let saving = async {
        while saved::load(&path, None).as_ref() != live.snapshot.as_deref() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), saving)
        .await
        .expect("saved within 10 s");

    site.is_cut.send_replace(true);
    let mut again = watch_snapshot(&site.client, kept());
    let view = until(
        &mut again,
        "the saved snapshot, with the reason",
        |view| matches!(&view.freshness, Freshness::Stale(why) if why.contains("503")),
    )
    .await;
    assert_eq!(view.snapshot, live.snapshot);
    site.is_cut.send_replace(false);
    let view = until(&mut again, "live again", |view| view.freshness == Freshness::Live).await;
    assert_eq!(view.snapshot, live.snapshot);
}
