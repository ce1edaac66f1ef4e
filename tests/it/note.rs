//! Notes on leases: written by command, API and console, and kept when the name comes back.

use serde_json::{Value, json};

use crate::pages::{cookie, send};
use crate::support::{Place, Server};

fn notes(place: &Place) -> Vec<String> {
    let list = place.json(&["list"]);
    let leases = list["leases"].as_array().unwrap().iter();
    let note = |lease: &Value| lease["labels"]["note"].as_str().map(str::to_owned);
    leases.filter_map(note).collect()
}

fn put(server: &Server, lease: &Value, note: &str) -> u16 {
    let path = format!("/api/v1/leases/{}/note", lease["id"].as_str().unwrap());
    server
        .api("PUT", &path, Some(&json!({"note": note})))
        .status
}

#[test]
fn note_outlives_requests_and_a_restart_of_the_service() {
    let place = Place::with_ports(2);
    let server = place.serve();
    place.ok(&["alloc", "--name", "web", "--label", "team=shop"]);
    assert_eq!(place.ok(&["note", "web"]), "");
    assert_eq!(place.ok(&["note", "web", "for Friday"]), "for Friday\n");
    assert_eq!(place.ok(&["note", "web"]), "for Friday\n");
    place.ok(&["alloc", "--name", "web", "--label", "job=7"]);
    let labels = place.json(&["list"])["leases"][0]["labels"].clone();
    assert_eq!(labels, json!({"job": "7", "note": "for Friday"}));
    drop(server);
    let _server = place.serve();
    assert_eq!(notes(&place), ["for Friday"]);
    place.ok(&["note", "web", ""]);
    assert!(notes(&place).is_empty());
}

#[test]
fn note_is_kept_without_a_service() {
    let place = Place::with_ports(1);
    place.ok(&["alloc", "--name", "web"]);
    place.ok(&["note", "web", "mine"]);
    place.ok(&["alloc", "--name", "web", "--label", "job=7"]);
    assert_eq!(notes(&place), ["mine"]);
}

#[test]
fn note_that_does_not_fit_changes_nothing() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let granted = server.allocate(&json!({"name": "web", "labels": {"note": "first"}}));
    let lease = granted.json()["leases"][0].clone();
    assert_eq!(put(&server, &lease, &"é".repeat(129)), 400);
    assert_eq!(notes(&place), ["first"]);
    assert_eq!(put(&server, &lease, &"é".repeat(128)), 200);
    place.ok(&["release", "web"]);
    assert_eq!(put(&server, &lease, "late"), 404);
}

#[test]
fn console_writes_and_removes_a_note() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let granted = server.allocate(&json!({"name": "web"}));
    let id = granted.json()["leases"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (cookie, form) = (cookie(&server), format!("/leases/{id}/note"));
    let refused = send(&server, &form, "none=1", "note=a");
    assert_eq!(refused.status, 401, "{refused:?}");
    let written = send(&server, &form, &cookie, "note=%3Cb%3E+at+five");
    assert_eq!(written.status, 303, "{written:?}");
    for path in [format!("/leases/{id}"), "/leases".to_owned()] {
        let page = server.web("GET", &path, &[("Cookie", &cookie)]).body;
        assert!(page.contains("&#60;b&#62; at five"), "{path}: {page}");
        assert!(
            !page.contains("note=") && !page.contains("<b>"),
            "{path}: {page}"
        );
    }
    send(&server, &form, &cookie, "note=");
    assert!(notes(&place).is_empty());
}
