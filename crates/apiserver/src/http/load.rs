//! How much is done at once, and what goes first.
//!
//! A request holds a place while its body is read and its answer is made; a watch gives its place back as soon as it has begun.
//! Leases have places of their own: a server that is busy with everything else must not make leaders lose their leases. One
//! user gets at most half of the others, so that nobody is shut out by one client in a loop.
//! Whoever waits too long for a place, or holds one for too long, is sent away with the advice to come again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::route::Route;
use crate::status::Status;

/// The places of a server.
#[derive(Debug)]
pub(crate) struct Load {
    ordinary: Lane,
    leases: Lane,
}

#[derive(Debug)]
struct Lane {
    places: Arc<Semaphore>,
    each: usize,
    users: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A place that is held.
#[derive(Debug)]
pub(crate) struct Place {
    _of_user: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            ordinary: Lane::new(ORDINARY),
            leases: Lane::new(LEASES),
        }
    }
}

impl Load {
    /// Waits for a place.
    pub(crate) async fn enter(&self, route: &Route, user: &str) -> Result<Place, Status> {
        let lane = match route {
            Route::Resource(target) if target.group == "coordination.k8s.io" => &self.leases,
            _ => &self.ordinary,
        };
        let place = timeout(PATIENCE, lane.enter(user)).await;
        place.map_err(|_| Status::too_many_requests())
    }
}

impl Lane {
    fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            each: places.div_ceil(2),
            users: Mutex::default(),
        }
    }

    async fn enter(&self, user: &str) -> Place {
        let own = self.of(user);
        let of_user = own.acquire_owned().await.expect("a lane is never closed");
        let of_all = Arc::clone(&self.places).acquire_owned().await;
        Place {
            _of_user: of_user,
            _of_all: of_all.expect("a lane is never closed"),
        }
    }

    fn of(&self, user: &str) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() > REMEMBERED {
            // Whoever holds or awaits a place has a share in his semaphore.
            users.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let new = || Arc::new(Semaphore::new(self.each));
        Arc::clone(users.entry(user.to_owned()).or_insert_with(new))
    }
}

/// Each place may hold a body of 3 MiB.
const ORDINARY: usize = 96;
const LEASES: usize = 32;
const REMEMBERED: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// As on a real server; watches do not count, their answer has begun long before.
pub(crate) const REQUEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Route {
        Route::parse(path)
    }

    #[tokio::test(start_paused = true)]
    async fn one_user_gets_half_and_leases_have_their_own() {
        let load = Load::default();
        let pods = route("/api/v1/pods");
        let mut held = Vec::new();
        for _ in 0..ORDINARY / 2 {
            held.push(load.enter(&pods, "greedy").await.unwrap());
        }
        let refused = load.enter(&pods, "greedy").await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after()), (429, Some(1)));
        for _ in 0..ORDINARY / 2 {
            held.push(load.enter(&pods, "modest").await.unwrap());
        }
        assert_eq!(load.enter(&pods, "late").await.unwrap_err().code, 429);
        let lease = route("/apis/coordination.k8s.io/v1/namespaces/n/leases/l");
        assert!(load.enter(&lease, "greedy").await.is_ok());
        held.pop();
        assert!(load.enter(&pods, "late").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_given_back_goes_to_who_waits() {
        let load = Load::default();
        let pods = route("/api/v1/pods");
        let mut held = Vec::new();
        for _ in 0..ORDINARY / 2 {
            held.push(load.enter(&pods, "a").await.unwrap());
        }
        let (place, ()) = tokio::join!(load.enter(&pods, "a"), async { drop(held.pop()) });
        assert!(place.is_ok());
    }

    #[test]
    fn users_are_forgotten() {
        let lane = Lane::new(2);
        for n in 0..REMEMBERED * 3 {
            lane.of(&n.to_string());
        }
        assert!(lane.users.lock().unwrap().len() <= REMEMBERED + 1);
    }
}
