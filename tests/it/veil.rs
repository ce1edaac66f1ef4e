//! Two users on one host: whatever one asks, the processes of another have no name. Root, who asks
//! the same, is told.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::events::first_id;
use crate::host::skipped;
use crate::support::{Place, Server, Stranger, text};
use crate::tools::eventually;

/// Whose lease it is, who is in the way and comes in, and who sees everything.
const USER: u32 = 65534;
const INTRUDER: u32 = 65533;
const ROOT: u32 = 0;

/// The name of the intruder's process, in no other text of portbook's.
const NAME: &str = "hushd";

/// Listens on a port as another user, under a name of its own.
const INTRUDE: &str = r#"
import os, socket, sys
with open("/proc/self/comm", "w") as comm:
    comm.write(sys.argv[3])
os.setuid(int(sys.argv[2]))
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listens", flush=True)
sys.stdin.read()
"#;

/// Says to a Unix socket what its argument says, and prints what comes until it ends, or until a word
/// and the end of its paragraph.
const ASK: &str = r#"
import socket, sys
path, said, until = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(20)
    s.connect(path)
    s.sendall(said.encode())
    got = b""
    while True:
        more = s.recv(65536)
        got += more
        if not more or (until and b"\n\n" in got.partition(until.encode())[2]):
            break
sys.stdout.buffer.write(got)
"#;

fn intruder(port: u16) -> Stranger {
    let mut child = Command::new("python3")
        .args(["-c", INTRUDE, &port.to_string(), &INTRUDER.to_string()])
        .arg(NAME)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "listens\n");
    Stranger(child)
}

/// A program as this user, with nothing of the tests' settings.
pub fn as_user(uid: u32, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--reuid={uid}"), "--clear-groups", program])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir("/");
    command
}

/// A whole request of a user's, and what came back.
fn say(server: &Server, uid: u32, request: &str, until: &str) -> String {
    let mut command = as_user(uid, "python3");
    command.args(["-c", ASK]).arg(server.socket());
    let output = command.args([request, until]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

pub fn get(server: &Server, uid: u32, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    say(server, uid, &request, "")
}

pub fn post(server: &Server, uid: u32, body: &Value) -> String {
    let (body, head) = (body.to_string(), "POST /api/v1/leases HTTP/1.1");
    let length = body.len();
    let request = format!(
        "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    say(server, uid, &request, "")
}

/// Everything that was told since this event's run began, up to the late conflict.
fn events(server: &Server, uid: u32, run: &str) -> String {
    let request =
        format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {run}-0\r\n\r\n");
    say(server, uid, &request, "event: late_conflict")
}

/// A service of root's that every user may ask, whose console had to move for the intruder.
pub fn serve(place: &mut Place) -> Server {
    let first = place.console_ports[0].to_string();
    place.set("PORTBOOK_POOLS__CONSOLE__PREFER", &first);
    let server = place.serve();
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(place.folder(), 0o711);
    open(&place.data_dir(), 0o711);
    open(&server.socket(), 0o666);
    server
}

/// Whether a text names the intruder's processes.
fn names(told: &str, intruders: &[Stranger]) -> bool {
    let by_pid = |intruder: &Stranger| {
        let pid = intruder.0.id();
        [format!("pid {pid}"), format!("\"pid\":{pid}")]
            .iter()
            .any(|words| told.contains(words.as_str()))
    };
    told.contains(NAME) || intruders.iter().any(by_pid)
}

/// Where the intruder can be read about, by who may.
fn named_to_root(lost: u16, busy: u16, allocation: &str) -> Vec<String> {
    vec![
        "/".to_owned(),
        "/leases".to_owned(),
        "/conflicts".to_owned(),
        "/attempts".to_owned(),
        format!("/allocations/{allocation}"),
        format!("/ports/tcp/{lost}"),
        format!("/ports/tcp/{busy}"),
        "/api/v1/attempts".to_owned(),
        format!("/api/v1/allocations/{allocation}"),
        format!("/api/v1/ports/tcp/{lost}"),
        format!("/api/v1/ports/{busy}"),
        "/api/v1/listeners".to_owned(),
        "/api/v1/history/sightings?format=jsonl".to_owned(),
        "/api/v1/stats".to_owned(),
        "/api/v1/history/attempts".to_owned(),
        "/api/v1/history/conflicts?format=jsonl".to_owned(),
    ]
}

/// Where nobody reads about it, root included.
fn named_to_nobody(lost: u16, lease: &str) -> Vec<String> {
    vec![
        "/map".to_owned(),
        "/status".to_owned(),
        "/interfaces".to_owned(),
        format!("/leases/{lease}"),
        format!("/try?port={lost}"),
        format!("/search?q={lost}"),
        "/api/v1/leases".to_owned(),
        format!("/api/v1/leases/{lease}"),
        "/readyz?verbose".to_owned(),
        "/metrics".to_owned(),
    ]
}

/// What the command line tells the user; empty where it cannot be run as another one.
fn said_by_commands(server: &Server, lost: u16, allocation: &str) -> Vec<String> {
    let port = lost.to_string();
    let commands: [&[&str]; 8] = [
        &["list"],
        &["who", &port],
        &["who"],
        &["wait", "--free", &port, "--timeout", "100ms"],
        &["explain", allocation],
        &["stats"],
        &["status"],
        &["alloc", "--name", "web", "--strict"],
    ];
    let mut said = Vec::new();
    for arguments in commands {
        let mut command = as_user(USER, crate::support::PORTBOOK);
        command.env("PORTBOOK_SOCKET", server.socket());
        command.env("PORTBOOK_DATA_DIR", "/nonexistent");
        let output = command.args(arguments).output().unwrap();
        let told = text(&output.stdout) + &text(&output.stderr);
        if told.contains("Permission denied") && told.contains("setpriv") {
            skipped("commands of another user", told.trim());
            return Vec::new();
        }
        said.push(format!("{arguments:?}: {told}"));
    }
    said
}

#[test]
fn the_processes_of_another_user_have_no_name() {
    if !rustix::process::geteuid().is_root() {
        return skipped("what others may see", "it takes root to be two users");
    }
    let mut place = Place::with_ports(30);
    let (busy, lost) = (place.ports[0], place.ports[1]);
    let mut intruders = vec![intruder(place.console_ports[0]), intruder(busy)];
    let server = serve(&mut place);
    let answer = post(&server, USER, &json!({ "name": "web" }));
    assert!(!names(&answer, &intruders), "{answer}");
    let granted: Value = serde_json::from_str(answer.rsplit("\r\n\r\n").next().unwrap()).unwrap();
    let lease = granted["leases"][0]["id"].as_str().unwrap();
    let allocation = granted["allocation"].as_str().unwrap();
    assert_eq!(granted["leases"][0]["port"], lost, "{granted}");
    intruders.push(intruder(lost));
    eventually("a late conflict", || {
        get(&server, ROOT, &format!("/api/v1/leases/{lease}"))
            .contains("\"lost\"")
            .then_some(())
    });

    let id = first_id(&server);
    let run = id.split('-').next().unwrap();
    let told = events(&server, ROOT, run);
    assert!(names(&told, &intruders), "{told}");
    let told = events(&server, USER, run);
    // That somebody came, on which port, and a process of which user: as all lists tell.
    assert!(told.contains(&format!("uid {INTRUDER}")), "{told}");
    assert!(!names(&told, &intruders), "{told}");

    let snapshot = server.api("POST", "/api/v1/snapshots", Some(&json!({})));
    assert_eq!(snapshot.status, 201, "{snapshot:?}");
    for path in named_to_root(lost, busy, allocation) {
        let told = get(&server, ROOT, &path);
        assert!(names(&told, &intruders), "root is not told: {path}: {told}");
        let told = get(&server, USER, &path);
        assert!(told.starts_with("HTTP/1.1 200 "), "{path}: {told}");
        assert!(!names(&told, &intruders), "{path}: {told}");
        // Nor is who comes to the console without a login.
        let told = server.web("GET", &path, &[]).body;
        assert!(!names(&told, &intruders), "console: {path}: {told}");
    }
    for path in named_to_nobody(lost, lease) {
        let told = get(&server, USER, &path);
        assert!(!names(&told, &intruders), "{path}: {told}");
    }
    for wanted in [
        json!({ "name": "web", "strict": true }),
        json!({ "port": busy }),
    ] {
        let refused = post(&server, USER, &wanted);
        assert!(refused.starts_with("HTTP/1.1 409 "), "{refused}");
        assert!(!names(&refused, &intruders), "{refused}");
    }
    let dry = json!({ "prefer": busy, "dry_run": true });
    let told = post(&server, USER, &dry);
    assert!(
        told.starts_with("HTTP/1.1 200 ") && !names(&told, &intruders),
        "{told}"
    );
    for said in said_by_commands(&server, lost, allocation) {
        assert!(!names(&said, &intruders), "{said}");
    }
}

/// The name of a lease, in no other text of portbook's.
const LEASE_NAME: &str = "hushed-shop";

#[test]
fn leases_of_another_user_are_not_named_by_what_root_did() {
    if !rustix::process::geteuid().is_root() {
        return skipped("what others may see", "it takes root to be two users");
    }
    let mut place = Place::with_ports(1);
    place.set("PORTBOOK_POOLS__DEFAULT__NAMES_IDLE", "0s");
    place.set("PORTBOOK_POOLS__DEFAULT__CLAIM_WITHIN", "100ms");
    let server = serve(&mut place);
    let named = json!({ "name": LEASE_NAME });
    let port = place.ports[0];
    assert!(post(&server, USER, &named).contains(LEASE_NAME));
    eventually("nobody came for it", || {
        let list = server.api("GET", "/api/v1/leases?state=reserved", None);
        list.body.contains(LEASE_NAME).then_some(())
    });
    // Root is told whose it is, for a port by number, in vain after a while as well.
    for wanted in [json!({ "port": port }), json!({ "port": port, "wait": 1 })] {
        let refused = post(&server, ROOT, &wanted);
        assert!(refused.contains(LEASE_NAME), "{refused}");
    }
    let exclude = json!({ "ports": port.to_string(), "reason": "a test" });
    let range = "/api/v1/exclusions";
    assert_eq!(server.api("PUT", range, Some(&exclude)).status, 200);
    for path in [
        format!("/try?port={port}"),
        format!("/try?prefer={port}"),
        format!("/ports/tcp/{port}"),
    ] {
        let told = get(&server, ROOT, &path);
        assert!(
            told.contains(LEASE_NAME) || path.contains("try"),
            "{path}: {told}"
        );
        let told = server.web("GET", &path, &[]).body;
        assert!(!told.contains(LEASE_NAME), "{path}: {told}");
    }
    let included = server.api("DELETE", &format!("{range}?ports={port}"), None);
    assert_eq!(included.status, 204);
    for path in [format!("/try?port={port}"), format!("/try?prefer={port}")] {
        let told = get(&server, ROOT, &path);
        assert!(told.contains(LEASE_NAME), "{path}: {told}");
        let told = server.web("GET", &path, &[]).body;
        assert!(!told.contains(LEASE_NAME), "{path}: {told}");
    }
    // There is no other port, so that the name gives way.
    let granted = post(&server, ROOT, &json!({}));
    assert!(granted.contains("gave way"), "{granted}");
    let granted: Value = serde_json::from_str(granted.rsplit("\r\n\r\n").next().unwrap()).unwrap();
    let allocation = granted["allocation"].as_str().unwrap();
    for path in [
        "/".to_owned(),
        "/attempts".to_owned(),
        "/leases".to_owned(),
        format!("/allocations/{allocation}"),
        format!("/api/v1/allocations/{allocation}"),
        format!("/ports/tcp/{port}"),
        "/api/v1/leases?state=ended".to_owned(),
        "/api/v1/history/endings?format=jsonl".to_owned(),
    ] {
        let told = server.web("GET", &path, &[]);
        assert_eq!(told.status, 200, "{path}: {told:?}");
        assert!(!told.body.contains(LEASE_NAME), "{path}: {}", told.body);
    }
    let overview = server.web("GET", "/", &[]).body;
    assert!(overview.contains("another user (uid"), "{overview}");
}
