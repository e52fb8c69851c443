//! What the users of the recordings may do. Roles are often given in steps that are missing, but an answer other than a refusal
//! shows that there was one.

use serde_json::{Value, json};

use super::path::Path;
use super::recording::Recording;
use super::replay::{Replay, groups_of};

impl Replay<'_> {
    /// Lets the user of a step do what the recorded server let them do.
    pub(crate) async fn mend_rights(&mut self, recording: &Recording) {
        let Some(user) = recording.user().filter(|_| !is_refused(recording)) else {
            return;
        };
        let Some(path) = Path::parse(&recording.request.path) else {
            return;
        };
        let verb = verb(recording, &path);
        let asked = json!({"spec": {
            "user": user, "groups": groups_of(user),
            "resourceAttributes": {"verb": verb, "group": path.group(), "resource": path.plural,
                "subresource": path.subresource, "namespace": path.namespace, "name": path.name},
        }});
        let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let review = self.admin("POST", reviews, Some(&asked)).await.json();
        if review["status"]["allowed"] == true {
            return;
        }
        let (prefix, scope) = match path.namespace.as_str() {
            "" => ("Cluster", String::new()),
            namespace => {
                self.mend_namespace(namespace).await;
                ("", format!("namespaces/{namespace}/"))
            }
        };
        let resource = match path.subresource.as_str() {
            "" => path.plural.clone(),
            subresource => format!("{}/{subresource}", path.plural),
        };
        let rules = json!([{"apiGroups": [path.group()], "resources": [resource], "verbs": [verb]}]);
        let at = |plural: &str| {
            let plural = format!("{prefix}{plural}").to_lowercase();
            format!("/apis/rbac.authorization.k8s.io/v1/{scope}{plural}")
        };
        let role = json!({"metadata": {"generateName": "mended-"}, "rules": rules});
        let role = self.admin("POST", &at("roles"), Some(&role)).await.json();
        let api = "rbac.authorization.k8s.io";
        let binding = json!({
            "metadata": {"generateName": "mended-"},
            "roleRef": {"apiGroup": api, "kind": format!("{prefix}Role"), "name": role["metadata"]["name"]},
            "subjects": [{"apiGroup": api, "kind": "User", "name": user}],
        });
        self.admin("POST", &at("rolebindings"), Some(&binding)).await;
    }
}

/// Whether the step failed for want of rights, or of a user.
fn is_refused(recording: &Recording) -> bool {
    let message = recording.response.body.as_ref().map(|body| &body["message"]);
    let message = message.and_then(Value::as_str).unwrap_or_default();
    recording.response.status == 401 || message.contains(" cannot ")
}

/// The verb that a request is authorised as.
fn verb(recording: &Recording, path: &Path) -> &'static str {
    let is_one = !path.name.is_empty();
    match recording.request.method.as_str() {
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if is_one => "delete",
        "DELETE" => "deletecollection",
        _ if recording.response.events.is_some() => "watch",
        _ if is_one => "get",
        _ => "list",
    }
}
