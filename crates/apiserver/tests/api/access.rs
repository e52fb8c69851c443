//! Tokens and roles.

use apiserver::ApiServer;
use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use crate::fixture::{ADMIN, client, send, send_with, server};

async fn post(server: &ApiServer, path: &str, body: Value) -> Value {
    let answer = send(server, ADMIN, "POST", path, Some(body)).await;
    assert_eq!(answer.code, 201, "{path}: {}", answer.body);
    answer.body
}

/// Two members, each with a namespace in which it may write ConfigMaps.
async fn members(server: &ApiServer) {
    for member in ["m-east", "m-west"] {
        post(server, "/api/v1/namespaces", json!({"metadata": {"name": member}})).await;
        let inside = format!("/api/v1/namespaces/{member}");
        post(
            server,
            &format!("{inside}/serviceaccounts"),
            json!({"metadata": {"name": "member"}}),
        )
        .await;
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{member}");
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "list"]},
                           {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create"]}]);
        post(
            server,
            &format!("{rbac}/roles"),
            json!({"metadata": {"name": "writer"}, "rules": rules}),
        )
        .await;
        let binding = json!({"metadata": {"name": "writer"}, "roleRef": {"kind": "Role", "name": "writer"},
                             "subjects": [{"kind": "ServiceAccount", "name": "member", "namespace": member}]});
        post(server, &format!("{rbac}/rolebindings"), binding).await;
    }
}

async fn token(server: &ApiServer, namespace: &str, bound: Option<Value>) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(client(server), namespace);
    let request: TokenRequest = serde_json::from_value(
        json!({"spec": {"audiences": [], "expirationSeconds": 900, "boundObjectRef": bound}, "metadata": {}}),
    )
    .unwrap();
    let answer = accounts
        .create_token_request("member", &PostParams::default(), &request)
        .await
        .unwrap();
    answer.status.unwrap().token
}

#[tokio::test]
async fn a_member_may_write_at_home_and_nowhere_else() {
    let server = server();
    members(&server).await;
    let east = token(&server, "m-east", None).await;
    let object = json!({"metadata": {"name": "x"}});
    let path = |namespace: &str| format!("/api/v1/namespaces/{namespace}/configmaps");
    assert_eq!(
        send(&server, &east, "POST", &path("m-east"), Some(object.clone()))
            .await
            .code,
        201
    );
    let away = send(&server, &east, "POST", &path("m-west"), Some(object)).await;
    assert_eq!(away.code, 403);
    assert_eq!(
        away.body["message"],
        "configmaps is forbidden: User \"system:serviceaccount:m-east:member\" cannot create resource \"configmaps\" in API \
         group \"\" in the namespace \"m-west\""
    );
    assert_eq!(
        send(&server, &east, "GET", "/api/v1/namespaces/m-east/secrets", None)
            .await
            .code,
        403
    );
    assert_eq!(
        send(&server, &east, "GET", "/apis", None).await.code,
        200,
        "discovery is for everybody with a token"
    );
    let more = json!({"metadata": {"name": "more"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/m-east/roles";
    let escalation = send(&server, &east, "POST", roles, Some(more)).await;
    assert_eq!(escalation.code, 403);
    assert!(
        escalation.body["message"]
            .as_str()
            .unwrap()
            .contains("permissions not currently held")
    );
}

#[tokio::test]
async fn a_bound_token_dies_with_its_secret() {
    let server = server();
    members(&server).await;
    let secrets = "/api/v1/namespaces/m-east/secrets";
    let secret = post(&server, secrets, json!({"metadata": {"name": "invite"}})).await;
    let bound = json!({"kind": "Secret", "apiVersion": "v1", "name": "invite", "uid": secret["metadata"]["uid"]});
    let invite = token(&server, "m-east", Some(bound)).await;
    let path = "/api/v1/namespaces/m-east/configmaps";
    assert_eq!(send(&server, &invite, "GET", path, None).await.code, 200);
    send(&server, ADMIN, "DELETE", &format!("{secrets}/invite"), None).await;
    assert_eq!(send(&server, &invite, "GET", path, None).await.code, 401);
    post(&server, secrets, json!({"metadata": {"name": "invite"}})).await;
    assert_eq!(
        send(&server, &invite, "GET", path, None).await.code,
        401,
        "a new object of that name is another object"
    );
}

#[tokio::test]
async fn a_token_dies_with_its_service_account() {
    let server = server();
    members(&server).await;
    let east = token(&server, "m-east", None).await;
    let path = "/api/v1/namespaces/m-east/configmaps";
    assert_eq!(send(&server, &east, "GET", path, None).await.code, 200);
    send(
        &server,
        ADMIN,
        "DELETE",
        "/api/v1/namespaces/m-east/serviceaccounts/member",
        None,
    )
    .await;
    assert_eq!(send(&server, &east, "GET", path, None).await.code, 401);
}

#[tokio::test]
async fn strangers_see_the_version_and_nothing_else() {
    let server = server();
    for path in ["/version", "/healthz", "/livez", "/readyz"] {
        assert_eq!(send(&server, "", "GET", path, None).await.code, 200, "{path}");
    }
    for path in ["/api", "/apis", "/openapi/v3", "/api/v1/namespaces"] {
        assert_eq!(send(&server, "", "GET", path, None).await.code, 403, "{path}");
    }
    let wrong = send(&server, "wrong", "GET", "/version", None).await;
    assert_eq!((wrong.code, &wrong.body["message"]), (401, &json!("Unauthorized")));
    assert_eq!(
        send(
            &server,
            "",
            "POST",
            "/api/v1/namespaces",
            Some(json!({"metadata": {"name": "x"}}))
        )
        .await
        .code,
        403
    );
}

#[tokio::test]
async fn only_masters_act_as_others() {
    let server = server();
    members(&server).await;
    let east = token(&server, "m-east", None).await;
    let who = |token: &str, namespace: &str| {
        let request = http::Request::builder()
            .uri(format!("/api/v1/namespaces/{namespace}/configmaps"))
            .header("authorization", format!("Bearer {token}"))
            .header("impersonate-user", "system:serviceaccount:m-west:member")
            .body(axum::body::Body::empty());
        let router = server.router();
        async move {
            tower::ServiceExt::oneshot(router, request.unwrap())
                .await
                .unwrap()
                .status()
                .as_u16()
        }
    };
    assert_eq!(who(ADMIN, "m-west").await, 200);
    assert_eq!(who(ADMIN, "m-east").await, 403);
    assert_eq!(who(&east, "m-west").await, 403);
}

#[tokio::test]
async fn reviews_answer_for_their_user() {
    let server = server();
    members(&server).await;
    let east = token(&server, "m-east", None).await;
    let ask = |path: &'static str, body: Value| {
        let (server, east) = (server.clone(), east.clone());
        async move { send(&server, &east, "POST", path, Some(body)).await.body["status"].clone() }
    };
    let mine = |verb: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "configmaps", "namespace": "m-east"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(ask(path, mine("get")).await["allowed"], true);
    assert_eq!(ask(path, mine("delete")).await["allowed"], false);
    let who = ask("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({})).await;
    assert_eq!(who["userInfo"]["username"], "system:serviceaccount:m-east:member");
    let review = json!({"spec": {"token": east}});
    let found = send(
        &server,
        ADMIN,
        "POST",
        "/apis/authentication.k8s.io/v1/tokenreviews",
        Some(review),
    )
    .await;
    assert_eq!(found.body["status"]["authenticated"], true);
}

#[tokio::test]
async fn a_local_question_is_about_its_own_namespace() {
    let server = server();
    members(&server).await;
    let path = "/apis/authorization.k8s.io/v1/namespaces/m-east/localsubjectaccessreviews";
    let ask = |user: &str, namespace: &str| {
        let attributes = json!({"verb": "get", "resource": "configmaps", "namespace": namespace});
        let body = json!({"spec": {"user": user, "resourceAttributes": attributes}});
        let server = &server;
        async move { send(server, ADMIN, "POST", path, Some(body)).await }
    };
    let own = ask("system:serviceaccount:m-east:member", "m-east").await;
    assert_eq!(
        (own.code, &own.body["status"]["allowed"]),
        (201, &json!(true)),
        "{}",
        own.body
    );
    assert_eq!(own.body["metadata"]["namespace"], "m-east");
    let others = ask("system:serviceaccount:m-west:member", "m-east").await;
    assert_eq!(others.body["status"]["allowed"], false);
    let elsewhere = ask("system:serviceaccount:m-west:member", "m-west").await;
    assert_eq!(elsewhere.code, 422);
    assert_eq!(
        elsewhere.body["details"]["causes"][0]["field"],
        "spec.resourceAttributes.namespace"
    );
}

#[tokio::test]
async fn nobody_binds_to_a_role_that_may_yet_become_anything() {
    let server = server();
    members(&server).await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/m-east";
    let may = json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings"], "verbs": ["create"]}]);
    post(
        &server,
        &format!("{rbac}/roles"),
        json!({"metadata": {"name": "binder"}, "rules": may}),
    )
    .await;
    let to = |role: &str| {
        json!({"metadata": {"name": role}, "roleRef": {"kind": "Role", "name": role},
               "subjects": [{"kind": "ServiceAccount", "name": "member", "namespace": "m-east"}]})
    };
    post(&server, &format!("{rbac}/rolebindings"), to("binder")).await;
    let east = token(&server, "m-east", None).await;
    let bindings = format!("{rbac}/rolebindings");
    let missing = send(&server, &east, "POST", &bindings, Some(to("later"))).await;
    assert_eq!(missing.code, 404);
    assert_eq!(
        missing.body["message"],
        "roles.rbac.authorization.k8s.io \"later\" not found"
    );
    post(&server, &bindings, to("later")).await;
}

#[tokio::test]
async fn acting_as_somebody_is_granted_like_anything_else() {
    let server = server();
    members(&server).await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rules =
        json!([{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["eve"]}]);
    post(
        &server,
        &format!("{rbac}/clusterroles"),
        json!({"metadata": {"name": "as-eve"}, "rules": rules}),
    )
    .await;
    let binding = json!({"metadata": {"name": "as-eve"}, "roleRef": {"kind": "ClusterRole", "name": "as-eve"},
                         "subjects": [{"kind": "ServiceAccount", "name": "member", "namespace": "m-east"}]});
    post(&server, &format!("{rbac}/clusterrolebindings"), binding).await;
    let east = token(&server, "m-east", None).await;
    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let ask = async |headers: &[(&str, &str)]| send_with(&server, &east, "POST", whoami, headers, json!({})).await;
    let eve = ask(&[("impersonate-user", "eve")]).await;
    assert_eq!(
        eve.body["status"]["userInfo"],
        json!({"username": "eve", "groups": ["system:authenticated"]})
    );
    let bob = ask(&[("impersonate-user", "bob")]).await;
    assert_eq!(bob.code, 403);
    assert_eq!(
        bob.body["message"],
        "users \"bob\" is forbidden: User \"system:serviceaccount:m-east:member\" cannot impersonate resource \"users\" in API \
         group \"\" at the cluster scope"
    );
    let masters = ask(&[("impersonate-user", "eve"), ("impersonate-group", "system:masters")]).await;
    assert_eq!(masters.code, 403, "the group is claimed too");
}
