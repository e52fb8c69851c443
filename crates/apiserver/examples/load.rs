//! Puts load on an API server, this one or another, and prints what it measured, a JSON line a figure.
//!
//! ```text
//! cargo run --release -p apiserver --example load -- KUBECONFIG creates 0 10000
//! cargo run --release -p apiserver --example load -- KUBECONFIG list
//! cargo run --release -p apiserver --example load -- KUBECONFIG fanout 1000
//! ```
//!
//! `creates FROM TO` makes ConfigMaps of half a kilobyte in namespace `bench`, thirty-two at a time; `list` reads them all at once, five
//! times; `fanout N` lets N watchers see twenty changes of one object, and tells how long after the start of the write each saw it.
//! `clean` deletes the namespace.

use std::{error::Error, time::Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::sync::mpsc;

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [kubeconfig, what, rest @ ..] = arguments.as_slice() else {
        return Err("usage: load KUBECONFIG creates FROM TO | list | fanout N | clean".into());
    };
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
    let client = Client::try_from(config)?;
    match (*what, rest) {
        ("creates", [from, to]) => creates(&client, from.parse()?, to.parse()?).await,
        ("list", []) => list(&client).await,
        ("fanout", [watchers]) => fanout(&client, watchers.parse()?).await,
        ("clean", []) => clean(&client).await,
        _ => Err(format!("{what} {rest:?} is nothing that can be measured").into()),
    }
}

async fn creates(client: &Client, from: usize, to: usize) -> Outcome {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    match namespaces.create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => drop(other?),
    }
    let maps = maps(client);
    let start = Instant::now();
    let made = stream::iter(from..to).map(|n| {
        let maps = maps.clone();
        async move { maps.create(&PostParams::default(), &map(&format!("map-{n:06}"))).await }
    });
    let mut made = made.buffer_unordered(AT_ONCE);
    while made.try_next().await?.is_some() {}
    let count = f64::from(u32::try_from(to - from)?);
    tell("creates_per_s", "1/s", &[count / start.elapsed().as_secs_f64()]);
    Ok(())
}

async fn list(client: &Client) -> Outcome {
    let mut samples = Vec::new();
    for _ in 0..5 {
        let request = http::Request::get(format!("/api/v1/namespaces/{NAMESPACE}/configmaps")).body(Vec::new())?;
        let start = Instant::now();
        // The text only: how fast a client parses it is not the server's.
        let text = client.request_text(request).await?;
        samples.push(start.elapsed().as_secs_f64() * 1000.0);
        assert!(text.contains("map-000000"), "the list is empty");
    }
    tell("list_ms", "ms", &samples);
    Ok(())
}

async fn fanout(client: &Client, watchers: usize) -> Outcome {
    let maps = maps(client);
    let bell = maps.create(&PostParams::default(), &map("bell")).await?;
    let version = bell.metadata.resource_version.unwrap_or_default();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let params = WatchParams::default().fields("metadata.name=bell");
    let streams = stream::iter(0..watchers).map(|_| maps.watch(&params, &version));
    let streams: Vec<_> = streams.buffered(AT_ONCE).try_collect().await?;
    for stream in streams {
        let sender = sender.clone();
        tokio::spawn(async move {
            let mut stream = stream.boxed();
            while let Ok(Some(WatchEvent::Modified(_))) = stream.try_next().await {
                if sender.send(Instant::now()).is_err() {
                    break;
                }
            }
        });
    }
    let mut samples = Vec::new();
    for round in 0..20 {
        let start = Instant::now();
        let patch = Patch::Merge(json!({"data": {"round": round.to_string()}}));
        maps.patch("bell", &PatchParams::default(), &patch).await?;
        for _ in 0..watchers {
            let at = seen.recv().await.ok_or("all watchers have ended")?;
            samples.push((at - start).as_secs_f64() * 1000.0);
        }
    }
    maps.delete("bell", &DeleteParams::default()).await?;
    tell("fanout_ms", "ms", &samples);
    Ok(())
}

async fn clean(client: &Client) -> Outcome {
    maps(client)
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    Ok(())
}

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.data = Some([("fill".to_owned(), "x".repeat(512))].into());
    map
}

fn tell(figure: &str, unit: &str, samples: &[f64]) {
    println!("{}", json!({"figure": figure, "unit": unit, "samples": samples}));
}

const NAMESPACE: &str = "bench";
const AT_ONCE: usize = 32;
