//! Traces: each allocation arrives at a collector as one tree, in the caller's trace.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::mpsc::Receiver;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};

use crate::receiver::collector;
use crate::support::{Place, Server, occupant, text};
use crate::tools::{Running, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

pub fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|pair| pair.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Attribute::StringValue(text) => Some(text.clone()),
        Attribute::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[test]
fn allocation_is_one_tree_in_the_callers_trace() {
    let place = Place::with_ports(2);
    let _occupant = occupant(place.ports[0]);
    let (url, spans) = collector();
    let server = place.serve_with(&["--otlp-endpoint", &url]);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let granted = place
        .command()
        .env("TRACEPARENT", &traceparent)
        .args(["--json", "alloc"])
        .output()
        .unwrap();
    let granted: Value = serde_json::from_slice(&granted.stdout).unwrap();
    assert_eq!(granted["trace_id"], TRACE);
    assert_eq!(granted["leases"][0]["trace_id"], TRACE);
    // Stopping flushes; the collector's thread keeps the channel open, so take what is there.
    assert!(server.stop().success());
    let spans: Vec<Span> = spans
        .try_iter()
        .filter(|span| hex(&span.trace_id) == TRACE)
        .collect();
    let by_name =
        |name: &str| -> Vec<&Span> { spans.iter().filter(|span| span.name == name).collect() };

    let request = by_name("POST /api/v1/leases")[0];
    assert_eq!(hex(&request.parent_span_id), PARENT);
    let allocate = by_name("allocate")[0];
    assert_eq!(allocate.parent_span_id, request.span_id);
    let parents: HashMap<&str, &Vec<u8>> = spans
        .iter()
        .map(|span| (&*span.name, &span.parent_span_id))
        .collect();
    for name in ["select_interfaces", "choose", "commit"] {
        assert_eq!(parents[name], &allocate.span_id, "{name}");
    }
    let choose = &by_name("choose")[0].span_id;
    let attempts = by_name("attempt");
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.parent_span_id == *choose)
    );
    let errors: Vec<String> = attempts
        .iter()
        .filter_map(|attempt| attribute(attempt, "error.type"))
        .collect();
    assert_eq!(errors, ["EADDRINUSE"]);
    let occupant = attempts
        .iter()
        .find_map(|attempt| attribute(attempt, "portbook.occupant"));
    assert!(occupant.unwrap().starts_with("python3 (pid "));
    for parent in [request, allocate] {
        let status = parent.status.as_ref().map_or(0, |status| status.code);
        assert_ne!(status, StatusCode::Error as i32, "{}", parent.name);
    }
}

/// The spans of all traces that the service sent until it was stopped.
fn all(server: Server, spans: &Receiver<Span>) -> Vec<Span> {
    assert!(server.stop().success());
    spans.try_iter().collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.name == name);
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    found.unwrap_or_else(|| panic!("no {name} among {names:?}"))
}

#[test]
fn later_lease_spans_link_to_their_allocation() {
    let place = Place::with_ports(2);
    let (url, spans) = collector();
    let server = place.serve_with(&["--otlp-endpoint", &url]);
    let granted = place.json(&["alloc", "--ttl", "1h"]);
    let id = granted["leases"][0]["id"].as_str().unwrap();
    place.ok(&["renew", id]);
    place.ok(&["release", id]);
    // One lease whose owner has ended, and one that has expired.
    place.ok(&["run", "--", "true"]);
    place.ok(&["alloc", "--ttl", "100ms"]);
    eventually("both leases end", || {
        let list = place.json(&["list", "--pool", "default"]);
        list["leases"].as_array().unwrap().is_empty().then_some(())
    });
    let spans = all(server, &spans);
    let allocations: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name == "allocate")
        .collect();
    for name in ["renew", "release", "owner_gone", "expire"] {
        let span = named(&spans, name);
        let link = &span.links[0];
        let of = allocations
            .iter()
            .find(|allocation| allocation.span_id == link.span_id);
        assert_eq!(of.unwrap().trace_id, link.trace_id, "{name}");
        assert_ne!(span.trace_id, link.trace_id, "{name}");
    }
    assert_eq!(
        hex(&named(&spans, "release").links[0].trace_id),
        granted["trace_id"]
    );
    assert_eq!(
        attribute(named(&spans, "release"), "portbook.lease.id").unwrap(),
        id
    );
    for name in ["snapshot", "restore"] {
        assert_eq!(named(&spans, name).parent_span_id.len(), 0, "{name}");
    }
}

/// Grants a lease whose owner never listens, and waits until an outsider has come in through the open
/// gate.
fn lost_to_a_stranger(place: &Place, server: &Server) -> Value {
    let mut owner = std::process::Command::new("sleep");
    owner.arg("60");
    let owner = Running::start(owner);
    let wanted = json!({ "owner_pid": owner.0.id() });
    let granted = server.allocate(&wanted).json();
    let id = granted["leases"][0]["id"].as_str().unwrap();
    let path = format!("/api/v1/leases/{id}");
    let _occupant = occupant(place.ports[0]);
    eventually("a late conflict", || {
        let now = server.get(&path).json();
        (now["state"] == "lost").then_some(())
    });
    granted
}

#[test]
fn late_conflict_has_its_own_linked_trace() {
    let place = Place::with_ports(1);
    let (url, spans) = collector();
    let server = place.serve_with(&["--otlp-endpoint", &url]);
    let granted = lost_to_a_stranger(&place, &server);
    let spans = all(server, &spans);
    let conflicts: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name == "late_conflict")
        .collect();
    let [conflict] = conflicts[..] else {
        panic!("not one conflict: {conflicts:?}")
    };
    let allocate = spans
        .iter()
        .find(|span| span.name == "allocate" && hex(&span.trace_id) == granted["trace_id"])
        .unwrap();
    let [link] = &conflict.links[..] else {
        panic!("not one link: {conflict:?}")
    };
    assert_eq!(
        (&link.trace_id, &link.span_id),
        (&allocate.trace_id, &allocate.span_id)
    );
    assert_eq!(conflict.parent_span_id.len(), 0);
    assert_ne!(conflict.trace_id, allocate.trace_id);
    for (key, wanted) in [
        ("portbook.lease.id", &granted["leases"][0]["id"]),
        ("portbook.allocation.id", &granted["allocation"]),
        ("portbook.pool", &json!("default")),
        ("portbook.port", &json!(place.ports[0].to_string())),
        ("portbook.lease.state", &json!("lost")),
    ] {
        assert_eq!(
            attribute(conflict, key).as_deref(),
            wanted.as_str(),
            "{key}"
        );
    }
}

#[test]
fn a_choice_tells_what_each_candidate_would_cost() {
    let mut place = Place::with_ports(3);
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "learned");
    let (url, spans) = collector();
    let server = place.serve_with(&["--otlp-endpoint", &url, "--log-format", "json"]);
    let granted = place.json(&["alloc"]);
    let log = server.log();
    let id = granted["trace_id"].as_str().unwrap();
    let line = log
        .lines()
        .find(|line| line.contains("\"granted\"") && line.contains(id));
    assert!(line.unwrap().contains("\"span_id\""), "{log}");
    let spans = all(server, &spans);
    let choose = spans
        .iter()
        .find(|span| span.name == "choose" && hex(&span.trace_id) == id);
    let events = &choose.unwrap().events;
    assert_eq!(events.len(), 3);
    let value = |key: &str| {
        let found = events[0].attributes.iter().find(|pair| pair.key == key);
        found.unwrap().value.clone().unwrap().value.unwrap()
    };
    assert_eq!(
        value("portbook.port"),
        Attribute::IntValue(granted["leases"][0]["port"].as_i64().unwrap())
    );
    let Attribute::DoubleValue(cost) = value("portbook.cost") else {
        panic!("a cost is a number");
    };
    let terms = ["busy", "seen", "late", "released", "penalties"];
    let terms = terms.map(|term| match value(&format!("portbook.cost.{term}")) {
        Attribute::DoubleValue(term) => term,
        other => panic!("{other:?}"),
    });
    assert!((cost - terms.iter().sum::<f64>()).abs() < 1e-9);
}

/// Records of one granted and one refused allocation: the name of each place with its document or
/// text.
fn records(place: &Place, server: &Server) -> Vec<(&'static str, String)> {
    let granted = place.json(&["alloc", "--name", "web"]);
    let refused = place.run(&["--json", "alloc"]);
    assert!(!refused.status.success());
    let (allocation, lease) = (&granted["allocation"], &granted["leases"][0]["id"]);
    let (allocation, lease) = (allocation.as_str().unwrap(), lease.as_str().unwrap());
    let get = |path: &str| server.get(path).body;
    let attempts = format!("/api/v1/history/attempts?allocation={allocation}");
    let (rows, log) = (get(&attempts), server.log());
    let line = |word: &str| log.lines().find(|line| line.contains(word)).unwrap();
    vec![
        ("answer", granted.to_string()),
        ("refusal", text(&refused.stderr) + &text(&refused.stdout)),
        (
            "allocation",
            get(&format!("/api/v1/allocations/{allocation}")),
        ),
        ("lease", get(&format!("/api/v1/leases/{lease}"))),
        (
            "attempts",
            get(&format!("/api/v1/attempts?allocation={allocation}")),
        ),
        ("JSON lines", get(&format!("{attempts}&format=jsonl"))),
        (
            "CSV",
            rows.lines()
                .find(|line| line.contains(allocation))
                .unwrap()
                .to_owned(),
        ),
        ("log of a grant", line(lease).to_owned()),
        ("log of a refusal", line("refused").to_owned()),
    ]
}

/// The console's pages about the newest lease.
fn pages(server: &Server) -> Vec<(String, String)> {
    let leases = server.get("/api/v1/leases?pool=default").json();
    let lease = &leases["leases"][0];
    let (id, allocation) = (lease["id"].as_str().unwrap(), lease["allocation"].as_str());
    let allocation = allocation.unwrap();
    let paths = [
        format!("/leases/{id}"),
        format!("/allocations/{allocation}"),
        format!("/attempts?allocation={allocation}"),
    ];
    let shown = |path: String| (server.web("GET", &path, &[]).body, path);
    paths.map(shown).map(|(body, path)| (path, body)).into()
}

#[test]
fn every_record_of_a_sampled_trace_names_it() {
    let mut place = Place::with_ports(1);
    let (url, _spans) = collector();
    place.set("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    place.set("TRACEPARENT", &traceparent);
    let server = place.serve();
    for (name, record) in records(&place, &server) {
        assert!(record.contains(TRACE), "{name}: {record}");
    }
    for (path, page) in pages(&server) {
        // By the environment's endpoint: Jaeger's usual pages on that host.
        let link = format!("http://127.0.0.1:16686/trace/{TRACE}?uiFind=");
        let (_, rest) = page.split_once(&link).unwrap_or_else(|| panic!("{path}"));
        let span = rest.split('"').next().unwrap();
        assert!(span.len() == 16 && span != PARENT, "{path}: {span}");
    }
}

#[test]
fn no_record_names_a_trace_that_was_not_sampled() {
    let mut place = Place::with_ports(1);
    let (url, _spans) = collector();
    place.set("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    let traceparent = format!("00-{TRACE}-{PARENT}-00");
    place.set("TRACEPARENT", &traceparent);
    let server = place.serve();
    for (name, record) in records(&place, &server) {
        let named = record.contains(TRACE) || record.contains("trace_id");
        assert!(!named, "{name}: {record}");
    }
    for (path, page) in pages(&server) {
        assert!(!page.contains("/trace/") && !page.contains(TRACE), "{path}");
    }
}

#[test]
fn without_an_endpoint_nothing_is_traced() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    assert_eq!(place.json(&["alloc"]).get("trace_id"), None);
}
