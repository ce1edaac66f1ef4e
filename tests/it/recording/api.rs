//! The API over its socket and over the console's port: every endpoint, its errors, metrics, events
//! and exports.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::description::without_words;
use super::mask::Mask;
use super::world::{Client, Request, World};
use crate::support::Server;

/// A port that no request names before the last one, which ends the stream of events.
const LAST: u16 = World::POOL + 9;

/// Headers that say nothing of what a program relies on, or that change with a page's scripts.
const HEADERS_LEFT_OUT: [&str; 3] = ["date", "content-length", "content-security-policy"];

struct Recorder {
    world: World,
    server: Server,
    client: Client,
    stream: BufReader<UnixStream>,
    steps: Vec<Value>,
    events: Vec<Value>,
}

impl Recorder {
    /// Sends a request, records the answer, and gives it unmasked.
    fn step(&mut self, line: &str, body: &Value) -> Value {
        self.send(line, &Request::new(line, body))
    }

    fn get(&mut self, path: &str) -> Value {
        self.step(&format!("GET {path}"), &Value::Null)
    }

    fn send(&mut self, name: &str, request: &Request) -> Value {
        let answer = self.client.send(request);
        let recorded = recorded(&mut self.world.mask, name, request, &answer);
        self.steps.push(recorded);
        let body = answer["body"].as_str().unwrap();
        serde_json::from_str(body).unwrap_or_default()
    }

    /// Waits for an event of this kind.
    fn until(&mut self, kind: &str) {
        while self.next_event()["kind"] != kind {}
    }

    /// Waits for one event, records it, and gives it unmasked.
    fn next_event(&mut self) -> Value {
        let mut kind = String::new();
        loop {
            let mut line = String::new();
            self.stream
                .read_line(&mut line)
                .expect("the stream goes on");
            if let Some(word) = line.trim().strip_prefix("event: ") {
                word.clone_into(&mut kind);
            } else if let Some(data) = line.trim().strip_prefix("data: ") {
                let data: Value = serde_json::from_str(data).unwrap();
                let masked = self.world.mask.value(data.clone());
                self.events.push(json!({ "event": kind, "data": masked }));
                return data;
            }
        }
    }
}

/// One step: the request, then the answer with its masks.
fn recorded(mask: &mut Mask, name: &str, request: &Request, answer: &Value) -> Value {
    let body = answer["body"].as_str().unwrap();
    let headers = answer["headers"].as_object().unwrap();
    let kind = headers
        .get("content-type")
        .and_then(Value::as_str)
        .unwrap_or("");
    let headers: Map<String, Value> = headers
        .iter()
        .filter(|(name, _)| !HEADERS_LEFT_OUT.contains(&&***name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let body = match kind.split(';').next() {
        _ if request.path.ends_with("openapi.json") => "<in openapi.json>".into(),
        Some("application/json" | "application/problem+json") => {
            let body = serde_json::from_str(body).unwrap();
            mask.value(body)
        }
        Some("application/jsonl") => body
            .lines()
            .map(|line| mask.value(serde_json::from_str(line).unwrap()))
            .collect(),
        Some("text/csv") => mask.csv(body),
        Some("text/html") => "<page>".into(),
        Some("text/css") => "<sheet>".into(),
        Some("text/plain") if request.path == "/metrics" => metrics(&mask.text(body)),
        _ => mask.text(body).into(),
    };
    let mut step = json!({ "request": mask.text(name), "status": answer["status"] });
    if let Some(sent) = &request.body {
        step["sent"] = match serde_json::from_str(sent) {
            Ok(document) => mask.value(document),
            Err(_) => mask.text(sent).into(),
        };
    }
    step["headers"] = mask.value(headers.into());
    step["body"] = body;
    step
}

/// The families of a metrics page with their types, and their samples without values.
fn metrics(page: &str) -> Value {
    let lines = page.lines().filter_map(|line| {
        if line.starts_with('#') {
            return line.starts_with("# TYPE").then(|| line.to_owned());
        }
        let (sample, _) = line.rsplit_once(' ')?;
        Some(sample.to_owned())
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines.into()
}

/// Opens the stream of events. What happens from then on waits in its socket.
fn open_events(server: &Server) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    write!(
        stream,
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    .unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).unwrap();
    }
    stream
}

/// The description that a service gives of its API.
pub fn description() -> Option<Value> {
    let world = World::new("recording of the API's description")?;
    let server = world.serve();
    let document = server.api("GET", "/api/v1/openapi.json", None).json();
    Some(without_words(document))
}

/// Every answer of the API.
pub fn record() -> Option<Value> {
    let world = World::new("recording of the API")?;
    let server = world.serve();
    let client = world.client();
    let stream = open_events(&server);
    let mut recorder = Recorder {
        world,
        server,
        client,
        stream,
        steps: Vec::new(),
        events: Vec::new(),
    };
    let token = recorder.server.token();
    recorder.world.mask.also(&token, "<token>");
    health(&mut recorder);
    granting(&mut recorder);
    refusals(&mut recorder);
    leases(&mut recorder);
    listening(&mut recorder);
    ports(&mut recorder);
    exclusions(&mut recorder);
    past(&mut recorder);
    host(&mut recorder);
    console(&mut recorder, &token);
    recorder.step(
        &format!("PUT /api/v1/ports/tcp/{LAST}/exclusion"),
        &Value::Null,
    );
    recorder.get("/metrics");
    while recorder.next_event()["port"] != LAST {}
    let headers = common_headers(&mut recorder.steps);
    Some(json!({ "headers": headers, "answers": recorder.steps, "events": recorder.events }))
}

/// Takes the headers that every answer has out of the steps.
fn common_headers(steps: &mut [Value]) -> Value {
    let mut common = steps[0]["headers"].as_object().unwrap().clone();
    for step in &*steps {
        common.retain(|name, value| step["headers"].get(name) == Some(value));
    }
    for step in steps {
        let headers = step["headers"].as_object_mut().unwrap();
        headers.retain(|name, _| !common.contains_key(name));
    }
    common.into()
}

fn health(recorder: &mut Recorder) {
    recorder.get("/livez");
    recorder.get("/readyz");
    recorder.step("HEAD /livez", &Value::Null);
    recorder.get("/api/v1/status");
    recorder.get("/api/v1/openapi.json");
}

const LEASES: &str = "POST /api/v1/leases";

fn granting(recorder: &mut Recorder) {
    recorder.step(LEASES, &json!({}));
    recorder.step(LEASES, &json!({"name": "web"}));
    recorder.step(LEASES, &json!({"name": "web"}));
    let labels = json!({"team": "shop", "tier": "front"});
    recorder.step(
        LEASES,
        &json!({"names": ["a", "b"], "labels": labels, "ttl": "1h"}),
    );
    recorder.step(
        LEASES,
        &json!({"dry_run": true, "strategy": "learned", "ranges": "22100"}),
    );
    recorder.step(
        LEASES,
        &json!({"dry_run": true, "strategy": "random", "ranges": "22101"}),
    );
    recorder.step(
        LEASES,
        &json!({"pool": "small", "protocol": "udp", "handover": "release"}),
    );
    recorder.step(
        LEASES,
        &json!({"ranges": "22000-22009", "block": 3, "protocol": "both"}),
    );
    recorder.step(
        LEASES,
        &json!({"port": 23000, "interfaces": ["127.0.0.1"], "claim_within": "90s"}),
    );
    recorder.step(
        LEASES,
        &json!({"prefer": 23000, "prefer_span": 5, "name": "near", "instance": "2"}),
    );
    recorder.step(
        LEASES,
        &json!({"name": "kept", "reserve": true, "pool": "small"}),
    );
    let folder = recorder.world.place.folder().to_owned();
    recorder.step(
        LEASES,
        &json!({"name": "here", "scope": "dir", "directory": folder, "port": 23100}),
    );
    for _ in 0..2 {
        let body = json!({"port": 23200});
        let request = Request::new(LEASES, &body).header("Idempotency-Key", "one");
        recorder.send("POST /api/v1/leases with a key", &request);
    }
    let request = Request::new(LEASES, &json!({"port": 23201})).header("Idempotency-Key", "one");
    recorder.send(
        "POST /api/v1/leases with a key of another request",
        &request,
    );
}

fn refusals(recorder: &mut Recorder) {
    recorder.client.listen(24000);
    for body in [
        json!({"port": 24000}),
        json!({"port": 23000}),
        json!({"port": 80000}),
        json!({"port": 0}),
        json!({"pool": "none"}),
        json!({"pool": "small", "count": 3}),
        json!({"nosuch": 1}),
        json!([]),
        json!({"name": "web", "names": ["web"]}),
        json!({"name": "web", "port": 23300}),
        json!({"interfaces": ["10.9.8.7"]}),
        json!({"interfaces": ["nosuch0"]}),
        json!({"ranges": "9000-8000"}),
        json!({"ttl": "soon"}),
        json!({"owner_pid": 4_000_000_000_u32}),
        json!({"ranges": "23000", "wait": "1ms"}),
    ] {
        recorder.step(LEASES, &body);
    }
    let mut broken = Request::new(LEASES, &json!({}));
    broken.body = Some("{".to_owned());
    recorder.send("POST /api/v1/leases with broken JSON", &broken);
    let plain = Request::new(LEASES, &json!({})).header("Content-Type", "text/plain");
    recorder.send("POST /api/v1/leases as text", &plain);
    let mut large = Request::new(LEASES, &json!({}));
    large.body = Some(" ".repeat(70_000));
    let answer = recorder.client.send(&large);
    large.body = None;
    let name = "POST /api/v1/leases of 70,000 bytes";
    let step = recorded(&mut recorder.world.mask, name, &large, &answer);
    recorder.steps.push(step);
    recorder.step("PATCH /api/v1/leases", &Value::Null);
    recorder.get("/api/v1/nothing");
}

fn leases(recorder: &mut Recorder) {
    let list = recorder.get("/api/v1/leases");
    let web = list["leases"].as_array().unwrap();
    let web = web.iter().find(|lease| lease["name"] == "web").unwrap();
    let (id, allocation) = (
        web["id"].as_str().unwrap(),
        web["allocation"].as_str().unwrap(),
    );
    recorder.get(&format!("/api/v1/leases/{id}"));
    recorder.get(&format!("/api/v1/allocations/{allocation}"));
    recorder.step(
        &format!("POST /api/v1/leases/{id}/renew"),
        &json!({"ttl": "2h"}),
    );
    recorder.step(&format!("POST /api/v1/leases/{id}/renew"), &Value::Null);
    recorder.step(
        &format!("PUT /api/v1/leases/{id}/note"),
        &json!({"note": "for the demo on Friday"}),
    );
    recorder.step(&format!("DELETE /api/v1/leases/{id}"), &Value::Null);
    recorder.step(&format!("DELETE /api/v1/leases/{id}"), &Value::Null);
    recorder.get(&format!("/api/v1/leases/{id}"));
    recorder.step(&format!("POST /api/v1/leases/{id}/renew"), &Value::Null);
    for query in [
        "state=ended",
        "state=handed&limit=2",
        "name=kept",
        "label=team%3Dshop&pool=default",
        "after=1",
        "state=odd",
        "limit=0",
        "nosuch=1",
    ] {
        recorder.get(&format!("/api/v1/leases?{query}"));
    }
    let none = "01900000-0000-7000-8000-000000000000";
    recorder.get(&format!("/api/v1/leases/{none}"));
    recorder.get("/api/v1/leases/7");
    recorder.get(&format!("/api/v1/allocations/{none}"));
    recorder.step(&format!("DELETE /api/v1/leases/{none}"), &Value::Null);
}

/// A listener that claims its lease, and another program on a leased port.
fn listening(recorder: &mut Recorder) {
    let granted = recorder.step(LEASES, &json!({"name": "claimed", "port": 25000}));
    let claimed = granted["leases"][0]["id"].as_str().unwrap().to_owned();
    recorder.client.listen(25000);
    recorder.until("claimed");
    recorder.get(&format!("/api/v1/leases/{claimed}"));
    let pid = recorder.client.pid();
    let granted = recorder.step(
        LEASES,
        &json!({"name": "taken", "port": 25001, "owner_pid": pid}),
    );
    let taken = granted["leases"][0]["id"].as_str().unwrap().to_owned();
    let mut outsider = recorder.world.client();
    outsider.listen(25001);
    recorder.until("late_conflict");
    recorder.get(&format!("/api/v1/leases/{taken}"));
    recorder.get("/api/v1/ports/tcp/25001");
    drop(outsider);
    recorder.until("healed");
}

fn ports(recorder: &mut Recorder) {
    for port in [
        "tcp/20000",
        "tcp/24000",
        "tcp/25000",
        "udp/21000",
        "23000",
        "tcp/65535",
        "tcp/70000",
        "sctp/1",
    ] {
        recorder.get(&format!("/api/v1/ports/{port}"));
    }
    recorder.get("/api/v1/listeners");
    recorder.get("/api/v1/listeners?ports=24000-25000");
}

fn exclusions(recorder: &mut Recorder) {
    let one = "/api/v1/ports/tcp/26000/exclusion";
    recorder.step(&format!("PUT {one}"), &json!({"reason": "a test bench"}));
    recorder.step(LEASES, &json!({"port": 26000}));
    recorder.step(
        "PUT /api/v1/exclusions",
        &json!({"ports": "26001-26003", "protocol": "both", "reason": "more"}),
    );
    recorder.get("/api/v1/exclusions");
    recorder.step(&format!("DELETE {one}"), &Value::Null);
    recorder.step(&format!("DELETE {one}"), &Value::Null);
    recorder.step(
        "DELETE /api/v1/exclusions?ports=26001-26003&protocol=both",
        &Value::Null,
    );
    recorder.step("PUT /api/v1/exclusions", &json!({"ports": "70000"}));
    recorder.get("/api/v1/exclusions");
}

/// Answers of a host that is in no fleet.
fn of_no_fleet(recorder: &mut Recorder) {
    for path in [
        "status",
        "hosts",
        "names?ports=3000-3010&live=true",
        "claims?ports=3000-3010",
        "names/web",
        "names/web?unlike=00000000",
        "names/a%20b",
        "discovery/prometheus",
    ] {
        recorder.get(&format!("/api/v1/fleet/{path}"));
    }
    recorder.step("POST /api/v1/fleet/leave", &Value::Null);
}

fn past(recorder: &mut Recorder) {
    for query in [
        "",
        "?limit=2",
        "?port=24000",
        "?outcome=in_use&pool=default",
        "?limit=0",
        "?outcome=odd",
    ] {
        recorder.get(&format!("/api/v1/attempts{query}"));
    }
    for kind in [
        "attempts",
        "days",
        "snapshots",
        "sightings",
        "conflicts",
        "endings",
    ] {
        recorder.get(&format!("/api/v1/history/{kind}?format=csv"));
        recorder.get(&format!("/api/v1/history/{kind}?format=jsonl"));
    }
    recorder.get("/api/v1/history/days");
    recorder.get("/api/v1/history/attempts?format=xml");
    recorder.get("/api/v1/history/odd");
    recorder.get("/api/v1/stats");
    recorder.get("/api/v1/stats?since=soon");
    recorder.step(
        "POST /api/v1/history/prune",
        &json!({"dry_run": true, "keep": 3}),
    );
    recorder.step("POST /api/v1/history/prune", &json!({"older_than": "30d"}));
}

fn host(recorder: &mut Recorder) {
    recorder.step("POST /api/v1/snapshots", &Value::Null);
    recorder.step("POST /api/v1/logins", &Value::Null);
    recorder.get("/api/v1/interfaces");
    of_no_fleet(recorder);
    recorder.get("/api/v1/pools");
    recorder.get("/api/v1/config");
    recorder.get("/api/v1/status");
}

/// The console's guard, and a page at each of its addresses.
fn console(recorder: &mut Recorder, token: &str) {
    let ask = |recorder: &mut Recorder, name: &str, line: &str, header: Option<(&str, &str)>| {
        let request = Request::new(line, &Value::Null).at_console(World::CONSOLE);
        let request = match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        recorder.send(&format!("{line} {name}"), &request);
    };
    let bearer = format!("Bearer {token}");
    let dry = |header: Option<(&str, &str)>| {
        let request = Request::new(LEASES, &json!({"dry_run": true, "port": 27000}));
        let request = request.at_console(World::CONSOLE);
        match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        }
    };
    recorder.send(
        "POST /api/v1/leases on the console without a token",
        &dry(None),
    );
    let wrong = dry(Some(("Authorization", "Bearer wrong")));
    recorder.send(
        "POST /api/v1/leases on the console with a wrong token",
        &wrong,
    );
    let right = dry(Some(("Authorization", &bearer)));
    recorder.send("POST /api/v1/leases on the console with the token", &right);
    let foreign = dry(Some(("Authorization", &bearer))).header("Origin", "http://example.com");
    recorder.send(
        "POST /api/v1/leases on the console from another site",
        &foreign,
    );
    ask(
        recorder,
        "by another name",
        "GET /livez",
        Some(("Host", "example.com")),
    );
    for path in [
        "/",
        "/map",
        "/ports/tcp/20000",
        "/interfaces",
        "/fleet",
        "/search?q=20000",
        "/leases",
        "/leases/7",
        "/status",
        "/config",
        "/login",
        "/attempts",
        "/conflicts",
        "/allocations/7",
        "/try",
        "/api",
        "/errors/port_in_use",
        "/errors/odd",
        "/static/portbook.css",
        "/static/nosuch",
        "/nosuch",
    ] {
        ask(recorder, "on the console", &format!("GET {path}"), None);
    }
    for path in [
        "/leases/release",
        "/logout",
        "/try",
        "/ports/tcp/20000/exclude",
    ] {
        ask(recorder, "on the console", &format!("POST {path}"), None);
    }
}
