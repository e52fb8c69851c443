//! What the node may lack or lose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tunnel::{Engine, EngineConfig, Lanes, OpenTunError, PrivateKey, StartEngineError, TunDevice};

use crate::bed::{Bed, Namespace, must_skip, wait_until};

#[test]
fn a_second_engine_on_a_node_is_refused_by_name() {
    if must_skip(None) {
        return;
    }
    let bed = Bed::with_cable(0);
    bed.east.namespace.run(|| {
        let error = TunDevice::open("tun0").unwrap_err();
        assert!(matches!(error, OpenTunError::InUse { .. }), "{error}");
        let config = EngineConfig {
            private_key: PrivateKey::generate(),
            tun: TunDevice::open("tun1").unwrap(),
            port: bed.east.engine().port(),
            lanes: 1,
            busy_poll: Duration::ZERO,
            on_change: Box::new(|| {}),
        };
        let error = Lanes::start(config).unwrap_err();
        assert!(matches!(error, StartEngineError::Bind(_)), "{error}");
    });
}

#[test]
fn a_link_of_another_kind_is_named() {
    if must_skip(None) {
        return;
    }
    let bed = Bed::new();
    bed.east.namespace.run(|| {
        let error = TunDevice::open("under").unwrap_err();
        assert!(matches!(error, OpenTunError::WrongKind { .. }), "{error}");
    });
}

#[test]
fn the_link_outlives_the_device() {
    if must_skip(None) {
        return;
    }
    let namespace = Namespace::new("persist");
    namespace.run(|| drop(TunDevice::open("tun0").unwrap()));
    namespace.ip("link show tun0");
    namespace.run(|| drop(TunDevice::open("tun0").unwrap()));
}

#[test]
fn a_deleted_link_stops_the_engine_which_says_so() {
    if must_skip(None) {
        return;
    }
    let namespace = Namespace::new("deleted");
    let told = Arc::new(AtomicBool::new(false));
    let on_change = {
        let told = told.clone();
        Box::new(move || told.store(true, SeqCst))
    };
    let engine = namespace.run(|| {
        let tun = TunDevice::open("tun0").unwrap();
        Lanes::start(EngineConfig {
            private_key: PrivateKey::generate(),
            tun,
            port: 0,
            lanes: 1,
            busy_poll: Duration::ZERO,
            on_change,
        })
        .unwrap()
    });
    namespace.ip("link set tun0 up");
    assert_eq!(engine.failure(), None);
    told.store(false, SeqCst);
    namespace.ip("link delete tun0");
    wait_until("the engine has failed", || {
        engine.failure().is_some() && told.load(SeqCst)
    });
    assert!(engine.failure().unwrap().contains("tun0"));
}
