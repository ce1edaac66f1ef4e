//! Two users on one host: no answer names the processes of another user. Root sees the names.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::events::first_id;
use crate::host::skipped;
use crate::support::{Occupant, Place, Server, text};
use crate::tools::eventually;

/// The owner of the lease, the outsider, and root.
const USER: u32 = 65534;
const OUTSIDER: u32 = 65533;
const ROOT: u32 = 0;

/// Name of the outsider's process; no text of portbook contains it.
const NAME: &str = "hushd";

/// Listens on a port as another user, under its own process name.
const INTRUDE: &str = r#"
import os, socket, sys
with open("/proc/self/comm", "w") as comm:
    comm.write(sys.argv[3])
os.setuid(int(sys.argv[2]))
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listens", flush=True)
sys.stdin.read()
"#;

/// Sends its argument to a Unix socket and prints the answer: all of it, or up to the end of the
/// paragraph that contains a given word.
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

#[test]
fn unit_gives_the_rights_to_name_programs_of_other_users() {
    if !rustix::process::geteuid().is_root() {
        skipped("rights of the unit", "it takes root to be two users");
        return;
    }
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/static/systemd/portbook.service"
    );
    let unit = std::fs::read_to_string(unit).unwrap();
    let rights = unit
        .lines()
        .find_map(|line| line.strip_prefix("AmbientCapabilities="));
    let rights = rights
        .unwrap()
        .replace("CAP_", "+")
        .replace(' ', ",")
        .to_lowercase();
    let home = tempfile::TempDir::new().unwrap();
    std::os::unix::fs::chown(home.path(), Some(USER), None).unwrap();
    let mut place = Place::with_ports(2);
    let data = home.path().join("data");
    place.set("PORTBOOK_DATA_DIR", data.to_str().unwrap());
    let mut service = Command::new("setpriv");
    service.arg(format!("--reuid={USER}")).arg("--clear-groups");
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        service.arg(format!("{set}=-all,{rights}"));
    }
    let command = place.command();
    service.arg(command.get_program()).arg("serve").env_clear();
    let settings = command.get_envs();
    service.envs(settings.filter_map(|(name, value)| Some((name, value?))));
    let server = Server::start(service, &data);
    let port = place.console_ports[1];
    let _outsider = outsider(port);
    let listed = get(&server, ROOT, "/api/v1/listeners");
    assert!(listed.contains(NAME), "{listed}");
}

fn outsider(port: u16) -> Occupant {
    let mut child = Command::new("python3")
        .args(["-c", INTRUDE, &port.to_string(), &OUTSIDER.to_string()])
        .arg(NAME)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "listens\n");
    Occupant(child)
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

/// Sends one request as a user and returns the whole answer.
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

/// Events of this run up to the late conflict.
fn events(server: &Server, uid: u32, run: &str) -> String {
    let request =
        format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {run}-0\r\n\r\n");
    say(server, uid, &request, "event: late_conflict")
}

/// A service of root's that every user may ask. The outsider occupies its console's first port.
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

/// Whether a text names the outsider's processes.
fn names(told: &str, outsiders: &[Occupant]) -> bool {
    let by_pid = |outsider: &Occupant| {
        let pid = outsider.0.id();
        [format!("pid {pid}"), format!("\"pid\":{pid}")]
            .iter()
            .any(|words| told.contains(words.as_str()))
    };
    told.contains(NAME) || outsiders.iter().any(by_pid)
}

/// Addresses that name the outsider to viewers who may see it.
fn named_to_root(lost: u16, busy: u16, allocation: &str, lease: &str) -> Vec<String> {
    vec![
        format!("/leases/{lease}"),
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

/// Addresses that name the outsider to no viewer, not even root.
fn named_to_no_viewer(lost: u16, lease: &str) -> Vec<String> {
    vec![
        "/map".to_owned(),
        "/status".to_owned(),
        "/interfaces".to_owned(),
        format!("/try?port={lost}"),
        format!("/search?q={lost}"),
        "/api/v1/leases".to_owned(),
        format!("/api/v1/leases/{lease}"),
        "/readyz?verbose".to_owned(),
        "/metrics".to_owned(),
    ]
}

/// Output of commands run as the user; empty if no command can be run as another user.
fn said_by_commands(server: &Server, lost: u16, allocation: &str) -> Vec<String> {
    let port = lost.to_string();
    let commands: [&[&str]; 9] = [
        &["list"],
        &["who", &port],
        &["who"],
        &["wait", "--free", &port, "--timeout", "100ms"],
        &["explain", allocation],
        &["stats"],
        &["report"],
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
    let mut outsiders = vec![outsider(place.console_ports[0]), outsider(busy)];
    let server = serve(&mut place);
    let answer = post(&server, USER, &json!({ "name": "web" }));
    assert!(!names(&answer, &outsiders), "{answer}");
    let granted: Value = serde_json::from_str(answer.rsplit("\r\n\r\n").next().unwrap()).unwrap();
    let lease = granted["leases"][0]["id"].as_str().unwrap();
    let allocation = granted["allocation"].as_str().unwrap();
    assert_eq!(granted["leases"][0]["port"], lost, "{granted}");
    outsiders.push(outsider(lost));
    eventually("a late conflict", || {
        get(&server, ROOT, &format!("/api/v1/leases/{lease}"))
            .contains("\"lost\"")
            .then_some(())
    });

    let id = first_id(&server);
    let run = id.split('-').next().unwrap();
    let told = events(&server, ROOT, run);
    assert!(names(&told, &outsiders), "{told}");
    let told = events(&server, USER, run);
    // The conflict, its port and the uid are public, as in all lists.
    assert!(told.contains(&format!("uid {OUTSIDER}")), "{told}");
    assert!(!names(&told, &outsiders), "{told}");

    let snapshot = server.api("POST", "/api/v1/snapshots", Some(&json!({})));
    assert_eq!(snapshot.status, 201, "{snapshot:?}");
    for path in named_to_root(lost, busy, allocation, lease) {
        let told = get(&server, ROOT, &path);
        assert!(names(&told, &outsiders), "root is not told: {path}: {told}");
        let told = get(&server, USER, &path);
        assert!(told.starts_with("HTTP/1.1 200 "), "{path}: {told}");
        assert!(!names(&told, &outsiders), "{path}: {told}");
        // A console viewer without a login sees no name either.
        let told = server.web("GET", &path, &[]).body;
        assert!(!names(&told, &outsiders), "console: {path}: {told}");
    }
    for path in named_to_no_viewer(lost, lease) {
        let told = get(&server, USER, &path);
        assert!(!names(&told, &outsiders), "{path}: {told}");
    }
    for wanted in [
        json!({ "name": "web", "strict": true }),
        json!({ "port": busy }),
    ] {
        let refused = post(&server, USER, &wanted);
        assert!(refused.starts_with("HTTP/1.1 409 "), "{refused}");
        assert!(!names(&refused, &outsiders), "{refused}");
    }
    let dry = json!({ "prefer": busy, "dry_run": true });
    let told = post(&server, USER, &dry);
    assert!(
        told.starts_with("HTTP/1.1 200 ") && !names(&told, &outsiders),
        "{told}"
    );
    for said in said_by_commands(&server, lost, allocation) {
        assert!(!names(&said, &outsiders), "{said}");
    }
}

/// Name of a lease; no text of portbook contains it.
const LEASE_NAME: &str = "hushed-shop";

#[test]
fn actions_of_root_hide_other_users_leases() {
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
    eventually("the lease ended unclaimed", || {
        let list = server.get("/api/v1/leases?state=reserved");
        list.body.contains(LEASE_NAME).then_some(())
    });
    // Root sees the owner, for a port by number and after a wait in vain.
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
    // There is no other port, so the name gives way.
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
