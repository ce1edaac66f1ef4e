//! What hosts of a fleet tell each other of busy ports. The hosts have loopback addresses of their own, so that
//! neither sees the programs of the other.

use std::net::TcpListener;

use serde_json::json;

use super::etcd::Etcd;
use super::{host, reaches};
use crate::support::{Place, Server};
use crate::tools::eventually;

const DOCUMENTS: &str = "/portbook/v1/prior/";

/// Snapshots of a host that has something to tell, and a few more.
const SNAPSHOTS: u32 = 25;

fn on(etcd: &Etcd, name: &str, address: &str, prior: &str) -> Place {
    let mut place = host(etcd, name);
    place.set("PORTBOOK_POOLS__DEFAULT__INTERFACES", address);
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "learned");
    place.set("PORTBOOK_HISTORY__SNAPSHOT_INTERVAL", "1h");
    place.set("PORTBOOK_FLEET__PRIOR", prior);
    place
}

/// Lets the host see that a program is on its first port, and starts it again: then it tells the others.
fn learns(place: &Place) -> Server {
    let server = place.serve();
    let _squatter = TcpListener::bind(("127.0.0.1", place.ports[0])).unwrap();
    for _ in 0..SNAPSHOTS {
        let taken = server.api("POST", "/api/v1/snapshots", Some(&json!({})));
        assert_eq!(taken.status, 201, "{taken:?}");
    }
    reaches(&server, "joined");
    server.stop();
    place.serve()
}

fn is_told(etcd: &Etcd) -> bool {
    let keys = etcd.keys(DOCUMENTS);
    keys.iter().any(|key| key.ends_with("/one"))
}

/// The page of a port, with what the cost is computed from.
fn page(server: &Server, port: u16) -> String {
    server.web("GET", &format!("/ports/tcp/{port}"), &[]).body
}

#[test]
fn new_host_avoids_a_port_that_was_busy_on_another_one() {
    let Some(etcd) = Etcd::start("busy ports of other hosts") else {
        return;
    };
    let one = on(&etcd, "one", "127.0.0.1", "commands");
    let first = learns(&one);
    eventually("the first host tells", || is_told(&etcd).then_some(()));
    let busy = one.ports[0];

    let mut two = on(&etcd, "two", "127.0.0.2", "commands");
    let ports: Vec<String> = one.ports.iter().map(ToString::to_string).collect();
    two.set("PORTBOOK_POOLS__DEFAULT__RANGES", &ports.join(","));
    let second = two.serve();
    eventually("the second host has read", || {
        let known = "busy on 1 of the 1 hosts of the fleet";
        page(&second, busy).contains(known).then_some(())
    });
    let got = two.ok(&["alloc", "--name", "web"]);
    assert_ne!(got.trim(), busy.to_string());
    let told = two.ok(&["explain", "web"]);
    let rival = format!("Rejected {busy}:");
    let (_, rest) = told.split_once(&rival).unwrap_or_else(|| panic!("{told}"));
    let sentence = rest.split('.').take(2).collect::<String>();
    assert!(sentence.contains("busy on 1 of 1 host looked at"), "{told}");
    assert!(told.contains("busy on none of 1 host looked at"), "{told}");

    // It is on record: neither a restart nor the engine is needed for it.
    drop(etcd);
    second.stop();
    let again = two.serve();
    assert!(page(&again, busy).contains("busy on 1 of the 1 hosts"));
    drop(first);
}

#[test]
fn host_that_shares_nothing_or_leaves_takes_its_document_back() {
    let Some(etcd) = Etcd::start("hosts that share nothing") else {
        return;
    };
    let mut one = on(&etcd, "one", "127.0.0.1", "ports");
    let server = learns(&one);
    eventually("the host tells", || is_told(&etcd).then_some(()));
    server.stop();
    one.set("PORTBOOK_FLEET__PRIOR", "nothing");
    let server = one.serve();
    eventually("the document is gone", || (!is_told(&etcd)).then_some(()));
    reaches(&server, "joined");
    server.stop();
    one.set("PORTBOOK_FLEET__PRIOR", "ports");
    let server = one.serve();
    eventually("the host tells again", || is_told(&etcd).then_some(()));
    reaches(&server, "joined");
    one.ok(&["fleet", "leave"]);
    assert!(!is_told(&etcd));
    drop(server);
}
