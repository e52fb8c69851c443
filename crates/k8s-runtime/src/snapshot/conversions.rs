//! What objects are: an object that did not change is not converted again.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_api::ConvertError;
use kube::Resource;
use model::{ByKey, Keyed};

use crate::watched::{ObjectKey, Watched};

/// Objects of one kind, each with what became of it.
pub(super) struct Conversions<K, T> {
    /// Nothing became of those that are malformed.
    known: BTreeMap<ObjectKey, (Arc<K>, Option<T>)>,
    malformed: BTreeMap<ObjectKey, ConvertError>,
}

impl<K: Resource<DynamicType = ()>, T: Clone> Conversions<K, T> {
    /// What the objects are that can be used; those that cannot are added to `malformed`.
    pub(super) fn of(
        &mut self,
        watched: &Watched<K>,
        malformed: &mut Vec<ConvertError>,
        convert: impl Fn(&K) -> Result<T, ConvertError>,
    ) -> impl Iterator<Item = T> {
        self.follow(watched, malformed, convert, |_| (), |_| ());
        self.known.values().filter_map(|(_, result)| result.clone())
    }

    /// Takes the objects in, and tells what is gone and what has come.
    fn follow(
        &mut self,
        watched: &Watched<K>,
        malformed: &mut Vec<ConvertError>,
        convert: impl Fn(&K) -> Result<T, ConvertError>,
        mut gone: impl FnMut(T),
        mut come: impl FnMut(&T),
    ) {
        for key in self.changed(watched) {
            self.malformed.remove(&key);
            if let Some((_, Some(before))) = self.known.remove(&key) {
                gone(before);
            }
            if let Some(object) = watched.objects.get(&key) {
                let result = match convert(object) {
                    Ok(result) => Some(result),
                    Err(error) => {
                        self.malformed.insert(key.clone(), error);
                        None
                    }
                };
                result.iter().for_each(&mut come);
                self.known.insert(key, (Arc::clone(object), result));
            }
        }
        malformed.extend(watched.malformed.iter().map(|(key, why)| ConvertError {
            kind: kind_name::<K>(),
            name: key.to_string(),
            field: "object".to_owned(),
            why: why.clone(),
        }));
        malformed.extend(self.malformed.values().cloned());
    }

    /// Where there is another object now, or none, or one at last.
    fn changed(&self, watched: &Watched<K>) -> Vec<ObjectKey> {
        let mut changed = Vec::new();
        let (mut before, mut after) = (self.known.iter().peekable(), watched.objects.iter().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (Some((_, (known, _))), Some((_, object))) if Arc::ptr_eq(known, object) => {
                    before.next();
                    after.next();
                    continue;
                }
                (Some((known, _)), Some((key, _))) => known.cmp(key),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return changed,
            };
            let object = after.next_if(|_| order.is_ge()).map(|(key, _)| key);
            let known = before.next_if(|_| order.is_le()).map(|(key, _)| key);
            changed.extend(known.or(object).cloned());
        }
    }
}

impl<K, T> Default for Conversions<K, T> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            malformed: BTreeMap::new(),
        }
    }
}

/// Objects of one kind of which there may be thousands: what they are is changed, not collected anew.
pub(super) struct Collected<K, T> {
    conversions: Conversions<K, Arc<T>>,
    all: ByKey<T>,
}

impl<K: Resource<DynamicType = ()>, T: Keyed> Collected<K, T> {
    /// As [`Conversions::of`].
    pub(super) fn of(
        &mut self,
        watched: &Watched<K>,
        malformed: &mut Vec<ConvertError>,
        convert: impl Fn(&K) -> Result<T, ConvertError>,
    ) -> ByKey<T> {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        self.conversions.follow(
            watched,
            malformed,
            |object| convert(object).map(Arc::new),
            |one| gone.push(one),
            |one| come.push(Arc::clone(one)),
        );
        self.all = self.all.after(&gone, &come);
        self.all.clone()
    }
}

impl<K, T> Default for Collected<K, T> {
    fn default() -> Self {
        Self {
            conversions: Conversions::default(),
            all: ByKey::default(),
        }
    }
}

fn kind_name<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(name) => name,
        std::borrow::Cow::Owned(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use k8s_openapi::api::core::v1::Namespace;
    use kube::ResourceExt;

    use super::*;
    use crate::snapshot::assemble::named;
    use crate::watched::Link;

    fn namespace(name: &str) -> (ObjectKey, Arc<Namespace>) {
        let mut object = Namespace::default();
        object.metadata.name = Some(name.to_owned());
        let key = ObjectKey {
            namespace: None,
            name: name.to_owned(),
        };
        (key, Arc::new(object))
    }

    #[test]
    fn only_what_changed_is_converted_and_what_is_bad_is_told_every_time() {
        let [a, b, c, bad] = ["a", "b", "c", "bad"].map(namespace);
        let mut watched = Watched {
            objects: BTreeMap::from([a.clone(), c.clone(), bad]),
            malformed: BTreeMap::new(),
            link: Link::Live,
        };
        let (converted, mut conversions) = (RefCell::new(Vec::new()), Conversions::default());
        let mut look = |watched: &Watched<Namespace>| {
            let mut malformed = Vec::new();
            let good = conversions.of(watched, &mut malformed, |object| {
                let name = object.name_any();
                converted.borrow_mut().push(name.clone());
                if name == "bad" {
                    return named("Namespace", object, "good").map(|()| name);
                }
                Ok(name)
            });
            let good: Vec<String> = good.collect();
            (good.concat(), malformed.len(), converted.take().concat())
        };
        let said = |good: &str, converted: &str| (good.to_owned(), 1, converted.to_owned());
        assert_eq!(look(&watched), said("ac", "abadc"));
        assert_eq!(look(&watched), said("ac", ""));
        watched.objects.extend([b.clone(), namespace("c")]);
        assert_eq!(look(&watched), said("abc", "bc"), "one is new, one is another");
        watched.objects.remove(&a.0);
        assert_eq!(look(&watched), said("bc", ""));
        watched.objects.extend([a]);
        watched.objects.remove(&b.0);
        assert_eq!(look(&watched), said("ac", "a"), "what was gone is forgotten");
    }

    type Objects = BTreeMap<ObjectKey, Arc<Namespace>>;

    /// What a namespace is, as far as this test goes: its last letter is what it is known by.
    #[derive(Debug, PartialEq, Eq)]
    struct Letter(String);

    impl Keyed for Letter {
        type Key<'a> = &'a str;

        fn key(&self) -> &str {
            &self.0[self.0.len() - 1..]
        }

        fn compare(&self, key: &str) -> Ordering {
            self.key().cmp(key)
        }
    }

    #[test]
    fn a_collection_follows_its_objects_in_an_order_of_its_own() {
        let mut watched = Watched {
            objects: BTreeMap::new(),
            malformed: BTreeMap::new(),
            link: Link::Live,
        };
        let mut collected = Collected::<Namespace, Letter>::default();
        let mut look = |change: &dyn Fn(&mut Objects)| {
            change(&mut watched.objects);
            let mut malformed = Vec::new();
            let all = collected.of(&watched, &mut malformed, |object| {
                let name = object.labels().get("is").cloned().unwrap_or(object.name_any());
                named("Namespace", object, name.trim_start_matches('!')).map(|()| Letter(name))
            });
            let names: Vec<&str> = all.iter().map(|one| one.0.as_str()).collect();
            (names.join(" "), malformed.len())
        };
        let labelled = |name: &str, is: &str| {
            let (key, mut object) = namespace(name);
            Arc::make_mut(&mut object).metadata.labels = Some(BTreeMap::from([("is".to_owned(), is.to_owned())]));
            (key, object)
        };
        let said = |names: &str, malformed| (names.to_owned(), malformed);
        let [ac, bb, ca] = ["ac", "bb", "ca"].map(namespace);
        assert_eq!(
            look(&|objects| objects.extend([ac.clone(), bb.clone(), ca.clone()])),
            said("ca bb ac", 0)
        );
        assert_eq!(look(&|_| ()), said("ca bb ac", 0));
        assert_eq!(
            look(&|objects| objects.extend([labelled("bb", "!bb")])),
            said("ca !bb ac", 0),
            "changed"
        );
        assert_eq!(
            look(&|objects| objects.extend([labelled("ca", "x")])),
            said("!bb ac", 1),
            "now malformed"
        );
        assert_eq!(look(&|objects| drop(objects.remove(&ac.0))), said("!bb", 1), "gone");
        assert_eq!(
            look(&|objects| objects.extend([ac.clone(), ca.clone()])),
            said("ca !bb ac", 0),
            "back"
        );
    }
}
