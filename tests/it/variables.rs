//! The standard OpenTelemetry variables, each against a receiver. Wrong values are reported and stop
//! no program.

use std::net::TcpListener;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use crate::receiver::{Post, receiver};
use crate::support::{Place, text};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A place with these variables.
fn place(variables: &[(&str, &str)]) -> Place {
    let mut place = Place::with_ports(2);
    for (name, value) in variables {
        place.set(name, value);
    }
    place
}

/// Result of one allocation, with all that the service logged and sent until it was stopped.
struct Run {
    granted: serde_json::Value,
    log: String,
    posts: Vec<Post>,
}

impl Run {
    fn names(&self) -> Vec<String> {
        let spans = self.posts.iter().flat_map(Post::spans);
        spans.map(|span| span.name).collect()
    }

    /// An attribute of the resource of all spans.
    fn attribute(&self, key: &str) -> Option<String> {
        let resource = self.posts.first()?.resources().remove(0).resource?;
        let found = resource.attributes.into_iter().find(|pair| pair.key == key);
        match found?.value?.value? {
            Value::StringValue(text) => Some(text),
            other => panic!("{other:?}"),
        }
    }
}

/// Makes one allocation; service and command have the endpoint and these variables.
fn run(variables: &[(&str, &str)]) -> Run {
    let (url, posts) = receiver();
    let mut place = place(variables);
    place.set("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    let server = place.serve();
    let granted = place.json(&["alloc"]);
    assert!(server.stop().success());
    let log = std::fs::read_to_string(place.data_dir().with_extension("log")).unwrap();
    let posts = posts.try_iter().collect();
    Run {
        granted,
        log,
        posts,
    }
}

#[test]
fn traces_endpoint_is_used_verbatim_and_wins() {
    let (url, posts) = receiver();
    let (base, traces) = ("http://127.0.0.1:1", format!("{url}/mine"));
    let place = place(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", base),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces),
    ]);
    let server = place.serve();
    place.json(&["alloc"]);
    assert!(server.stop().success());
    let post = posts.try_iter().next().unwrap();
    assert!(
        post.head.starts_with("post /mine http/1.1"),
        "{}",
        post.head
    );
}

#[test]
fn headers_go_along_and_are_never_logged() {
    let run = run(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2%21,x-team=a"),
        ("PORTBOOK_TELEMETRY__LOG", "debug"),
    ]);
    let head = &run.posts[0].head;
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(
        head.contains("x-key: hunter2!") && head.contains("x-team: a"),
        "{head}"
    );
    assert!(!run.log.contains("hunter2"), "{}", run.log);
}

#[test]
fn spans_are_compressed_if_asked_for() {
    let run = run(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
    let post = &run.posts[0];
    assert!(
        post.head.contains("content-encoding: gzip"),
        "{}",
        post.head
    );
    assert_eq!(post.body[..2], [0x1f, 0x8b]);
}

#[test]
fn silent_collector_is_abandoned_after_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for limit in ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_BSP_EXPORT_TIMEOUT"] {
        let place = place(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            (limit, "100"),
        ]);
        let server = place.serve();
        // The service alone: a command has a limit of its own for its last spans.
        server.allocate(&serde_json::json!({}));
        let told = || server.log().contains("could not export spans");
        // Without the variable it would be ten seconds.
        let in_time = (0..300).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            told()
        });
        assert!(in_time, "{limit}: {}", server.log());
    }
}

#[test]
fn batches_are_as_large_and_as_frequent_as_asked_for() {
    let (url, posts) = receiver();
    let place = place(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ]);
    let _server = place.serve();
    // The first come while the service runs, long before the usual five seconds.
    let first = posts.recv_timeout(Duration::from_secs(4)).unwrap();
    let rest = posts.try_iter();
    assert!(
        std::iter::once(first)
            .chain(rest)
            .all(|post| post.spans().len() <= 2)
    );
}

#[test]
fn samplers_decide_and_what_they_leave_out_has_no_id() {
    for sampler in [
        &[("OTEL_TRACES_SAMPLER", "always_off")][..],
        &[
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0"),
        ],
    ] {
        let run = run(sampler);
        assert_eq!(run.granted.get("trace_id"), None, "{sampler:?}");
        assert!(run.posts.is_empty(), "{sampler:?}");
    }
    let run = run(&[
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.0"),
    ]);
    assert_eq!(run.granted["trace_id"].as_str().unwrap().len(), 32);
}

#[test]
fn switches_turn_it_off() {
    for switch in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ] {
        let run = run(&[switch]);
        assert_eq!(run.granted.get("trace_id"), None, "{switch:?}");
        assert!(run.posts.is_empty(), "{switch:?}");
    }
    let run = run(&[
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_SDK_DISABLED", "false"),
    ]);
    assert!(run.names().contains(&"allocate".to_owned()));
}

#[test]
fn callers_trace_continues_unless_propagators_exclude_it() {
    let id = |propagators: &str| {
        let run = run(&[("OTEL_PROPAGATORS", propagators), ("TRACEPARENT", CALLER)]);
        run.granted["trace_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(id("baggage,tracecontext"), TRACE);
    assert_ne!(id("none"), TRACE);
}

#[test]
fn the_resource_is_what_the_environment_says() {
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=ports,team=a%2Cb");
    let whole = run(&[attributes]);
    assert_eq!(whole.attribute("service.name").unwrap(), "ports");
    assert_eq!(whole.attribute("team").unwrap(), "a,b");
    let named = run(&[attributes, ("OTEL_SERVICE_NAME", "books")]);
    assert_eq!(named.attribute("service.name").unwrap(), "books");
}

#[test]
fn the_exporter_says_as_much_as_asked_for() {
    let told = |level| {
        run(&[("OTEL_LOG_LEVEL", level)])
            .log
            .contains("opentelemetry")
    };
    assert!(told("debug") && !told("error"));
}

#[test]
fn wrong_variables_are_named_and_stop_no_program() {
    let wrong = [
        ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "7"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=%zz"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_LOG_LEVEL", "loud"),
        ("OTEL_SDK_DISABLED", "yes"),
    ];
    let run = run(&wrong);
    for (name, _) in wrong {
        let line = run.log.lines().find(|line| line.contains(name));
        assert!(
            line.is_some_and(|line| line.contains("WARN")),
            "{name}: {}",
            run.log
        );
    }
    assert!(!run.log.contains("hunter2"), "{}", run.log);
    assert!(run.names().contains(&"allocate".to_owned()), "{}", run.log);
}

#[test]
fn unreachable_endpoint_disables_traces() {
    let place = place(&[(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "https://collector.example:4318",
    )]);
    let server = place.serve();
    let log = server.log();
    assert!(
        log.contains("WARN") && log.contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "{log}"
    );
    let granted = place.run(&["alloc"]);
    assert!(granted.status.success());
    assert!(text(&granted.stderr).contains("no trace: OTEL_EXPORTER_OTLP_ENDPOINT"));
}

#[cfg(not(feature = "grpc"))]
#[test]
fn missing_transport_is_reported_and_disables_traces() {
    let run = run(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    assert!(run.log.contains("--features grpc"), "{}", run.log);
    assert!(run.posts.is_empty());
}
