//! The names that definitions get, and the steps to being served.
//!
//! Within a group a word means one thing: a plural, singular or short name one resource, a kind or list kind one kind. Who had it
//! first keeps it. A definition that asks for a taken name gets the others that it asks for, says so in `NamesAccepted`, and is
//! not served before it has had all of them once. It is asked about again when a name of its group becomes free.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::definition::{condition_status, set_condition};
use crate::object::{strings_at, text_at};

/// The names that the definitions of one group have.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    pub(crate) fn add(&mut self, definition: &Value) {
        let names = &definition["status"]["acceptedNames"];
        let own = |field: &str| text_at(names, &[field]).to_owned();
        self.resources.extend([own("plural"), own("singular")]);
        self.resources
            .extend(strings_at(names, &["shortNames"]).into_iter().map(str::to_owned));
        self.kinds.extend([own("kind"), own("listKind")]);
    }
}

/// The next step of a definition's status towards being served; none when there is nothing left to do.
///
/// The names are accepted first, then the kind is served; a watcher sees both steps.
pub(crate) fn next_status(definition: &Value, taken: &Taken, now: &str) -> Option<Value> {
    let before = &definition["status"];
    let mut status = before.clone();
    let (names, conflict) = accepted(definition, taken);
    status["acceptedNames"] = names;
    match &conflict {
        Some((reason, message)) => set_condition(&mut status, NAMES, "False", reason, message, now),
        None => set_condition(&mut status, NAMES, "True", "NoConflicts", "no conflicts found", now),
    }
    let mut established = |state, reason, message| set_condition(&mut status, ESTABLISHED, state, reason, message, now);
    let is_asked_again = condition_status(definition, NAMES) != Some("True");
    match condition_status(definition, ESTABLISHED) {
        Some("True") => {}
        None if conflict.is_some() => established("False", "NotAccepted", "not all names are accepted"),
        _ if conflict.is_some() => {}
        _ if is_asked_again => established("False", "Installing", ACCEPTED),
        _ => established("True", "InitialNamesAccepted", ACCEPTED),
    }
    (status != *before).then_some(status)
}

/// The names that a definition has from now on, and which it does not get.
fn accepted(definition: &Value, taken: &Taken) -> (Value, Option<(&'static str, String)>) {
    let asked = &definition["spec"]["names"];
    let had = &definition["status"]["acceptedNames"];
    let (mut names, mut conflict) = (Map::new(), None);
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (field, used, reason) in [
        ("plural", &taken.resources, "PluralConflict"),
        ("singular", &taken.resources, "SingularConflict"),
        ("shortNames", &taken.resources, "ShortNamesConflict"),
        ("kind", &taken.kinds, "KindConflict"),
        ("listKind", &taken.kinds, "ListKindConflict"),
    ] {
        let (own, wanted): (Vec<&str>, Vec<&str>) = match field {
            "shortNames" => (strings_at(had, &[field]), strings_at(asked, &[field])),
            _ => (vec![text_at(had, &[field])], vec![text_at(asked, &[field])]),
        };
        let lost: Vec<String> = wanted
            .iter()
            .filter(|name| !own.contains(name) && used.contains(**name))
            .map(|name| in_use(name))
            .collect();
        let from = if lost.is_empty() { asked } else { had };
        if let Some(value) = from.get(field).filter(|value| !value.is_null()) {
            names.insert(field.to_owned(), value.clone());
        }
        match lost.as_slice() {
            [] => {}
            [one] => conflict = Some((reason, one.clone())),
            several => conflict = Some((reason, format!("[{}]", several.join(", ")))),
        }
    }
    for field in ["plural", "kind"] {
        names.entry(field).or_insert_with(|| json!(""));
    }
    if let Some(categories) = asked.get("categories") {
        names.insert("categories".to_owned(), categories.clone());
    }
    (names.into(), conflict)
}

pub(crate) const NAMES: &str = "NamesAccepted";
pub(crate) const ESTABLISHED: &str = "Established";
const ACCEPTED: &str = "the initial names have been accepted";

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(names: &Value) -> Value {
        json!({"spec": {"names": names}, "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}}})
    }

    fn follow(definition: &mut Value, taken: &Taken) -> usize {
        let mut steps = 0;
        while let Some(status) = next_status(definition, taken, &format!("t{steps}")) {
            definition["status"] = status;
            steps += 1;
            assert!(steps < 5, "it comes to an end: {definition}");
        }
        steps
    }

    fn condition(definition: &Value, kind: &str) -> [String; 3] {
        let conditions = definition["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|one| one["type"] == kind).unwrap();
        ["status", "reason", "message"].map(|field| text_at(found, &[field]).to_owned())
    }

    #[test]
    fn a_definition_is_established_in_two_steps() {
        let mut definition = definition(&json!({"plural": "xs", "kind": "X"}));
        definition["status"] = next_status(&definition, &Taken::default(), "t1").expect("a first step");
        assert_eq!(definition["status"]["acceptedNames"], definition["spec"]["names"]);
        assert_eq!(condition_status(&definition, ESTABLISHED), Some("False"));
        definition["status"] = next_status(&definition, &Taken::default(), "t2").expect("a second step");
        assert_eq!(condition_status(&definition, ESTABLISHED), Some("True"));
        assert_eq!(next_status(&definition, &Taken::default(), "t3"), None);
        definition["spec"]["names"]["shortNames"] = json!(["x"]);
        let renamed = next_status(&definition, &Taken::default(), "t4").expect("names have changed");
        assert_eq!(renamed["acceptedNames"]["shortNames"], json!(["x"]));
        assert_eq!(renamed["conditions"], definition["status"]["conditions"]);
    }

    #[test]
    fn who_comes_second_waits_for_the_name() {
        let mut first = definition(&json!({"plural": "as", "kind": "A", "shortNames": ["s", "t"]}));
        follow(&mut first, &Taken::default());
        let mut taken = Taken::default();
        taken.add(&first);
        let mut second = definition(&json!({"plural": "bs", "kind": "B", "shortNames": ["s", "u"]}));
        assert_eq!(follow(&mut second, &taken), 1);
        assert_eq!(
            second["status"]["acceptedNames"],
            json!({"plural": "bs", "kind": "B"}),
            "all or none of the short names"
        );
        assert_eq!(
            condition(&second, NAMES),
            ["False", "ShortNamesConflict", "\"s\" is already in use"]
        );
        assert_eq!(
            condition(&second, ESTABLISHED),
            ["False", "NotAccepted", "not all names are accepted"]
        );

        assert_eq!(follow(&mut second, &Taken::default()), 2);
        assert_eq!(condition(&second, NAMES)[0], "True");
        assert_eq!(condition(&second, ESTABLISHED)[0], "True");
        assert_eq!(second["status"]["acceptedNames"]["shortNames"], json!(["s", "u"]));

        second["spec"]["names"]["shortNames"] = json!(["s", "t"]);
        assert_eq!(follow(&mut second, &taken), 1);
        assert_eq!(
            condition(&second, NAMES)[2],
            "\"t\" is already in use",
            "its own stays its own"
        );
        assert_eq!(
            condition(&second, ESTABLISHED)[0],
            "True",
            "what is served stays served, under the names it had"
        );
        assert_eq!(second["status"]["acceptedNames"]["shortNames"], json!(["s", "u"]));
    }

    #[test]
    fn kinds_and_resources_are_different_words() {
        let mut first = definition(&json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"}));
        follow(&mut first, &Taken::default());
        let mut taken = Taken::default();
        taken.add(&first);
        let mut same_kind = definition(&json!({"plural": "bs", "singular": "a", "kind": "AList", "listKind": "as"}));
        follow(&mut same_kind, &taken);
        assert_eq!(
            condition(&same_kind, NAMES)[1],
            "KindConflict",
            "the last conflict is told"
        );
        assert_eq!(
            same_kind["status"]["acceptedNames"],
            json!({"plural": "bs", "kind": "", "listKind": "as"})
        );
    }
}
