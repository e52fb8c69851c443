//! Tokens of service accounts: what they say, for whom, and how others verify them.

use apiserver::{ApiServer, Backup, Config};
use axum::body::Body;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::fixture::{ADMIN, config, send, send_as, server};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

async fn post(server: &ApiServer, path: &str, body: Value) -> Value {
    let answer = send(server, ADMIN, "POST", path, Some(body)).await;
    assert_eq!(answer.code, 201, "{path}: {}", answer.body);
    answer.body
}

/// A TokenRequest of the account `default`, as answered.
async fn request(server: &ApiServer, spec: Value) -> Value {
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    send(server, ADMIN, "POST", path, Some(json!({"spec": spec})))
        .await
        .body
}

async fn token(server: &ApiServer, spec: Value) -> String {
    let answer = request(server, spec).await;
    let token = answer["status"]["token"].as_str();
    token.unwrap_or_else(|| panic!("no token in {answer}")).to_owned()
}

async fn review(server: &ApiServer, spec: Value) -> Value {
    post(server, REVIEWS, json!({"spec": spec})).await["status"].clone()
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

async fn pod(server: &ApiServer, node: &str) -> Value {
    post(server, "/api/v1/nodes", json!({"metadata": {"name": node}})).await;
    let spec = json!({"nodeName": node, "containers": [{"name": "c", "image": "i"}]});
    let pods = "/api/v1/namespaces/default/pods";
    post(server, pods, json!({"metadata": {"name": "p"}, "spec": spec})).await
}

#[tokio::test]
async fn a_token_says_what_a_real_one_says() {
    let server = server();
    let answer = request(&server, json!({"expirationSeconds": 900})).await;
    let token = answer["status"]["token"].as_str().unwrap();
    let claims = part(token, 1);
    let keys: Vec<&String> = claims.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["aud", "exp", "iat", "iss", "jti", "kubernetes.io", "nbf", "sub"]);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(ISSUER), &json!([ISSUER])));
    assert_eq!(claims["sub"], "system:serviceaccount:default:default");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
    assert_eq!(claims["nbf"], claims["iat"]);
    let uid = &answer["metadata"]["uid"];
    assert_eq!(
        claims["kubernetes.io"],
        json!({"namespace": "default", "serviceaccount": {"name": "default", "uid": uid}})
    );
    let user = review(&server, json!({"token": token})).await["user"].clone();
    let id = format!("JTI={}", claims["jti"].as_str().unwrap());
    assert_eq!(
        user["extra"],
        json!({"authentication.kubernetes.io/credential-id": [id]})
    );
    assert_eq!(&user["uid"], uid);
}

#[tokio::test]
async fn a_token_of_a_pod_names_pod_and_node_and_dies_with_the_pod() {
    let server = server();
    let pod = pod(&server, "n1").await;
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p"});
    let kubelets = token(&server, json!({"expirationSeconds": 3607, "boundObjectRef": bound})).await;
    let claims = part(&kubelets, 1);
    let about = &claims["kubernetes.io"];
    assert_eq!(about["pod"], json!({"name": "p", "uid": pod["metadata"]["uid"]}));
    assert_eq!(about["node"]["name"], "n1");
    let (issued, warns, ends) = (
        claims["iat"].as_i64(),
        about["warnafter"].as_i64(),
        claims["exp"].as_i64(),
    );
    assert_eq!(warns, issued.map(|at| at + 3607));
    assert_eq!(
        ends,
        issued.map(|at| at + 365 * 86_400),
        "clients that read it only once have a year"
    );

    let user = review(&server, json!({"token": kubelets})).await["user"].clone();
    let extra = |name: &str| user["extra"][format!("authentication.kubernetes.io/{name}")][0].clone();
    assert_eq!(extra("pod-name"), "p");
    assert_eq!(extra("pod-uid"), pod["metadata"]["uid"]);
    assert_eq!(extra("node-name"), "n1");

    let path = "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0";
    assert_eq!(send(&server, ADMIN, "DELETE", path, None).await.code, 200);
    let after = review(&server, json!({"token": kubelets})).await;
    assert_eq!(
        after["error"],
        "[invalid bearer token, service account token has been invalidated]"
    );
    assert_eq!(send(&server, &kubelets, "GET", "/api", None).await.code, 401);
}

#[tokio::test]
async fn only_what_can_be_is_bound() {
    let server = server();
    post(
        &server,
        "/api/v1/namespaces/default/serviceaccounts",
        json!({"metadata": {"name": "other"}}),
    )
    .await;
    pod(&server, "n1").await;
    let path = "/api/v1/namespaces/default/serviceaccounts/other/token";
    let ask = |reference: Value| {
        let body = json!({"spec": {"boundObjectRef": reference}});
        let server = &server;
        async move { send(server, ADMIN, "POST", path, Some(body)).await }
    };
    let of_another = ask(json!({"kind": "Pod", "apiVersion": "v1", "name": "p"})).await;
    assert_eq!(of_another.code, 400);
    assert!(
        of_another.body["message"]
            .as_str()
            .unwrap()
            .contains("different serviceaccount name")
    );
    assert_eq!(
        ask(json!({"kind": "ConfigMap", "apiVersion": "v1", "name": "x"}))
            .await
            .code,
        400
    );
    assert_eq!(
        ask(json!({"kind": "Secret", "apiVersion": "v1", "name": "x"}))
            .await
            .code,
        404
    );
    let stale = ask(json!({"kind": "Node", "apiVersion": "v1", "name": "n1", "uid": "another"})).await;
    assert_eq!(stale.code, 409);
    assert_eq!(
        ask(json!({"kind": "Node", "apiVersion": "v1", "name": "n1"}))
            .await
            .code,
        201
    );
    for seconds in [599, (1_i64 << 32) + 1] {
        let answer = request(&server, json!({"expirationSeconds": seconds})).await;
        assert_eq!(answer["code"], 422, "{seconds}");
    }
}

#[tokio::test]
async fn a_token_is_for_its_audiences() {
    let server = server();
    let vault = token(&server, json!({"audiences": ["vault", "store"]})).await;
    assert_eq!(
        send(&server, &vault, "GET", "/api", None).await.code,
        401,
        "it is not for the API server"
    );
    let ours = review(&server, json!({"token": vault})).await;
    assert_eq!(
        ours["error"],
        format!(
            "[invalid bearer token, token audiences [\"vault\" \"store\"] is invalid for the target audiences [\"{ISSUER}\"]]"
        )
    );
    assert_eq!(ours.get("authenticated"), None);
    let theirs = review(&server, json!({"token": vault, "audiences": ["x", "store"]})).await;
    assert_eq!(
        (&theirs["authenticated"], &theirs["audiences"]),
        (&json!(true), &json!(["store"]))
    );
    let admins = review(&server, json!({"token": ADMIN, "audiences": ["vault"]})).await;
    assert_eq!(admins["error"], "invalid bearer token");
    let nothing = send(&server, ADMIN, "POST", REVIEWS, Some(json!({"spec": {}}))).await;
    assert_eq!(nothing.code, 400);
}

#[tokio::test]
async fn a_token_of_another_server_or_changed_is_none() {
    let (server, other) = (server(), server());
    let foreign = token(&other, json!({})).await;
    assert_eq!(send(&server, &foreign, "GET", "/api", None).await.code, 401);
    let own = token(&server, json!({})).await;
    assert_eq!(send(&server, &own, "GET", "/api", None).await.code, 200);
    let mut claims = part(&own, 1);
    claims["exp"] = json!(claims["exp"].as_i64().unwrap() + 1);
    let parts: Vec<&str> = own.split('.').collect();
    let longer = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    let longer = format!("{}.{longer}.{}", parts[0], parts[2]);
    assert_eq!(send(&server, &longer, "GET", "/api", None).await.code, 401);
}

#[tokio::test]
async fn others_find_the_keys_by_discovery() {
    let server = server();
    let own = token(&server, json!({})).await;
    let found = send(&server, &own, "GET", "/.well-known/openid-configuration", None).await;
    assert_eq!((found.code, &found.body["issuer"]), (200, &json!(ISSUER)));
    assert_eq!(found.body["jwks_uri"], "https://192.0.2.1:6443/openid/v1/jwks");
    let keys = |token: &'static str, accept: &'static str| {
        let server = &server;
        async move { send_as(server, token, "GET", "/openid/v1/jwks", "", accept, None).await }
    };
    let set = keys(ADMIN, "application/jwk-set+json").await;
    assert_eq!(set.body["keys"][0]["kid"], part(&own, 0)["kid"]);
    assert_eq!(set.body["keys"][0].get("d"), None, "the private half stays here");
    assert_eq!(keys(ADMIN, "application/json").await.code, 406);
    for path in ["/.well-known/openid-configuration", "/openid/v1/jwks"] {
        assert_eq!(
            send(&server, "", "GET", path, None).await.code,
            403,
            "strangers must be let in by a binding"
        );
    }
}

#[tokio::test]
async fn a_restored_server_knows_the_tokens_that_are_out() {
    let first = server();
    let issued = token(&first, json!({})).await;
    let request = http::Request::builder().uri("/backup").body(Body::empty()).unwrap();
    let answer = first.admin_router().oneshot(request).await.unwrap();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let dir = tempfile::tempdir().unwrap();
    Backup::read(&bytes[..]).unwrap().restore(dir.path()).unwrap();
    let second = ApiServer::open(Config {
        data_dir: Some(dir.path().to_owned()),
        ..config()
    })
    .unwrap();
    assert_eq!(send(&second, &issued, "GET", "/api", None).await.code, 200);
}
