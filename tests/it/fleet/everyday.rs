//! What the commands of the fleet tell a user from day to day.

use std::time::Duration;

use serde_json::json;

use super::etcd::Etcd;
use super::unique::{alloc, joined, pair, sorted_ports};
use super::{NOT_FRESH, host, place_with, reaches, resolved, status};
use crate::support::{Place, text};
use crate::tools::eventually;

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

#[test]
fn host_that_has_nothing_is_not_evicted_and_not_asked_about() {
    let Some(etcd) = Etcd::start("an eviction of a host that has nothing") else {
        return;
    };
    let place = host(&etcd, "one");
    let server = place.serve();
    reaches(&server, "joined");
    for more in [&[][..], &["--yes"]] {
        let told = place.run(&[&["fleet", "evict", "build-9"], more].concat());
        assert_eq!(told.status.code(), Some(1), "{told:?}");
        let told = text(&told.stderr);
        assert!(
            told.contains("build-9 has no unique number") && !told.contains("--yes"),
            "{told}"
        );
    }
}

#[test]
fn own_claims_are_listed_as_soon_as_they_are_there_and_no_longer() {
    let Some(etcd) = Etcd::start("claims of this host at once") else {
        return;
    };
    let (one, _) = pair(&etcd, &sorted_ports());
    let _server = joined(&one);
    for number in 0..5 {
        let name = format!("n{number}");
        let port = alloc(&one, &["--name", &name]);
        let listed = || one.json(&["fleet", "claims"])["claims"].clone();
        let claims = listed();
        assert_eq!(claims[0]["port"], port, "{claims}");
        assert_eq!(
            (&claims[0]["pool"], &claims[0]["name"]),
            (&json!("edge"), &json!(name))
        );
        one.ok(&["release", &name]);
        assert_eq!(listed(), json!([]));
    }
    let empty = one.run(&["fleet", "claims"]);
    assert_eq!(text(&empty.stdout), "", "{empty:?}");
}

#[test]
fn number_that_was_released_elsewhere_is_granted_at_once() {
    let Some(etcd) = Etcd::start("a number that was just released") else {
        return;
    };
    let (one, two) = pair(&etcd, &sorted_ports());
    let (_first, _second) = (joined(&one), joined(&two));
    let port = alloc(&one, &["--name", "web"]).to_string();
    let refused = two.run(&["alloc", "--pool", "edge", "--port", &port]);
    assert!(text(&refused.stderr).contains("host one"), "{refused:?}");
    one.ok(&["release", "web"]);
    eventually("the claim is withdrawn", || {
        etcd.keys("/portbook/v1/claim/").is_empty().then_some(())
    });
    assert_eq!(alloc(&two, &["--port", &port]).to_string(), port);
}

#[test]
fn answers_are_for_scripts_and_say_if_there_is_nothing() {
    let Some(mut etcd) = Etcd::start("resolve for scripts") else {
        return;
    };
    let place = host(&etcd, "one");
    let server = place.serve();
    reaches(&server, "joined");
    let port = place.ok(&["alloc", "--name", "web"]);
    resolved(&server, "web", |rows| !rows.is_empty());
    let lines = place.ok(&["resolve", "web", "--format", "address"]);
    assert_eq!(lines, format!("192.0.2.1:{}\n", port.trim()));
    for words in [
        &["who", "--fleet", "1"][..],
        &["fleet", "names", "--host", "none"],
    ] {
        let nothing = place.run(words);
        assert_eq!(nothing.status.code(), Some(0), "{nothing:?}");
        assert_eq!(text(&nothing.stdout), "");
        assert!(text(&nothing.stderr).contains("no host"), "{nothing:?}");
    }
    let nowhere = place.run(&["resolve", "nosuch", "--live"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(!text(&nowhere.stderr).contains("ago"), "{nowhere:?}");
    etcd.stop();
    reaches(&server, "alone");
    let nowhere = place.run(&["resolve", "nosuch", "--live"]);
    assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
    assert!(text(&nowhere.stderr).contains("ago"), "{nowhere:?}");
    // What this host serves itself needs no etcd.
    place.ok(&["release", "web"]);
    let away = place.run(&["resolve", "web"]);
    assert_eq!(away.status.code(), Some(1), "{away:?}");
    let again = place.ok(&["alloc", "--name", "web"]);
    let lines = place.ok(&["resolve", "web", "--live", "--format", "address"]);
    assert_eq!(lines, format!("192.0.2.1:{}\n", again.trim()));
    let names = place.json(&["resolve", "web"]);
    assert_eq!(names["names"][0]["own"], true, "{names}");
}

#[test]
fn host_that_left_joins_again_with_its_unique_pools() {
    let Some(etcd) = Etcd::start("fleet join with a unique pool and no fleet") else {
        return;
    };
    let place = Place::with_ports(1);
    let file = place.folder().join("config.toml");
    let pool = "[pools.edge]\nranges = \"30000-30009\"\nfleet = \"unique\"\nreclaim = \"manual\"\n";
    let run = |words: &[&str]| {
        let file = file.to_str().unwrap();
        place.run(&[&["--config", file], words].concat())
    };
    std::fs::write(&file, pool).unwrap();
    let bare = run(&["fleet", "join"]);
    assert_eq!(bare.status.code(), Some(2), "{bare:?}");
    let told = text(&bare.stderr);
    assert!(told.contains("with an address of etcd"), "{told}");
    let joined = run(&["fleet", "join", &etcd.address, "--host", "one"]);
    assert_eq!(joined.status.code(), Some(0), "{joined:?}");
    let server = place.serve_with(&["--config", file.to_str().unwrap()]);
    reaches(&server, "joined");
    let left = text(&run(&["fleet", "leave"]).stderr);
    assert!(
        left.contains("pools.edge.fleet (file ") && left.contains("first"),
        "{left}"
    );
}

#[test]
fn names_that_wait_are_counted_from_the_start_of_a_service_on() {
    let Some(mut etcd) = Etcd::start("a service that starts without etcd") else {
        return;
    };
    let place = host(&etcd, "one");
    let server = place.serve();
    reaches(&server, "joined");
    place.ok(&["alloc", "--name", "web", "--ttl", "1h"]);
    resolved(&server, "web", |rows| !rows.is_empty());
    etcd.stop();
    server.kill();
    let server = place.serve();
    let alone = reaches(&server, "alone");
    assert_eq!(
        (&alone["published"], &alone["pending"]),
        (&json!(0), &json!(1)),
        "{alone}"
    );
}
