//! Real collectors, and collectors that fail.

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::receiver::{collector_that_rejects_one, collector_with_a_switch};
use crate::rotel::{Rotel, Span, of};
use crate::support::{PORTBOOK, Place, Server, occupant, ports};
use crate::tools::eventually;
use crate::traces::hex;

#[test]
fn real_collector_receives_the_whole_tree_of_an_allocation() {
    let mut place = Place::with_ports(3);
    let Some(rotel) = Rotel::start(place.folder()) else {
        return;
    };
    place.set("PORTBOOK_TELEMETRY__ENDPOINT", &rotel.url);
    let _occupants = [occupant(place.ports[0]), occupant(place.ports[1])];
    let server = place.serve();
    let granted = place.json(&["alloc"]);
    assert_eq!(granted["attempt_count"], 3);
    assert!(server.stop().success());
    let wanted = [
        "portbook alloc",
        "POST /api/v1/leases",
        "allocate",
        "select_interfaces",
        "choose",
        "attempt",
        "commit",
    ];
    let spans = rotel.spans(granted["trace_id"].as_str().unwrap(), &wanted);
    for (child, parent) in [
        ("POST /api/v1/leases", "portbook alloc"),
        ("allocate", "POST /api/v1/leases"),
        ("select_interfaces", "allocate"),
        ("choose", "allocate"),
        ("attempt", "choose"),
        ("commit", "allocate"),
    ] {
        assert_eq!(of(&spans, child).parent, of(&spans, parent).id, "{child}");
    }
    assert_eq!(of(&spans, "portbook alloc").parent, "");
    let refused = spans
        .iter()
        .filter(|span| span.text.contains("error.type: Str(EADDRINUSE)"));
    let refused: Vec<&Span> = refused.collect();
    assert_eq!(refused.len(), 2);
    for (span, port) in refused.iter().zip(&place.ports) {
        assert_eq!(span.name, "attempt");
        assert!(
            span.text
                .contains(&format!("network.local.port: Int({port})"))
        );
        assert!(span.text.contains("portbook.occupant: Str(python3 (pid "));
        assert!(span.text.contains("network.interface.name: Str(any)"));
    }
    assert!(
        spans.iter().all(|span| span.status == "STATUS_CODE_UNSET"),
        "{spans:?}"
    );
    assert!(of(&spans, "commit").text.contains("portbook.queue.wait_ms"));
}

#[test]
fn the_program_that_run_becomes_goes_on_with_its_trace() {
    let mut place = Place::with_ports(3);
    let Some(rotel) = Rotel::start(place.folder()) else {
        return;
    };
    place.set("PORTBOOK_TELEMETRY__ENDPOINT", &rotel.url);
    let _server = place.serve();
    // The program must make spans and heed TRACEPARENT; portbook does both.
    let script = format!("echo $TRACEPARENT; {PORTBOOK} alloc");
    let said = place.ok(&["run", "--", "sh", "-c", &script]);
    let traceparent = said.lines().next().unwrap();
    let fields: Vec<&str> = traceparent.split('-').collect();
    let spans = rotel.spans(fields[1], &["portbook run", "portbook alloc"]);
    let run = of(&spans, "portbook run");
    assert_eq!((&*run.id, &*run.parent), (fields[2], ""));
    assert_eq!(of(&spans, "portbook alloc").parent, run.id);
}

#[cfg(feature = "grpc")]
#[test]
fn a_real_collector_gets_spans_over_grpc() {
    let mut place = Place::with_ports(1);
    let Some(rotel) = Rotel::start(place.folder()) else {
        return;
    };
    place.set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    place.set("OTEL_EXPORTER_OTLP_ENDPOINT", &rotel.grpc_url);
    let server = place.serve();
    let granted = place.json(&["alloc"]);
    assert!(server.stop().success());
    let wanted = ["portbook alloc", "allocate", "attempt", "commit"];
    rotel.spans(granted["trace_id"].as_str().unwrap(), &wanted);
}

/// Waits until the service counts lost spans for this reason.
fn until_lost(server: &Server, reason: &str) {
    let line = format!("portbook_spans_dropped_total{{reason=\"{reason}\"}} ");
    eventually(&line, || {
        let metrics = server.get("/metrics").body;
        let value = metrics.lines().find_map(|known| known.strip_prefix(&*line));
        (value.unwrap().parse::<u64>().unwrap() > 0).then_some(())
    });
}

#[test]
fn a_collector_that_is_down_loses_spans_and_nothing_else() {
    let mut place = Place::with_ports(2);
    let silent = format!("http://127.0.0.1:{}", ports(1)[0]);
    place.set("OTEL_BSP_SCHEDULE_DELAY", "50");
    let server = place.serve_with(&["--otlp-endpoint", &silent]);
    place.json(&["alloc"]);
    until_lost(&server, "export_failed");
    assert!(server.log().contains("could not export spans"));
    assert!(server.stop().success());
}

#[test]
fn spans_that_a_collector_rejects_are_counted_as_lost() {
    let mut place = Place::with_ports(2);
    place.set("OTEL_BSP_SCHEDULE_DELAY", "50");
    let server = place.serve_with(&["--otlp-endpoint", &collector_that_rejects_one()]);
    place.json(&["alloc"]);
    until_lost(&server, "rejected");
    assert!(server.log().contains("one is enough"));
    assert!(server.stop().success());
}

#[test]
fn hanging_collector_fills_the_queue_and_delays_no_request() {
    let mut place = Place::with_ports(2);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    place.set("OTEL_BSP_MAX_QUEUE_SIZE", "8");
    place.set("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4");
    let server = place.serve_with(&["--otlp-endpoint", &url]);
    for _ in 0..4 {
        let granted = place.json(&["alloc"]);
        place.ok(&["release", granted["leases"][0]["id"].as_str().unwrap()]);
    }
    until_lost(&server, "queue_full");
    assert!(server.stop().success());
}

#[test]
fn traces_pause_while_the_collector_refuses_them() {
    let mut place = Place::with_ports(2);
    let (url, switch, spans) = collector_with_a_switch();
    // Otherwise the spans of the start could meet the refusal before the first request.
    switch.store(true, Ordering::Relaxed);
    place.set("OTEL_BSP_SCHEDULE_DELAY", "50");
    let server = place.serve_with(&["--otlp-endpoint", &url]);
    let trace = || {
        let granted: Value = server.allocate(&json!({})).json();
        let id = granted["leases"][0]["id"].as_str().unwrap();
        server.release(id);
        granted["trace_id"].as_str().map(str::to_owned)
    };
    assert!(trace().is_some());
    switch.store(false, Ordering::Relaxed);
    trace();
    until_lost(&server, "export_failed");
    assert_eq!(trace(), None, "a trace id without a trace");
    until_lost(&server, "paused");

    // The next span that is exported finds the collector well again.
    switch.store(true, Ordering::Relaxed);
    let recorded = eventually("a trace is recorded again", trace);
    let arrived = || {
        hex(&spans
            .recv_timeout(Duration::from_secs(20))
            .unwrap()
            .trace_id)
    };
    while arrived() != recorded {}
    // The collector has the spans before the service has its answer.
    eventually("a word in the log", || {
        let log = server.log();
        log.contains("spans are exported again").then_some(())
    });
}
