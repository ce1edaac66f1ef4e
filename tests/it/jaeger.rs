//! Jaeger's own pages and query API, from the crate `otlp-embedded`: a user's view
//! of the traces. `collector` tests the spans as they are sent.
//!
//! That crate takes gRPC alone, so rotel stands in front of it. Its API shows neither kind nor status
//! of a span: the tests read these from rotel's file.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::browser::{browser, packages};
use crate::host::skipped;
use crate::rotel::Rotel;
use crate::support::{Place, Server, command_of, occupant, ports, text};
use crate::tools::{Running, eventually};

const TEST: &str = "Jaeger's pages and query API";
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The program with the pages, built once into the build's folder.
fn built() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jaeger");
    // One test at a time: others may be about to build it too.
    let lock = File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if command_of("protoc").arg("--version").output().is_err() {
        return Err("protoc is not installed".to_owned());
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(format!("{ROOT}/tests/jaeger/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder);
    // Cargo sets these for portbook's own build.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR"] {
        cargo.env_remove(variable);
    }
    let output = cargo.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("it cannot be built: {}", text(&output.stderr)));
    }
    Ok(folder.join("debug/jaeger-pages"))
}

/// Jaeger's pages with rotel in front.
struct Jaeger {
    port: u16,
    rotel: Rotel,
    _pages: Running,
}

impl Jaeger {
    /// `None`, reported on stderr, if it cannot be installed. Its pages link to this console of portbook.
    fn start(folder: &Path, console: &str) -> Option<Self> {
        let program = match built() {
            Ok(program) => program,
            Err(why) => {
                skipped(TEST, &why);
                return None;
            }
        };
        let [grpc, port] = ports(2)[..] else {
            panic!("two ports were asked for")
        };
        let config = std::fs::read_to_string(format!("{ROOT}/static/observe/jaeger-ui.json"));
        let config = config.unwrap().replace("http://127.0.0.1:8888", console);
        let file = folder.join("jaeger-ui.json");
        std::fs::write(&file, config).unwrap();
        let mut pages = Command::new(program);
        pages.args([grpc.to_string(), port.to_string()]).arg(file);
        let pages = Running::start(pages);
        for port in [grpc, port] {
            eventually("the pages", || TcpStream::connect(("127.0.0.1", port)).ok());
        }
        let rotel = Rotel::in_front_of(&format!("http://127.0.0.1:{grpc}"), folder)?;
        Some(Self {
            port,
            rotel,
            _pages: pages,
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Member `data` of an answer of the query API. `None` unless the status is 200.
    fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.strip_prefix("HTTP/1.1 200 ")?;
        let (_, body) = body.split_once("\r\n\r\n")?;
        let mut answer: Value = serde_json::from_str(body).unwrap();
        Some(answer["data"].take())
    }

    /// The trace of this id, once it has these spans.
    fn trace(&self, id: &str, wanted: &[&str]) -> Trace {
        eventually(&format!("{wanted:?} in trace {id}"), || {
            let found = self.ask(&format!("/api/traces/{id}"))?;
            let trace = Trace(found[0].clone());
            let all = wanted.iter().all(|name| trace.spans(name).next().is_some());
            all.then_some(trace)
        })
    }

    /// The traces of a service that a search finds, by the name of their first span.
    fn found(&self, service: &str, operation: &str) -> Vec<Trace> {
        let operation = operation.replace(' ', "%20");
        let query = format!("/api/traces?service={service}&operation={operation}&limit=20");
        let found = self.ask(&query).unwrap();
        found
            .as_array()
            .unwrap()
            .iter()
            .cloned()
            .map(Trace)
            .collect()
    }
}

/// A trace as the query API tells it.
struct Trace(Value);

impl Trace {
    fn id(&self) -> &str {
        self.0["traceID"].as_str().unwrap()
    }

    fn all(&self) -> impl Iterator<Item = &Value> {
        self.0["spans"].as_array().unwrap().iter()
    }

    fn spans<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.all().filter(move |span| span["operationName"] == name)
    }

    fn span<'a>(&'a self, name: &'a str) -> &'a Value {
        self.spans(name).next().unwrap()
    }

    /// Whether each of these has the other as its parent.
    fn assert_parents(&self, parents: &[(&str, &str)]) {
        for (child, parent) in parents {
            let parent = &self.span(parent)["spanID"];
            for span in self.spans(child) {
                assert_eq!(reference(span, "CHILD_OF")["spanID"], *parent, "{child}");
            }
        }
    }
}

fn reference<'a>(span: &'a Value, kind: &str) -> &'a Value {
    let references = span["references"].as_array();
    let mut references = references.into_iter().flatten();
    references
        .find(|reference| reference["refType"] == kind)
        .unwrap_or(&Value::Null)
}

fn tag<'a>(tags: &'a Value, key: &str) -> &'a Value {
    let mut tags = tags.as_array().unwrap().iter();
    tags.find(|tag| tag["key"] == key)
        .map_or(&Value::Null, |tag| &tag["value"])
}

/// A service in front of Jaeger's pages, whose console's first port the pages know.
fn begin(place: &mut Place) -> Option<(Jaeger, Server)> {
    let console = format!("http://127.0.0.1:{}", place.console_ports[0]);
    let jaeger = Jaeger::start(place.folder(), &console)?;
    place.set("OTEL_EXPORTER_OTLP_ENDPOINT", &jaeger.rotel.url);
    place.set("OTEL_BSP_SCHEDULE_DELAY", "100");
    let pages = jaeger.url("/trace/{trace_id}?uiFind={span_id}");
    place.set("PORTBOOK_TELEMETRY__TRACE_URL", &pages);
    let server = place.serve();
    assert_eq!(server.console_port(), place.console_ports[0]);
    Some((jaeger, server))
}

const TREE: [(&str, &str); 6] = [
    ("POST /api/v1/leases", "portbook alloc"),
    ("allocate", "POST /api/v1/leases"),
    ("select_interfaces", "allocate"),
    ("choose", "allocate"),
    ("attempt", "choose"),
    ("commit", "allocate"),
];

#[test]
fn jaeger_finds_the_whole_tree_of_an_allocation() {
    let mut place = Place::with_ports(3);
    let Some((jaeger, _server)) = begin(&mut place) else {
        return;
    };
    let _occupants = [occupant(place.ports[0]), occupant(place.ports[1])];
    let granted = place.json(&["alloc", "--name", "web"]);
    let id = granted["trace_id"].as_str().unwrap();
    let names: Vec<&str> = TREE.iter().map(|(child, _)| *child).collect();
    jaeger.trace(id, &[&names[..], &["portbook alloc"]].concat());

    // A search finds it without its id.
    let services = jaeger.ask("/api/services").unwrap();
    assert!(
        services.as_array().unwrap().contains(&"portbook".into()),
        "{services}"
    );
    let found = eventually("the trace in a search", || {
        let found = jaeger.found("portbook", "portbook alloc");
        found.into_iter().find(|trace| trace.id() == id)
    });
    found.assert_parents(&TREE);
    assert!(reference(found.span("portbook alloc"), "CHILD_OF").is_null());
    assert!(jaeger.found("absent", "portbook alloc").is_empty());
    assert_attempts(&found, &place.ports);
    let allocate = &found.span("allocate")["tags"];
    assert_eq!(
        *tag(allocate, "portbook.allocation.id"),
        granted["allocation"]
    );
    assert_eq!(*tag(allocate, "portbook.attempt.count"), 3);
    assert_eq!(*tag(allocate, "portbook.port"), place.ports[2]);
    // Busy ports on the way do not make a granted allocation an error.
    for span in jaeger.rotel.spans(id, &names) {
        assert_eq!(span.status, "STATUS_CODE_UNSET", "{}", span.name);
    }
    let failed = found
        .all()
        .filter(|span| !tag(&span["tags"], "error.type").is_null());
    assert!(
        failed
            .into_iter()
            .all(|span| span["operationName"] == "attempt")
    );
}

/// Two attempts were refused and name their occupants; the third succeeded.
fn assert_attempts(found: &Trace, ports: &[u16]) {
    let mut refused = Vec::new();
    for attempt in found.spans("attempt") {
        let tags = &attempt["tags"];
        let port = tag(tags, "network.local.port").as_u64().unwrap();
        assert_eq!(tag(tags, "network.interface.name"), "any");
        if tag(tags, "error.type") == "EADDRINUSE" {
            let occupant = tag(tags, "portbook.occupant").as_str().unwrap();
            assert!(occupant.starts_with("python3 (pid "), "{occupant}");
            refused.push(port);
        } else {
            assert_eq!(port, u64::from(ports[2]));
        }
    }
    // The API lists spans in no order.
    refused.sort_unstable();
    assert_eq!(
        refused,
        ports[..2]
            .iter()
            .map(|port| u64::from(*port))
            .collect::<Vec<_>>()
    );
}

/// The links to Jaeger's pages on a page of the console: the trace and the span of each.
fn links(server: &Server, path: &str) -> Vec<(String, String)> {
    let page = server.web("GET", path, &[]);
    assert_eq!(page.status, 200, "{path}");
    let links = page.body.split("href=\"").skip(1);
    let links = links.filter_map(|link| link.split('"').next()?.split_once("/trace/"));
    let link = |(_, ids): (&str, &str)| {
        let (trace, span) = ids.split_once("?uiFind=").unwrap();
        (trace.to_owned(), span.to_owned())
    };
    links.map(link).collect()
}

#[test]
fn trace_links_open_their_trace_and_span() {
    let mut place = Place::with_ports(2);
    let Some((jaeger, server)) = begin(&mut place) else {
        return;
    };
    let _occupant = occupant(place.ports[0]);
    let granted = place.json(&["alloc"]);
    let allocation = granted["allocation"].as_str().unwrap();
    let lease = granted["leases"][0]["id"].as_str().unwrap();
    for (page, leads_to) in [
        (format!("/allocations/{allocation}"), "allocate"),
        (format!("/leases/{lease}"), "allocate"),
        (format!("/attempts?allocation={allocation}"), "attempt"),
    ] {
        let found = links(&server, &page);
        assert!(!found.is_empty(), "{page}");
        for (id, span) in found {
            assert_eq!(id, granted["trace_id"], "{page}");
            let trace = jaeger.trace(&id, &["portbook alloc", "allocate", "attempt", "commit"]);
            assert_eq!(trace.id(), id);
            trace.assert_parents(&TREE);
            let named = trace.all().find(|known| known["spanID"] == *span);
            assert_eq!(named.unwrap()["operationName"], leads_to, "{page}");
        }
    }
}

#[test]
fn renewal_and_release_lead_back_to_the_allocation() {
    let mut place = Place::with_ports(2);
    place.set("PORTBOOK_POOLS__DEFAULT__STRATEGY", "learned");
    let Some((jaeger, _server)) = begin(&mut place) else {
        return;
    };
    let granted = place.json(&["alloc", "--ttl", "1h"]);
    let (id, lease) = (&granted["trace_id"], &granted["leases"][0]);
    let lease = lease["id"].as_str().unwrap();
    place.ok(&["renew", lease]);
    place.ok(&["release", lease]);
    let trace = jaeger.trace(id.as_str().unwrap(), &["allocate", "choose"]);
    for (command, name) in [("portbook renew", "renew"), ("portbook release", "release")] {
        let found = eventually(name, || {
            let mut found = jaeger.found("portbook", command);
            found
                .pop()
                .filter(|trace| trace.spans(name).next().is_some())
        });
        let span = found.span(name);
        let link = reference(span, "FOLLOWS_FROM");
        assert_eq!(link["traceID"], *id, "{name}");
        assert_eq!(link["spanID"], trace.span("allocate")["spanID"], "{name}");
        assert_eq!(tag(&span["tags"], "portbook.lease.id"), lease, "{name}");
    }
    // The weighed candidates are the events of the choice.
    let events = trace.span("choose")["logs"].as_array().unwrap();
    let ports = events
        .iter()
        .map(|event| tag(&event["fields"], "portbook.port"));
    let mut ports: Vec<u64> = ports.map(|port| port.as_u64().unwrap()).collect();
    ports.sort_unstable();
    assert_eq!(
        ports,
        place
            .ports
            .iter()
            .map(|port| u64::from(*port))
            .collect::<Vec<_>>()
    );
}

/// A program that sends one span of its own, as a child of what TRACEPARENT names.
const CHILD: &str = r#"
import json, os, sys, time, urllib.request
_, trace, parent, _ = os.environ["TRACEPARENT"].split("-")
now = time.time_ns()
span = {"traceId": trace, "spanId": "00f067aa0ba902b7", "parentSpanId": parent, "kind": 1,
        "name": "work of the child", "startTimeUnixNano": str(now - 1000), "endTimeUnixNano": str(now)}
service = {"key": "service.name", "value": {"stringValue": "child"}}
body = {"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": [{"spans": [span]}]}]}
headers = {"Content-Type": "application/json"}
request = urllib.request.Request(sys.argv[1] + "/v1/traces", json.dumps(body).encode(), headers)
urllib.request.urlopen(request)
print(trace)
"#;

#[test]
fn trace_of_run_contains_its_programs_own_span() {
    let mut place = Place::with_ports(1);
    let Some((jaeger, _server)) = begin(&mut place) else {
        return;
    };
    let url = jaeger.rotel.url.clone();
    let said = place.ok(&["run", "--", "python3", "-c", CHILD, &url]);
    let wanted = ["portbook run", "allocate", "work of the child"];
    let trace = jaeger.trace(said.trim(), &wanted);
    trace.assert_parents(&[
        ("work of the child", "portbook run"),
        ("POST /api/v1/leases", "portbook run"),
        ("allocate", "POST /api/v1/leases"),
    ]);
    let process = trace.span("work of the child")["processID"]
        .as_str()
        .unwrap();
    assert_eq!(trace.0["processes"][process]["serviceName"], "child");
}

#[test]
fn jaeger_pages_show_spans_and_link_to_the_lease() {
    const TEST: &str = "Jaeger's pages in a browser";
    let Some(browser) = browser() else {
        return skipped(TEST, "no Chromium is installed");
    };
    let packages = match packages() {
        Ok(folder) => folder,
        Err(why) => return skipped(TEST, &why),
    };
    let mut place = Place::with_ports(2);
    let Some((jaeger, server)) = begin(&mut place) else {
        return;
    };
    let _occupant = occupant(place.ports[0]);
    let granted = place.json(&["alloc", "--ttl", "1h"]);
    let lease = granted["leases"][0]["id"].as_str().unwrap();
    place.ok(&["renew", lease]);
    let id = granted["trace_id"].as_str().unwrap();
    jaeger.trace(id, &["portbook alloc", "allocate", "attempt", "commit"]);
    let renewal = eventually("the renewal", || {
        jaeger.found("portbook", "portbook renew").pop()
    });
    jaeger.trace(renewal.id(), &["renew"]);
    let mut node = command_of("node");
    node.arg(format!("{ROOT}/tests/browser/jaeger.mjs"))
        .arg(packages)
        .arg(&server.console)
        .arg(lease)
        .arg(jaeger.url(&format!("/trace/{}", renewal.id())))
        .env("CHROMIUM", browser)
        // A browser insists on a home that it can write to.
        .env("HOME", place.folder())
        .env("XDG_CONFIG_HOME", place.folder().join("config"))
        .stdin(Stdio::null());
    // `JAEGER_PICTURE=FILE cargo test jaeger` leaves a picture of the page there.
    if let Some(picture) = std::env::var_os("JAEGER_PICTURE") {
        node.env("JAEGER_PICTURE", picture);
    }
    let Ok(output) = node.output() else {
        return skipped(TEST, "node is not installed");
    };
    let (said, why) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}{why}");
}
