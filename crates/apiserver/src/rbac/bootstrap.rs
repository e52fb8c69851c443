//! The roles and bindings that every cluster starts with.

use serde_json::{Value, json};

/// (plural, object) of each.
pub(crate) fn objects() -> Vec<(&'static str, Value)> {
    let role = |name: &str, rules: Value| {
        let meta = json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}});
        ("clusterroles", json!({"metadata": meta, "rules": rules}))
    };
    let binding = |name: &str, groups: &[&str]| {
        let meta = json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}});
        let group = "rbac.authorization.k8s.io";
        let subjects: Vec<Value> = groups
            .iter()
            .map(|name| json!({"kind": "Group", "apiGroup": group, "name": name}))
            .collect();
        let reference = json!({"apiGroup": group, "kind": "ClusterRole", "name": name});
        (
            "clusterrolebindings",
            json!({"metadata": meta, "roleRef": reference, "subjects": subjects}),
        )
    };
    let get = |urls: &[&str]| json!([{"verbs": ["get"], "nonResourceURLs": urls}]);
    vec![
        role(
            "cluster-admin",
            json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]),
        ),
        binding("cluster-admin", &["system:masters"]),
        role(
            "system:basic-user",
            json!([
                {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
                 "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
                {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
            ]),
        ),
        binding("system:basic-user", &["system:authenticated"]),
        role(
            "system:discovery",
            get(&[
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ]),
        ),
        binding("system:discovery", &["system:authenticated"]),
        role(
            "system:public-info-viewer",
            get(&["/healthz", "/livez", "/readyz", "/version", "/version/"]),
        ),
        binding(
            "system:public-info-viewer",
            &["system:authenticated", "system:unauthenticated"],
        ),
        // What a service needs to verify the tokens of others.
        role(
            "system:service-account-issuer-discovery",
            get(&[
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ]),
        ),
        binding("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
    ]
}
