//! Repeated requests with one `Idempotency-Key`, after an answer was lost.

use std::io::Write;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::support::{Answer, Place, Server};
use crate::tools::eventually;

fn ask(server: &Server, key: &str, wanted: &Value) -> Answer {
    let header = ("Idempotency-Key", key);
    server.api_with(header, "POST", "/api/v1/leases", wanted)
}

/// Status, first port and id.
fn granted(answer: &Answer) -> (u16, Value, Value) {
    let lease = &answer.json()["leases"][0];
    (answer.status, lease["port"].clone(), lease["id"].clone())
}

#[test]
fn idempotency_key_returns_its_living_lease() {
    let place = Place::with_ports(3);
    let server = place.serve();
    let (status, port, id) = granted(&ask(&server, "\"7f3a\"", &json!({})));
    assert_eq!(status, 201);
    assert_eq!(
        granted(&ask(&server, "7f3a", &json!({}))),
        (200, port, id.clone())
    );
    assert_eq!(granted(&ask(&server, "another", &json!({}))).0, 201);
    assert_eq!(server.living("default").len(), 2);

    assert!(server.stop().success());
    let server = place.serve();
    let again = granted(&ask(&server, "7f3a", &json!({})));
    assert_eq!((again.0, &again.2), (200, &id), "after a restart");

    let path = format!("/api/v1/leases/{}", id.as_str().unwrap());
    assert_eq!(server.api("DELETE", &path, None).status, 204);
    let fresh = granted(&ask(&server, "7f3a", &json!({})));
    assert_eq!(fresh.0, 201);
    assert_ne!(fresh.2, id);
}

#[test]
fn concurrent_requests_with_one_key_get_one_lease() {
    let place = Place::with_ports(8);
    let server = place.serve();
    let answers = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| granted(&ask(&server, "one", &json!({})))))
            .collect();
        let answers = asking.into_iter().map(|asking| asking.join().unwrap());
        answers.collect::<Vec<_>>()
    });
    assert!(answers.iter().all(|answer| answer.2 == answers[0].2));
    let created = answers.iter().filter(|answer| answer.0 == 201);
    assert_eq!((created.count(), server.living("default").len()), (1, 1));
}

#[test]
fn idempotency_key_recovers_a_lost_answer() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let mut gone = UnixStream::connect(server.socket()).unwrap();
    let head = "POST /api/v1/leases HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: lost\r\n\r\n";
    gone.write_all(head.as_bytes()).unwrap();
    eventually("the lease", || {
        (server.living("default").len() == 1).then_some(())
    });
    drop(gone);
    assert_eq!(ask(&server, "lost", &json!({})).status, 200);
    assert_eq!(server.living("default").len(), 1);
}

#[test]
fn a_key_is_good_for_one_request() {
    let place = Place::with_ports(4);
    let server = place.serve();
    let two = ask(&server, "k", &json!({"count": 2}));
    assert_eq!(two.status, 201);
    for other in [json!({}), json!({"count": 2, "protocol": "both"})] {
        let refused = ask(&server, "k", &other);
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.body.contains("used for another request"));
    }
    let id = two.json()["leases"][0]["id"].as_str().unwrap().to_owned();
    server.release(id);
    let refused = ask(&server, "k", &json!({"count": 2}));
    assert!(
        refused
            .body
            .contains("some of what it was granted has ended")
    );

    let long = "k".repeat(129);
    for bad in ["two words", "", &long] {
        let refused = ask(&server, bad, &json!({}));
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (400, &json!("invalid_request"))
        );
    }
}

#[test]
fn a_question_and_a_name_need_no_key() {
    let place = Place::with_ports(3);
    let server = place.serve();
    assert_eq!(ask(&server, "k", &json!({"dry_run": true})).status, 200);
    let named = ask(&server, "k", &json!({"name": "web"}));
    assert_eq!(named.status, 201);
    let unnamed = ask(&server, "k", &json!({}));
    assert_eq!(unnamed.status, 201, "the key was not used yet");
}
