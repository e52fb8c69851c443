//! How a relay gets into a link, and out again, as `ip` commands: pure.
//!
//! The link's end at the switch moves to a bridge of its own, with one TAP beside it; another TAP takes its place. Both ends
//! keep their MAC addresses, so that neighbours need not learn anew.
//!
//! ```text
//!   a host's:      port0 ─ fault0 ─ near0   ▸ relay ▸   far0 ─ switch
//!   a cluster's:   wan ─ faultup ─ nearup   ▸ relay ▸   uplink            wan is the uplink as it was
//! ```
//!
//! A host's is near; for a cluster the switch is, so there the roles of the two TAPs are exchanged.

use crate::topology::{Network, Topology};
use crate::wiring::{BRIDGE, Port, UPLINK, line, uplink_batch};

/// What brings a relay into a link. All of it is for the switch's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Insertion {
    /// The TAPs to stand between, from the host's side.
    pub(crate) near: String,
    pub(crate) far: String,
    /// Makes the devices.
    pub(crate) make: String,
    /// Then set: the bridge must not answer in the switch's name.
    pub(crate) sysctls: Vec<(String, &'static str)>,
    /// Then brings them between.
    pub(crate) join: String,
    /// Takes apart what there is of it: any line may fail.
    pub(crate) dismantle: String,
    /// Then makes the link as it was.
    pub(crate) mend: String,
}

/// The insertion into the link of a port.
pub(crate) fn insertion(topology: &Topology, port: &Port) -> Insertion {
    let mtu = topology.underlay_mtu;
    let network = topology
        .networks()
        .map(|(network, _)| network)
        .find(|network| network.switch == port.switch);
    match network {
        Some(network) if port.link == UPLINK => of_uplink(network, mtu),
        _ => of_host(&port.link, mtu),
    }
}

fn of_host(port: &str, mtu: u16) -> Insertion {
    let number = port.trim_start_matches("port");
    let (bridge, near, far) = (
        format!("fault{number}"),
        format!("near{number}"),
        format!("far{number}"),
    );
    let mut make = make(&bridge, &near, mtu);
    make += &tap(&far, mtu);
    let mut join = String::new();
    line(&mut join, format_args!("link set {port} nomaster"));
    line(&mut join, format_args!("link set {port} master {bridge}"));
    line(&mut join, format_args!("link set {near} master {bridge} up"));
    line(&mut join, format_args!("link set {far} master {BRIDGE} up"));
    line(&mut join, format_args!("link set {bridge} up"));
    Insertion {
        make,
        sysctls: quiet(&bridge),
        join,
        dismantle: format!("link del {near}\nlink del {far}\nlink del {bridge}\n"),
        mend: format!("link set {port} master {BRIDGE}\n"),
        near,
        far,
    }
}

fn of_uplink(network: &Network, mtu: u16) -> Insertion {
    let mut join = String::new();
    line(&mut join, format_args!("link set {UPLINK} down"));
    line(&mut join, format_args!("link set {UPLINK} name {WAN}"));
    line(&mut join, format_args!("link set {WAN} address {WAN_MAC}"));
    join += &tap(UPLINK, mtu);
    line(&mut join, format_args!("link set {WAN} master {WAN_BRIDGE} up"));
    line(&mut join, format_args!("link set {WAN_TAP} master {WAN_BRIDGE} up"));
    line(&mut join, format_args!("link set {WAN_BRIDGE} up"));
    join += &uplink_batch(network);
    // Deletes the uplink only if it is a TAP, which tells how far the insertion had come.
    let mut dismantle = String::new();
    line(&mut dismantle, format_args!("tuntap del dev {UPLINK} mode tap"));
    line(&mut dismantle, format_args!("link set {WAN} down"));
    line(&mut dismantle, format_args!("link set {WAN} nomaster"));
    line(&mut dismantle, format_args!("link set {WAN} name {UPLINK}"));
    line(&mut dismantle, format_args!("link del {WAN_TAP}"));
    line(&mut dismantle, format_args!("link del {WAN_BRIDGE}"));
    Insertion {
        near: UPLINK.to_owned(),
        far: WAN_TAP.to_owned(),
        make: make(WAN_BRIDGE, WAN_TAP, mtu),
        sysctls: quiet(WAN_BRIDGE),
        join,
        dismantle,
        mend: uplink_batch(network),
    }
}

fn make(bridge: &str, beside: &str, mtu: u16) -> String {
    let mut batch = String::new();
    line(
        &mut batch,
        format_args!("link add {bridge} mtu {mtu} type bridge stp_state 0 mcast_snooping 0"),
    );
    batch + &tap(beside, mtu)
}

fn tap(name: &str, mtu: u16) -> String {
    format!("tuntap add dev {name} mode tap\nlink set {name} mtu {mtu}\n")
}

/// A bridge sees broadcasts: without this it would answer ARP for the switch's addresses, with its own MAC.
fn quiet(bridge: &str) -> Vec<(String, &'static str)> {
    vec![
        (format!("ipv4/conf/{bridge}/arp_ignore"), "8"),
        (format!("ipv6/conf/{bridge}/disable_ipv6"), "1"),
    ]
}

const WAN: &str = "wan";
const WAN_BRIDGE: &str = "faultup";
const WAN_TAP: &str = "nearup";
const WAN_MAC: &str = "02:00:5e:00:53:03";
