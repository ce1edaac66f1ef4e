//! What the commands of the fleet tell a user from day to day.

use std::time::Duration;

use super::etcd::Etcd;
use super::{NOT_FRESH, host, place_with, reaches, status};
use crate::support::{Place, text};

#[test]
fn status_tells_what_brings_the_settings_into_force() {
    let mut place = Place::with_ports(1);
    let off = |place: &Place| {
        let told = place.run(&["fleet", "status"]);
        assert_eq!(told.status.code(), Some(NOT_FRESH), "{told:?}");
        (text(&told.stdout), text(&told.stderr))
    };
    let (table, why) = off(&place);
    assert!(table.starts_with("state: off\n"), "{table}");
    assert!(why.contains("fleet.engine is not set"), "{why}");
    let server = place.serve();
    place.set("PORTBOOK_FLEET__ENGINE", "http://127.0.0.1:1");
    let (_, why) = off(&place);
    assert!(why.contains("PORTBOOK_FLEET__ENGINE"), "{why}");
    assert!(why.contains("serve --takeover"), "{why}");
    drop(server);
    let (_, why) = off(&place);
    assert!(why.contains("none runs"), "{why}");
}

#[test]
fn service_with_unusable_settings_is_alone_since_its_start() {
    let mut place = place_with("https://127.0.0.1:1", "one");
    place.set("PORTBOOK_FLEET__CA", "/nonexistent/ca.pem");
    let server = place.serve();
    let alone = reaches(&server, "alone");
    let age = Duration::from_millis(alone["for_ms"].as_u64().unwrap());
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!(age.as_secs_f64() < uptime / 2.0, "{age:?}");
}

#[test]
fn join_after_leave_tells_to_restart() {
    let Some(etcd) = Etcd::start("fleet join after fleet leave") else {
        return;
    };
    let place = host(&etcd, "one");
    let join = || text(&place.run(&["fleet", "join"]).stderr);
    let before = join();
    assert!(before.contains("none runs"), "{before}");
    let server = place.serve();
    reaches(&server, "joined");
    let told = join();
    assert!(!told.contains("next start"), "{told}");
    place.ok(&["fleet", "leave"]);
    assert_eq!(status(&server)["state"], "off");
    let told = join();
    assert!(told.contains("serve --takeover"), "{told}");
}

#[test]
fn join_tries_each_address_and_makes_a_missing_file() {
    let Some(etcd) = Etcd::start("fleet join with a dead address") else {
        return;
    };
    let place = Place::with_ports(1);
    let file = place.folder().join("new.toml");
    let join = |file: &std::path::Path| {
        let file = file.to_str().unwrap();
        let words = ["--config", file, "fleet", "join", "http://127.0.0.1:1"];
        place.run(&[&words[..], &[&etcd.address, "--host", "one"]].concat())
    };
    let done = join(&file);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let told = text(&done.stderr);
    assert!(
        told.contains("http://127.0.0.1:1 does not answer"),
        "{told}"
    );
    assert!(
        told.contains(&format!("{} answers", etcd.address)),
        "{told}"
    );
    assert!(std::fs::read_to_string(&file).unwrap().contains("[fleet]"));
    let nowhere = join(&place.folder().join("none/new.toml"));
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
}
