//! Collectors that others wrote, and collectors that do not work.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::python;
use crate::support::{PORTBOOK, Place, Server, ports, stranger, text};

/// A program of the collectors' Python packages; none where they cannot be installed, which is said
/// aloud.
fn installed(file: &str) -> Option<PathBuf> {
    let Some(folder) = python::environment("collectors", "rotel") else {
        eprintln!("SKIPPED: the collector rotel cannot be installed");
        return None;
    };
    let lib = std::fs::read_dir(folder.join("lib")).unwrap();
    let python = lib.flatten().next().unwrap().path();
    Some(python.join("site-packages").join(file))
}

/// The collector rotel, which writes down every span that it is sent.
struct Rotel {
    child: Child,
    url: String,
    #[cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "its other door"))]
    grpc_url: String,
    log: PathBuf,
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A span as rotel writes it down.
#[derive(Debug, Default)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    status: String,
    text: String,
}

impl Rotel {
    fn start(folder: &Path) -> Option<Self> {
        let agent = installed("rotel/rotel-agent")?;
        let [http, grpc] = ports(2)[..] else {
            panic!("two ports were asked for")
        };
        let log = folder.join("rotel.log");
        let child = Command::new(agent)
            .arg("start")
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--exporter", "blackhole", "--debug-log", "traces"])
            .args(["--debug-log-verbosity", "detailed"])
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{http}");
        let grpc_url = format!("http://127.0.0.1:{grpc}");
        let rotel = Self {
            child,
            url,
            grpc_url,
            log,
        };
        while std::net::TcpStream::connect(("127.0.0.1", http)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(rotel)
    }

    /// The spans of a trace, once there are as many as these names and all have come.
    fn spans(&self, trace: &str, wanted: &[&str]) -> Vec<Span> {
        for _ in 0..200 {
            let log = std::fs::read_to_string(&self.log).unwrap();
            let spans: Vec<Span> = log.split("Span #").skip(1).map(parsed).collect();
            let spans: Vec<Span> = spans
                .into_iter()
                .filter(|span| span.trace == trace)
                .collect();
            let has = |name: &&str| spans.iter().any(|span| span.name == **name);
            if wanted.iter().all(has) {
                return spans;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!(
            "not all of {wanted:?}: {}",
            std::fs::read_to_string(&self.log).unwrap()
        );
    }
}

fn parsed(text: &str) -> Span {
    let mut span = Span {
        text: text.to_owned(),
        ..Span::default()
    };
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim().to_owned();
        match key.trim() {
            "Trace ID" if span.trace.is_empty() => span.trace = value,
            "Parent ID" => span.parent = value,
            "ID" if span.id.is_empty() => span.id = value,
            "Name" => span.name = value,
            "Status code" => span.status = value,
            _ => {}
        }
    }
    span
}

fn of<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap()
}

#[test]
fn a_real_collector_gets_the_whole_tree_of_an_allocation_with_two_conflicts() {
    let mut place = Place::with_ports(3);
    let Some(rotel) = Rotel::start(place.folder()) else {
        return;
    };
    place.set("PORTBOOK_TELEMETRY__ENDPOINT", &rotel.url);
    let _strangers = [stranger(place.ports[0]), stranger(place.ports[1])];
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
    // The program makes spans of its own and heeds TRACEPARENT: portbook itself does both.
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
fn lost(server: &Server, reason: &str) -> bool {
    let line = format!("portbook_spans_dropped_total{{reason=\"{reason}\"}} ");
    (0..400).any(|_| {
        std::thread::sleep(Duration::from_millis(25));
        let metrics = server.api("GET", "/metrics", None).body;
        let value = metrics.lines().find_map(|known| known.strip_prefix(&*line));
        value.unwrap().parse::<u64>().unwrap() > 0
    })
}

#[test]
fn a_collector_that_is_down_loses_spans_and_nothing_else() {
    let mut place = Place::with_ports(2);
    let nobody = format!("http://127.0.0.1:{}", ports(1)[0]);
    place.set("OTEL_BSP_SCHEDULE_DELAY", "50");
    let server = place.serve_with(&["--otlp-endpoint", &nobody]);
    place.json(&["alloc"]);
    assert!(lost(&server, "export_failed"));
    assert!(server.log().contains("spans are not exported"));
    assert!(server.stop().success());
}

#[test]
fn a_collector_that_hangs_fills_the_queue_and_nobody_waits() {
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
    assert!(lost(&server, "queue_full"));
    assert!(server.stop().success());
}

#[test]
fn a_transport_that_is_not_there_is_refused_by_the_service_and_no_matter_to_commands() {
    let mut place = Place::with_ports(1);
    place.set("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    place.set("PORTBOOK_TELEMETRY__ENDPOINT", "http://127.0.0.1:1");
    let refused = place.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("use http/protobuf or grpc"));
    let granted = place.run(&["alloc"]);
    assert!(granted.status.success() && text(&granted.stderr).contains("no trace: "));
}
