use serde_json::{Value, json};

use crate::{
    auth::User,
    kinds::{Registry, builtin, rules::ServicePrefixes},
    rest::{self, Change, DeleteOptions, FieldValidation, Outcome, Write},
    status::Status,
    store::{Limits, Resource, Store, Txn},
};

/// A server without a server: a store, and the kinds.
struct World {
    store: Store,
    registry: Registry,
    services: ServicePrefixes,
    user: User,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            store: Store::new(Limits::default()),
            registry: builtin::registry().0,
            services: ServicePrefixes::new(Vec::new()),
            user: User::admin(),
        };
        world
            .create(
                "namespaces",
                "",
                &json!({"metadata": {"name": "a", "labels": {"x": "1"}}}),
            )
            .expect("created");
        world
            .create("namespaces", "", &json!({"metadata": {"name": "b"}}))
            .expect("created");
        world
    }

    fn write<T>(
        &mut self,
        plural: &str,
        namespace: &str,
        change: impl FnOnce(&mut Txn<'_>, &Write<'_>) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let group = if plural.starts_with("validating") {
            "admissionregistration.k8s.io"
        } else {
            ""
        };
        let registry = self.registry.clone();
        let write = Write {
            kind: registry
                .of_resource(&Resource::new(group, plural))
                .expect("is built in"),
            registry: &registry,
            services: &self.services,
            user: &self.user,
            root_ca: None,
            namespace,
            subresource: "",
            manager: "test",
            validation: FieldValidation::Strict,
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut txn = Txn::new(&self.store);
        let result = change(&mut txn, &write)?;
        let changes = txn.into_changes();
        self.store.commit(&changes, write.now);
        for change in &changes {
            self.registry
                .policies
                .take(&change.key, (!change.deleted).then_some(&*change.object));
        }
        Ok(result)
    }

    fn create(&mut self, plural: &str, namespace: &str, object: &Value) -> Result<Outcome, Status> {
        self.write(plural, namespace, |txn, write| rest::create(txn, write, object.clone()))
    }

    fn map(&mut self, namespace: &str, name: &str, data: &Value) -> Result<Outcome, Status> {
        self.create(
            "configmaps",
            namespace,
            &json!({"metadata": {"name": name}, "data": data}),
        )
    }

    /// Puts a policy about ConfigMaps into force.
    fn policy(&mut self, spec: &Value, binding: &Value) {
        let mut policy = json!({"metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                "operations": ["CREATE", "UPDATE", "DELETE"]}]}}});
        let mut bound = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
        for (target, fields) in [(&mut policy, spec), (&mut bound, binding)] {
            for (field, value) in fields.as_object().expect("an object") {
                target["spec"][field] = value.clone();
            }
        }
        self.create("validatingadmissionpolicies", "", &policy)
            .expect("created");
        self.create("validatingadmissionpolicybindings", "", &bound)
            .expect("created");
    }
}

#[track_caller]
fn refusal(result: Result<Outcome, Status>) -> (u16, String) {
    let status = result.expect_err("is refused");
    (status.code, status.message)
}

const DENIED: &str = "is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request:";

#[test]
fn what_is_not_met_is_denied_with_its_message_and_reason() {
    let mut world = World::new();
    world.policy(
        &json!({"validations": [
            {"expression": "!has(object.data) || !('secret' in object.data)", "message": "no secrets", "reason": "Forbidden"},
            {"expression": "object.metadata.name != 'bad'", "messageExpression": "object.metadata.name + ' is bad'"},
            {"expression": "object.metadata.name != 'worse'"}]}),
        &json!({}),
    );
    assert!(world.map("a", "fine", &json!({"k": "v"})).is_ok());
    let found = refusal(world.map("a", "x", &json!({"secret": "v"})));
    assert_eq!(found, (403, format!("configmaps \"x\" {DENIED} no secrets")));
    let found = refusal(world.map("a", "bad", &json!({})));
    assert_eq!(found, (422, format!("configmaps \"bad\" {DENIED} bad is bad")));
    let found = refusal(world.map("a", "worse", &json!({})));
    assert_eq!(
        found.1,
        format!("configmaps \"worse\" {DENIED} failed expression: object.metadata.name != 'worse'")
    );
}

#[test]
fn a_binding_says_where_and_whether_to_warn() {
    let mut world = World::new();
    world.policy(
        &json!({"validations": [{"expression": "false", "message": "never"}]}),
        &json!({"validationActions": ["Warn", "Audit"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"x": "1"}}}}),
    );
    let warned = world.map("a", "x", &json!({})).expect("is let through").warnings;
    assert_eq!(
        warned,
        ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': never"]
    );
    assert_eq!(
        world.map("b", "x", &json!({})).expect("is another namespace").warnings,
        [""; 0]
    );
}

#[test]
fn updates_see_the_old_object_and_deletions_nothing_else() {
    let mut world = World::new();
    world.map("a", "x", &json!({"k": "1"})).expect("created");
    world.policy(
        &json!({"validations": [
            {"expression": "request.operation != 'UPDATE' || object.data.k == oldObject.data.k", "message": "k is fixed"},
            {"expression": "request.operation != 'DELETE' || (object == null && oldObject.metadata.name != 'x')", "message": "x stays"}]}),
        &json!({}),
    );
    let put = |k: &str| Change::Put(json!({"metadata": {"name": "x"}, "data": {"k": k, "other": "y"}}));
    assert!(
        world
            .write("configmaps", "a", |txn, write| rest::update(txn, write, "x", put("1")))
            .is_ok()
    );
    let found = refusal(world.write("configmaps", "a", |txn, write| rest::update(txn, write, "x", put("2"))));
    assert_eq!(found.1, format!("configmaps \"x\" {DENIED} k is fixed"));
    let deleted = world.write("configmaps", "a", |txn, write| {
        rest::delete(txn, write, "x", &DeleteOptions::default())
    });
    assert_eq!(refusal(deleted).1, format!("configmaps \"x\" {DENIED} x stays"));
}

#[test]
fn conditions_and_variables() {
    let mut world = World::new();
    world.policy(
        &json!({
            "matchConditions": [{"name": "not-mine", "expression": "request.userInfo.username != 'nobody' && object.metadata.name != 'free'"}],
            "variables": [{"name": "data", "expression": "has(object.data) ? object.data : {}"},
                          {"name": "size", "expression": "variables.data.size()"},
                          {"name": "broken", "expression": "object.nothing"}],
            "validations": [{"expression": "variables.size > 0", "message": "empty"},
                            {"expression": "!('b' in variables.data) || variables.broken == 1"}]}),
        &json!({}),
    );
    assert!(world.map("a", "free", &json!({})).is_ok());
    assert!(world.map("a", "full", &json!({"a": "1"})).is_ok());
    assert_eq!(
        refusal(world.map("a", "x", &json!({}))).1,
        format!("configmaps \"x\" {DENIED} empty")
    );
    let found = refusal(world.map("a", "y", &json!({"b": "1"}))).1;
    let why = "expression '!('b' in variables.data) || variables.broken == 1' resulted in error: composited variable \"broken\" \
               fails to evaluate: no such key: nothing";
    assert_eq!(found, format!("configmaps \"y\" {DENIED} {why}"));
}

#[test]
fn what_cannot_be_evaluated_follows_the_failure_policy() {
    for (failure, refused) in [("Fail", true), ("Ignore", false)] {
        let mut world = World::new();
        world.policy(
            &json!({"failurePolicy": failure, "validations": [{"expression": "object.nothing == 1"}]}),
            &json!({}),
        );
        assert_eq!(world.map("a", "x", &json!({})).is_err(), refused, "{failure}");
    }
}

#[test]
fn parameters_come_from_another_object() {
    let mut world = World::new();
    world.map("b", "limits", &json!({"max": "3"})).expect("created");
    world.policy(
        &json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                "validations": [{"expression": "size(object.metadata.name) <= int(params.data.max)", "message": "too long"}]}),
        &json!({"paramRef": {"name": "limits", "namespace": "b", "parameterNotFoundAction": "Deny"}}),
    );
    assert!(world.map("a", "abc", &json!({})).is_ok());
    assert_eq!(
        refusal(world.map("a", "abcd", &json!({}))).1,
        format!("configmaps \"abcd\" {DENIED} too long")
    );
}

#[test]
fn nobody_is_locked_out() {
    let mut world = World::new();
    world.policy(
        &json!({"matchConstraints": {"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"],
                    "operations": ["*"]}]},
                "validations": [{"expression": "false"}]}),
        &json!({}),
    );
    assert!(world.map("a", "x", &json!({})).is_err());
    let removed = world.write("validatingadmissionpolicies", "", |txn, write| {
        rest::delete(txn, write, "p", &DeleteOptions::default())
    });
    assert!(removed.is_ok());
    assert!(world.map("a", "x", &json!({})).is_ok());
}

#[test]
fn a_policy_that_cannot_be_is_refused() {
    let mut world = World::new();
    let mut try_policy = |spec: &Value| {
        let object = json!({"metadata": {"name": "q"}, "spec": spec});
        refusal(world.create("validatingadmissionpolicies", "", &object)).1
    };
    let found = try_policy(&json!({"validations": [{"expression": "object.x =="}]}));
    assert!(found.contains("spec.matchConstraints: Required value"), "{found}");
    assert!(
        found.contains("spec.validations[0].expression: Invalid value: \"object.x ==\": compilation failed"),
        "{found}"
    );
    let found = try_policy(
        &json!({"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["pods"], "operations": ["MAKE"]}]}, "validations": [{"expression": "unknown"}]}),
    );
    assert!(found.contains("operations[0]: Unsupported value: \"MAKE\""), "{found}");
    assert!(found.contains("undeclared reference to 'unknown'"), "{found}");
}
