//! Idle names give way in a full pool, and the answer says so.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Place, text};
use crate::tools::eventually;

fn names(place: &Place) -> Vec<String> {
    let list = place.json(&["list", "--pool", "default"]);
    let leases = list["leases"].as_array().unwrap().iter();
    let mut names: Vec<String> = leases
        .map(|lease| lease["name"].as_str().unwrap_or("-").to_owned())
        .collect();
    names.sort();
    names
}

/// Runs a program under a name to its end and returns its stderr.
fn build(place: &Place, name: &str) -> String {
    let output = place.run(&["run", "--name", name, "--", "true"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    eventually("its owner is seen to be away", || {
        let list = place.json(&["list", "--pool", "default"]);
        let leases = list["leases"].as_array().unwrap();
        let is_away = |lease: &&Value| lease["name"] == name && lease["state"] == "reserved";
        leases.iter().find(is_away).map(|_| ())
    });
    text(&output.stderr)
}

#[test]
fn a_name_for_every_build_never_fills_the_pool() {
    let place = Place::with_ports(3);
    let server = place.serve();
    for number in 0..8 {
        let said = build(&place, &format!("build-{number}"));
        let gives_way = number >= 3;
        let told = format!("gave way: build-{} with port", number - 3);
        assert_eq!(said.contains(&told), gives_way, "{number}: {said}");
    }
    assert_eq!(names(&place), ["build-5", "build-6", "build-7"]);
    let log = server.log();
    assert!(log.contains("build-4 gave way"), "{log}");
    let page = server.web("GET", "/", &[]).body;
    assert!(page.contains("it gave way to another request"), "{page}");
    // The notes of the answer and the explanation say so as well.
    let granted = server.allocate(&json!({"name": "new"}));
    let note = granted.json()["notes"][0].as_str().unwrap().to_owned();
    assert!(note.contains("gave way: build-5"), "{note}");
    let explained = place.ok(&["explain", "new"]);
    assert!(explained.contains("gave way: build-5"), "{explained}");
}

#[test]
fn used_and_reserved_names_never_give_way() {
    let place = Place::with_ports(3);
    let _server = place.serve();
    place.ok(&["alloc", "--name", "kept", "--reserve"]);
    let mut running = place
        .command()
        .args(["run", "--name", "used", "--", "cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it has its port", || {
        (names(&place).len() == 2).then_some(())
    });
    build(&place, "idle");
    let list = place.json(&["list", "--pool", "default"]);
    for lease in list["leases"].as_array().unwrap() {
        let is_away = lease["name"] != "used";
        assert_eq!(lease["idle_since"].is_string(), is_away, "{lease}");
    }
    build(&place, "next");
    assert_eq!(names(&place), ["kept", "next", "used"]);
    // A reserved name that was used since is kept as well.
    build(&place, "kept");
    build(&place, "last");
    assert_eq!(names(&place), ["kept", "last", "used"]);
    drop(running.stdin.take());
    running.wait().unwrap();
}

#[test]
fn names_give_way_to_quotas_too() {
    let mut place = Place::with_ports(6);
    place.set("PORTBOOK_POOLS__DEFAULT__MAX_LEASES_PER_USER", "2");
    let _server = place.serve();
    for name in ["a", "b", "c"] {
        build(&place, name);
    }
    assert_eq!(names(&place), ["b", "c"]);
    let refused = place.run(&["alloc", "--count", "3"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("max_leases_per_user"));
    assert_eq!(names(&place), ["b", "c"], "gave way in vain");
}
