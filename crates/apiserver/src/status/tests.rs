use super::*;

#[test]
fn the_body_is_that_of_the_real_server() {
    let status = Status::already_exists(&Resource::new("", "configmaps"), "a1", false);
    let text = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \"a1\" already exists","reason":"AlreadyExists","details":{"name":"a1","kind":"configmaps"},"code":409}"#;
    assert_eq!(status.to_value().to_string(), text);
}

#[test]
fn apply_conflicts_are_grouped_by_manager() {
    let one = [("\"m1\"".to_owned(), ".data.a".to_owned())];
    assert_eq!(
        Status::apply_conflict(&one).message,
        "Apply failed with 1 conflict: conflict with \"m1\": .data.a"
    );
    let two = [one[0].clone(), ("\"m1\"".to_owned(), ".data.b".to_owned())];
    assert_eq!(
        Status::apply_conflict(&two).message,
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b"
    );
}

#[test]
fn several_wrong_fields_stand_in_brackets() {
    let errors = [
        FieldError::required("spec.a", ""),
        FieldError::invalid("spec.b", 0, "must be greater than 0"),
    ];
    let status = Status::invalid("x.io", "Kind", "n", &errors);
    let text = "Kind.x.io \"n\" is invalid: [spec.a: Required value, spec.b: Invalid value: 0: must be greater than 0]";
    assert_eq!(status.message, text);
}
