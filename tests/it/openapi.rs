//! Answers of a running service against its own description.

use serde_json::{Value, json};

use crate::support::{Answer, Place, Server, occupant};

/// Checks answers against the description of their service.
struct Reader {
    server: Server,
    document: Value,
}

impl Reader {
    fn of(server: Server) -> Self {
        let answer = server.api("GET", "/api/v1/openapi.json", None);
        assert_eq!(answer.status, 200);
        let mut document = answer.json();
        close(&mut document["components"]["schemas"]);
        Self { server, document }
    }

    /// Sends a request and checks the answer against the description of `path`.
    fn ask(&self, method: &str, path: &str, target: &str, body: Option<&Value>) -> Answer {
        let answer = self.server.api(method, target, body);
        let described = &self.document["paths"][path][method.to_lowercase()];
        let described = &described["responses"][answer.status.to_string()];
        assert!(described.is_object(), "{method} {target}: {answer:?}");
        for name in described["headers"].as_object().into_iter().flatten() {
            let header = format!("\r\n{}: ", name.0.to_lowercase());
            assert!(answer.head.contains(&header), "{header}: {answer:?}");
        }
        let Some(contents) = described["content"].as_object() else {
            assert_eq!(answer.body, "");
            return answer;
        };
        let is_given = |media_type: &&String| {
            answer
                .head
                .contains(&format!("\r\ncontent-type: {media_type}"))
        };
        let media_type = contents.keys().find(is_given);
        let media_type = media_type.unwrap_or_else(|| panic!("{answer:?}"));
        if media_type.ends_with("json") {
            self.check(&contents[media_type]["schema"], &answer);
        }
        answer
    }

    fn check(&self, schema: &Value, answer: &Answer) {
        let mut root = schema.clone();
        root["components"] = self.document["components"].clone();
        let mut compiler = boon::Compiler::new();
        let mut schemas = boon::Schemas::new();
        compiler
            .add_resource("memory:///schema.json", root)
            .unwrap();
        let index = compiler
            .compile("memory:///schema.json", &mut schemas)
            .unwrap();
        if let Err(error) = schemas.validate(&answer.json(), index) {
            panic!("{error:#}: {answer:?}");
        }
    }
}

/// Forbids undescribed fields: the description allows later ones, but all present ones must be in it.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.contains_key("properties") && fields.get("type") == Some(&json!("object")) {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn answers_are_as_described() {
    let place = Place::with_ports(6);
    let busy = place.ports[0];
    let _occupant = occupant(busy);
    let reader = Reader::of(place.serve());
    let leases = "/api/v1/leases";
    let wanted = json!({"names": ["web", "api"], "labels": {"team": "shop"}, "ttl": "1h"});
    let granted = reader.ask("POST", leases, leases, Some(&wanted));
    assert_eq!(granted.status, 201, "{granted:?}");
    let granted = granted.json();
    let (id, allocation) = (&granted["leases"][0]["id"], &granted["allocation"]);
    let (id, allocation) = (id.as_str().unwrap(), allocation.as_str().unwrap());
    for (body, status) in [
        (json!({"name": "web"}), 200),
        (json!({"dry_run": true, "strategy": "learned"}), 200),
        (json!({"port": busy}), 409),
        (json!({"port": 0}), 400),
        (json!({"pool": "none"}), 422),
        (json!({"count": 200}), 503),
    ] {
        let answer = reader.ask("POST", leases, leases, Some(&body));
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let lease = format!("{leases}/{id}");
    reader.ask("GET", "/api/v1/leases/{id}", &lease, None);
    reader.ask(
        "POST",
        "/api/v1/leases/{id}/renew",
        &format!("{lease}/renew"),
        None,
    );
    let explained = format!("/api/v1/allocations/{allocation}");
    reader.ask("GET", "/api/v1/allocations/{id}", &explained, None);
    for port in [busy, place.console_ports[0], place.ports[1]] {
        let port = format!("/api/v1/ports/tcp/{port}");
        reader.ask("GET", "/api/v1/ports/{protocol}/{port}", &port, None);
    }
    for path in [
        "/api/v1/snapshots",
        "/api/v1/logins",
        "/api/v1/history/prune",
    ] {
        reader.ask("POST", path, path, None);
    }
    assert_eq!(
        reader
            .ask("DELETE", "/api/v1/leases/{id}", &lease, None)
            .status,
        204
    );
    let ended = format!("{leases}?state=ended");
    reader.ask("GET", leases, &ended, None);
    for (path, methods) in reader.document["paths"].as_object().unwrap() {
        // Events have no end.
        if methods.get("get").is_some() && !path.contains('{') && path != "/api/v1/events" {
            // This host is in no fleet, and says so.
            let needs_fleet = path.contains("/fleet/") && !path.ends_with("/status");
            let status = if needs_fleet { 409 } else { 200 };
            assert_eq!(reader.ask("GET", path, path, None).status, status, "{path}");
        }
    }
    for kind in ["attempts", "days", "endings", "conflicts"] {
        let rows = format!("/api/v1/history/{kind}");
        reader.ask("GET", "/api/v1/history/{kind}", &rows, None);
    }
}

#[test]
fn a_body_is_an_object_with_numbers_of_one_kind() {
    let place = Place::with_ports(3);
    let server = place.serve();
    for (body, status) in [
        (json!([]), 400),
        (json!(null), 400),
        (json!({"count": 2.5, "dry_run": true}), 400),
        (json!({"count": 2.0, "dry_run": true}), 200),
        (
            json!({"scope": "dir", "directory": "/a\u{0}b", "dry_run": true}),
            400,
        ),
    ] {
        let answer = server.api("POST", "/api/v1/leases", Some(&body));
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
}
