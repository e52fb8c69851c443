use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::object::Object as _;

fn pods() -> Resource {
    Resource::new("", "pods")
}

fn put(store: &mut Store, namespace: &str, name: &str, value: u32) -> Revision {
    let mut txn = Txn::new(store);
    txn.put(
        Key::new(&pods(), namespace, name),
        json!({"metadata": {"name": name}, "v": value}),
    );
    let changes = txn.into_changes();
    store.commit(&changes, Timestamp::UNIX_EPOCH);
    store.revision()
}

fn delete(store: &mut Store, namespace: &str, name: &str) {
    let key = Key::new(&pods(), namespace, name);
    let Some(last) = store.get(&key).map(|object| (**object).clone()) else {
        return;
    };
    let mut txn = Txn::new(store);
    txn.delete(key, last);
    let changes = txn.into_changes();
    store.commit(&changes, Timestamp::UNIX_EPOCH);
}

#[test]
fn a_transaction_sees_its_own_changes_and_others_do_not() {
    let mut store = Store::default();
    put(&mut store, "a", "x", 1);
    let mut txn = Txn::new(&store);
    let y = Key::new(&pods(), "a", "y");
    txn.put(y.clone(), json!({"metadata": {"name": "y"}}));
    txn.delete(Key::new(&pods(), "a", "x"), json!({"metadata": {"name": "x"}}));
    assert!(txn.get(&y).is_some());
    assert_eq!(txn.list(&pods(), Some("a")).len(), 1);
    assert!(store.get(&y).is_none());
}

#[test]
fn every_change_has_its_own_revision_as_resource_version() {
    let mut store = Store::default();
    let mut txn = Txn::new(&store);
    let first = txn.put(Key::new(&pods(), "a", "x"), json!({"metadata": {}}));
    let second = txn.put(Key::new(&pods(), "a", "y"), json!({"metadata": {}}));
    assert_eq!((first.resource_version(), second.resource_version()), ("1", "2"));
    let changes = txn.into_changes();
    store.commit(&changes, Timestamp::UNIX_EPOCH);
    assert_eq!(store.revision(), Revision(2));
}

#[test]
fn a_history_is_cut_by_count_and_says_expired() {
    let mut store = Store::new(Limits {
        events: 5,
        ..Limits::default()
    });
    for value in 0..7 {
        put(&mut store, "a", "x", value);
    }
    let now = store.revision();
    assert_eq!(
        store.events_after(&pods(), Revision(0), now).unwrap().count(),
        7,
        "only compaction drops"
    );
    store.compact(Timestamp::UNIX_EPOCH, now);
    assert_eq!(
        store.events_after(&pods(), Revision(1), now).err(),
        Some(Expired { oldest: Revision(2) })
    );
    assert_eq!(store.events_after(&pods(), Revision(2), now).unwrap().count(), 5);
    assert!(store.list_at(&pods(), None, Revision(1)).is_err());
    let other = Resource::new("", "nodes");
    assert_eq!(
        store.events_after(&other, Revision(0), now).unwrap().count(),
        0,
        "each resource has its own history"
    );
}

#[test]
fn a_history_is_cut_by_age() {
    let mut store = Store::default();
    put(&mut store, "a", "x", 1);
    let age = Limits::default().age;
    assert_eq!(store.compact(Timestamp::UNIX_EPOCH + age, Revision(1)), []);
    let later = Timestamp::UNIX_EPOCH + age + SignedDuration::from_secs(1);
    assert_eq!(store.compact(later, Revision(0)), [], "it may have to be taken back");
    let floor = Floor {
        resource: pods(),
        revision: Revision(1),
    };
    assert_eq!(store.compact(later, Revision(1)), [(floor, vec![Revision(1)])]);
    assert!(store.events_after(&pods(), Revision(0), Revision(1)).is_err());
    assert!(store.events_after(&pods(), Revision(1), Revision(1)).is_ok());
}

#[test]
fn a_restored_store_expires_what_lies_before_it() {
    let mut store = Store::default();
    let text = br#"{"metadata": {"resourceVersion": "7"}}"#;
    store.load(Key::new(&pods(), "a", "x"), Object::from_text(text).unwrap());
    store.loaded(Revision(9), Revision(9), []);
    assert!(store.events_after(&pods(), Revision(8), Revision(9)).is_err());
    assert_eq!(
        store.events_after(&pods(), Revision(9), Revision(9)).unwrap().count(),
        0
    );
    assert_eq!(put(&mut store, "a", "y", 0), Revision(10));
}

#[test]
fn what_is_no_json_is_refused_before_anybody_reads_it() {
    assert!(Object::from_text(b"{\"a\": ").is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, u32),
    Delete(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..3, 0u8..4, any::<u32>()).prop_map(|(ns, name, value)| Step::Put(ns, name, value)),
        1 => (0u8..3, 0u8..4).prop_map(|(ns, name)| Step::Delete(ns, name)),
    ]
}

type Model = BTreeMap<(String, String), u32>;

fn content<'a>(objects: impl Iterator<Item = (&'a Place, &'a Arc<Value>)>) -> Model {
    let value = |object: &Arc<Value>| u32::try_from(object["v"].as_u64().unwrap()).unwrap();
    objects
        .map(|(place, object)| ((place.namespace.clone(), place.name.clone()), value(object)))
        .collect()
}

proptest! {
    /// What a transaction finds by looking through is what it lists, whatever it has staged.
    #[test]
    fn objects_are_those_of_the_list(stored in prop::collection::vec(step(), 0..20), staged in prop::collection::vec(step(), 0..20)) {
        let mut store = Store::default();
        for step in stored {
            if let Step::Put(ns, name, value) = step {
                put(&mut store, &ns.to_string(), &name.to_string(), value);
            }
        }
        let mut txn = Txn::new(&store);
        for step in staged {
            let (Step::Put(ns, name, _) | Step::Delete(ns, name)) = step;
            let key = Key::new(&pods(), &ns.to_string(), &name.to_string());
            let object = json!({"metadata": {"name": name.to_string(), "namespace": ns.to_string()}});
            match step {
                Step::Put(..) => txn.put(key, object),
                Step::Delete(..) => txn.delete(key, object),
            };
        }
        for namespace in [None, Some("1")] {
            let (all, resource) = (txn.list(&pods(), namespace), pods());
            let mut listed: Vec<&str> = all.iter().map(|(_, object)| object.resource_version()).collect();
            let mut found: Vec<&str> = txn.objects(&resource, namespace).map(|object| object.resource_version()).collect();
            listed.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(listed, found);
        }
    }

    /// Whatever the writes: any older list is what a model held then, and replaying the events from any
    /// revision over that list gives today's list.
    #[test]
    fn history_connects_every_past_with_today(steps in prop::collection::vec(step(), 0..60)) {
        let mut store = Store::default();
        let mut model = Model::new();
        let mut past = vec![(Revision(0), model.clone())];
        for step in steps {
            match step {
                Step::Put(ns, name, value) => {
                    put(&mut store, &ns.to_string(), &name.to_string(), value);
                    model.insert((ns.to_string(), name.to_string()), value);
                }
                Step::Delete(ns, name) => {
                    delete(&mut store, &ns.to_string(), &name.to_string());
                    model.remove(&(ns.to_string(), name.to_string()));
                }
            }
            past.push((store.revision(), model.clone()));
        }
        prop_assert_eq!(content(store.list(&pods(), None)), model.clone());
        for (revision, then) in past {
            let mut listed = store.list_at(&pods(), None, revision).unwrap();
            prop_assert_eq!(content(listed.iter()), then);
            let mut last = revision;
            for event in store.events_after(&pods(), revision, store.revision()).unwrap() {
                prop_assert!(event.revision > last);
                last = event.revision;
                match event.kind {
                    EventKind::Deleted => listed.remove(&event.place),
                    _ => listed.insert(event.place.clone(), Arc::clone(&event.object)),
                };
            }
            prop_assert_eq!(content(listed.iter()), model.clone());
        }
    }

    /// Taking changes back leads to exactly the state that was there, and new changes go on from it.
    #[test]
    fn rolling_back_leads_to_the_past(before in prop::collection::vec(step(), 0..20), after in prop::collection::vec(step(), 0..20)) {
        let run = |store: &mut Store, steps: &[Step]| {
            for step in steps {
                match step {
                    Step::Put(ns, name, value) => { put(store, &ns.to_string(), &name.to_string(), *value); }
                    Step::Delete(ns, name) => delete(store, &ns.to_string(), &name.to_string()),
                }
            }
        };
        let mut store = Store::default();
        run(&mut store, &before);
        let (then, model) = (store.revision(), content(store.list(&pods(), None)));
        run(&mut store, &after);
        store.roll_back(then);
        prop_assert_eq!(store.revision(), then);
        prop_assert_eq!(content(store.list(&pods(), None)), model);
        prop_assert_eq!(store.events_after(&pods(), Revision(0), then).unwrap().count() as u64, then.0);
        prop_assert_eq!(put(&mut store, "z", "z", 1), then.next());
    }
}
