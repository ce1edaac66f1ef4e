//! The API over the Unix socket.

use serde_json::json;

use crate::support::Place;

#[test]
fn a_lease_is_granted_listed_shown_and_released() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let granted = server.allocate(&json!({}));
    assert_eq!(granted.status, 201, "{granted:?}");
    let document = granted.json();
    let lease = &document["leases"][0];
    assert_eq!(lease["port"], place.ports[0]);
    assert_eq!(document["attempt_count"], 1);
    assert_eq!(
        (&lease["guard"], &lease["state"]),
        (&json!("hold"), &json!("handed"))
    );
    let path = format!("/api/v1/leases/{}", lease["id"].as_str().unwrap());
    assert!(
        granted.head.contains(&format!("location: {path}")),
        "{}",
        granted.head
    );

    assert_eq!(server.get(&path).json()["port"], lease["port"]);
    assert_eq!(server.api("DELETE", &path, None).status, 204);
    assert_eq!(server.api("DELETE", &path, None).status, 404);
    assert_eq!(server.get(&path).json()["state"], "released");
    assert!(server.stop().success());
}

#[test]
fn a_port_without_a_protocol_is_a_tcp_port() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let port = server.console_port();
    let short = server.get(&format!("/api/v1/ports/{port}"));
    assert_eq!(short.status, 200, "{short:?}");
    assert_eq!(short.json()["protocol"], "tcp");
    assert_eq!(short.json()["leases"][0]["name"], "portbook-console");
}

#[test]
fn lifetime_of_no_time_is_refused() {
    let place = Place::with_ports(1);
    let server = place.serve();
    for field in ["ttl", "claim_within"] {
        for length in [json!(0), json!("0s"), json!("1us")] {
            let wanted = json!({ field: length });
            let answer = server.allocate(&wanted);
            assert_eq!(answer.status, 400, "{wanted}: {answer:?}");
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains(&format!("a {field} of zero")), "{detail}");
        }
    }
    let granted = server.allocate(&json!({"ttl": "1h"})).json();
    let id = granted["leases"][0]["id"].as_str().unwrap();
    let renewal = format!("/api/v1/leases/{id}/renew");
    let answer = server.api("POST", &renewal, Some(&json!({"ttl": 0})));
    assert_eq!(answer.status, 400, "{answer:?}");
}
