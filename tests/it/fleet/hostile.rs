//! Values in etcd that no portbook writes.

use serde_json::json;

use super::etcd::Etcd;
use super::{host, reaches};
use crate::support::text;

/// A name that would be live, from any host and session.
fn value(change: &serde_json::Value) -> String {
    let mut value = json!({
        "session": "s1", "protocol": "tcp", "port": 8080, "addresses": ["192.0.2.66"],
        "state": "active", "labels": {}, "since_ms": 0,
    });
    let fields = value.as_object_mut().unwrap();
    fields.extend(change.as_object().unwrap().clone());
    value.to_string()
}

#[test]
fn hostile_entries_are_left_out_and_texts_steer_nothing() {
    let Some(etcd) = Etcd::start("hostile values in etcd") else {
        return;
    };
    let place = host(&etcd, "one");
    let server = place.serve();
    reaches(&server, "joined");
    let mark = "\u{1b}[2J<script>alert(1)</script>";
    let port = crate::support::ports(1)[0];
    let good = format!("everywhere/tcp/{port}");
    let objection = format!("host/evil/{good}");
    let entries = [
        ("session/evil/s1", json!({"instance": "i", "boot": "b", "version": mark, "addresses": [mark, "192.0.2.66"]}).to_string()),
        ("session/evil/s2", "not json".to_owned()),
        ("session/e vil/s3", "{}".to_owned()),
        ("session/evil/<b>", "{}".to_owned()),
        ("name/web/evil/l1", value(&json!({"labels": {mark: mark}, "state": mark, "addresses": ["127.0.0.1", "$(id)", "192.0.2.66"]}))),
        ("name/web/evil/l2", value(&json!({"port": 0}))),
        ("name/web/evil/l3", value(&json!({"labels": {"k": "v".repeat(1100)}}))),
        ("name/web/evil/l4/more", value(&json!({}))),
        ("name/w<b>/evil/l5", value(&json!({}))),
        ("name/web/evil/\u{1b}[2J", value(&json!({}))),
        ("name/web/evil/l6", "\u{0}\u{ff}".to_owned().replace('\u{0}', "")),
        ("later/kind/of/key", "{}".to_owned()),
        ("everywhere/tcp/0", json!({"name": "a"}).to_string()),
        ("everywhere/tcp/9", json!({"name": mark}).to_string()),
        ("everywhere/tcp/9/9", json!({"name": "a"}).to_string()),
        ("everywhere/udp/10", json!({"name": "a", "more": "v".repeat(1100)}).to_string()),
        (&good, json!({"name": "kept"}).to_string()),
        (&objection, json!({"busy": mark}).to_string()),
        ("host/evil/everywhere/tcp/9", json!("held").to_string()),
        ("host/e vil/everywhere/tcp/9", "[]".to_owned()),
    ];
    for (key, value) in &entries {
        etcd.put(&format!("/portbook/v1/{key}"), value);
    }
    let listed = place.json(&["fleet", "names"]);
    let names = listed["names"].as_array().unwrap();
    assert_eq!(names.len(), 1, "{listed}");
    assert_eq!(names[0]["addresses"], json!(["192.0.2.66"]));
    assert_eq!(
        (&names[0]["state"], &names[0]["live"]),
        (&json!("other"), &json!(true))
    );
    for arguments in [
        &["fleet", "hosts"][..],
        &["fleet", "everywhere"],
        &["fleet", "names"],
        &["resolve", "web"],
        &["list", "--fleet"],
    ] {
        for more in [&[][..], &["--json"]] {
            let output = place.run(&[more, arguments].concat());
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(
                output.status.success() && !said.contains('\u{1b}'),
                "{arguments:?}: {said}"
            );
        }
    }
    let everywhere = place.json(&["fleet", "everywhere"]);
    let numbers = everywhere["everywhere"].as_array().unwrap();
    assert_eq!(numbers.len(), 1, "{everywhere}");
    assert_eq!(numbers[0]["hosts"][0]["state"], "busy", "{everywhere}");
    let hosts = place.json(&["fleet", "hosts"]);
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 2, "{hosts}");
    let targets = server.get("/api/v1/fleet/discovery/prometheus").json();
    assert_eq!(targets, json!([]), "its state is none of a lease");
    let page = server.web("GET", "/fleet", &[("Accept", "text/html")]);
    assert_eq!(page.status, 200);
    for word in ["192.0.2.66", "evil", "&#60;script&#62;", "href=\"/fleet\""] {
        assert!(page.body.contains(word), "{word}: {}", page.body);
    }
    assert!(!page.body.contains("<script>alert") && !page.body.contains('\u{1b}'));
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.contains("portbook_fleet_state{state=\"joined\"} 1"),
        "{metrics}"
    );
    place.ok(&["alloc", "--name", "local"]);
}
