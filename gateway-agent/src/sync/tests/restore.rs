use super::simulation::{Simulation, add_service, broker, service_export};
use crate::sync::round::{Incarnation, incarnation};

fn restored() -> Simulation {
    let mut simulation = Simulation::of(&["east", "west"]);
    add_service(simulation.member("east"), 1);
    simulation.member("east").put(service_export());
    simulation.settle();
    // The backup is from before anybody joined.
    simulation.broker.clear();
    simulation.broker.put(broker("second"));
    simulation
}

#[test]
fn a_restored_broker_is_filled_again_before_it_is_acknowledged() {
    let mut simulation = restored();
    assert_eq!(incarnation(&simulation.world("west")), Incarnation::Other);
    simulation.step("west", &Default::default());
    assert_eq!(
        incarnation(&simulation.world("west")),
        Incarnation::Other,
        "own objects are only just written"
    );
    assert!(
        simulation
            .broker
            .get("Gateway", Some("tombolo-m-west"), "gw1")
            .is_some()
    );
    simulation.step("west", &Default::default());
    assert_eq!(incarnation(&simulation.world("west")), Incarnation::Known);
}

#[test]
fn nothing_is_lost_by_a_restore() {
    let mut simulation = restored();
    let rounds = 4;
    for _ in 0..rounds {
        simulation.step("west", &Default::default());
        assert!(
            simulation.members["west"]
                .get("ServiceImport", Some("shop"), "cart")
                .is_some()
        );
    }
    simulation.settle();
    assert!(
        simulation
            .broker
            .get("ExportedService", Some("tombolo-m-east"), "cart.shop")
            .is_some()
    );
    assert!(
        simulation.members["west"]
            .get("ServiceImport", Some("shop"), "cart")
            .is_some()
    );
}

#[test]
fn a_broker_without_its_object_takes_nothing_away() {
    let mut simulation = restored();
    simulation.broker.clear();
    simulation.members.remove("east");
    assert_eq!(incarnation(&simulation.world("west")), Incarnation::Missing);
    simulation.settle();
    assert!(
        simulation.members["west"]
            .get("ServiceImport", Some("shop"), "cart")
            .is_some()
    );
}
