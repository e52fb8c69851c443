//! The server against a model of it: any interleaving of writes, watches, paged lists and restarts, with so little history
//! that it is compacted all the time.
//!
//! The model knows no revisions, only that the n-th change happened n-th; the test maps one to the other and thereby checks
//! that revisions only grow. It predicts every answer, 410 included, exactly.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};
use proptest_state_machine::{ReferenceStateMachine, prop_state_machine};

mod real;

use real::Real;

/// Name to value.
type Objects = BTreeMap<u8, u32>;

/// One change: what happened to which object, and the value it has (or had last).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Happened(&'static str, u8, u32);

#[derive(Clone, Debug)]
enum Step {
    Create(u8, u32),
    /// A replacement that states the newest resourceVersion, or an old one.
    Update(u8, u32, bool),
    Patch(u8, u32),
    Delete(u8),
    /// A watch that resumes after one of the changes so far.
    Resume(Index),
    /// One that is left alone for a while, and is then read.
    Follow,
    CatchUp,
    /// The first page of a list, and the next one.
    List,
    More,
    Restart,
}

/// What a step must be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Code(u16),
    /// From a watch: these, or 410.
    Events(Option<Vec<Happened>>),
    /// A page and whether there is another; 410 if it is none.
    Page(Option<(Vec<(u8, u32)>, bool)>),
    Nothing,
}

#[derive(Clone, Debug)]
struct Model {
    objects: Objects,
    /// All changes, and the objects after each; the first stands for the beginning.
    past: Vec<(Option<Happened>, Objects)>,
    /// After how many changes the watch left alone was started or read last.
    following: Option<usize>,
    /// As of how many changes a list is being paged, and the last name shown.
    paging: Option<(usize, u8)>,
    answer: Answer,
}

impl Model {
    fn changes(&self) -> usize {
        self.past.len() - 1
    }

    /// Whether some change after this one has been dropped.
    fn is_expired(&self, at: usize) -> bool {
        at < self.changes().saturating_sub(KEPT)
    }

    fn happen(&mut self, what: Happened) {
        let Happened(kind, name, value) = what;
        if kind == "DELETED" {
            self.objects.remove(&name);
        } else {
            self.objects.insert(name, value);
        }
        self.past.push((Some(what), self.objects.clone()));
    }

    fn write(&mut self, name: u8, value: u32, conflict: bool) -> u16 {
        match self.objects.get(&name) {
            None => 404,
            Some(_) if conflict => 409,
            Some(same) if *same == value => 200,
            Some(_) => {
                self.happen(Happened("MODIFIED", name, value));
                200
            }
        }
    }

    fn events_after(&self, at: usize) -> Option<Vec<Happened>> {
        let events = self.past[at + 1..].iter().filter_map(|(event, _)| *event).collect();
        (!self.is_expired(at)).then_some(events)
    }

    fn page(&mut self, at: usize, after: Option<u8>) -> Answer {
        self.paging = None;
        if self.is_expired(at) {
            return Answer::Page(None);
        }
        let objects = self.past[at].1.iter().map(|(name, value)| (*name, *value));
        let mut rest = objects.filter(|(name, _)| after.is_none_or(|after| *name > after));
        let page: Vec<(u8, u32)> = rest.by_ref().take(PAGE).collect();
        let more = rest.next().is_some();
        drop(rest);
        self.paging = page.last().filter(|_| more).map(|(name, _)| (at, *name));
        Answer::Page(Some((page, more)))
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            objects: Objects::new(),
            past: vec![(None, Objects::new())],
            following: None,
            paging: None,
            answer: Answer::Nothing,
        })
        .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let (name, value) = (0u8..5, 0u32..3);
        prop_oneof![
            6 => (name.clone(), value.clone()).prop_map(|(name, value)| Step::Create(name, value)),
            4 => (name.clone(), value.clone(), any::<bool>()).prop_map(|(name, value, fresh)| Step::Update(name, value, fresh)),
            6 => (name.clone(), value).prop_map(|(name, value)| Step::Patch(name, value)),
            2 => name.prop_map(Step::Delete),
            4 => any::<Index>().prop_map(Step::Resume),
            1 => Just(Step::Follow),
            2 => Just(Step::CatchUp),
            2 => Just(Step::List),
            3 => Just(Step::More),
            1 => Just(Step::Restart),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::CatchUp => state.following.is_some(),
            Step::More => state.paging.is_some(),
            _ => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.answer = match *step {
            Step::Create(name, _) if state.objects.contains_key(&name) => Answer::Code(409),
            Step::Create(name, value) => {
                state.happen(Happened("ADDED", name, value));
                Answer::Code(201)
            }
            Step::Update(name, value, fresh) => Answer::Code(state.write(name, value, !fresh)),
            Step::Patch(name, value) => Answer::Code(state.write(name, value, false)),
            Step::Delete(name) => match state.objects.get(&name).copied() {
                Some(value) => {
                    state.happen(Happened("DELETED", name, value));
                    Answer::Code(200)
                }
                None => Answer::Code(404),
            },
            Step::Resume(at) => Answer::Events(state.events_after(at.index(state.past.len()))),
            Step::Follow => {
                state.following = Some(state.changes());
                Answer::Nothing
            }
            Step::CatchUp => {
                let events = state.events_after(state.following.unwrap_or_default());
                state.following = events.is_some().then_some(state.changes());
                Answer::Events(events)
            }
            Step::List => state.page(state.changes(), None),
            Step::More => match state.paging {
                Some((at, after)) => state.page(at, Some(after)),
                None => Answer::Nothing,
            },
            Step::Restart => {
                state.following = None;
                Answer::Nothing
            }
        };
        state
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_server_answers_as_its_model(sequential 1..50 => Real);
}

/// How many events the server keeps.
const KEPT: usize = 6;
const PAGE: usize = 2;
