//! `portbook wait`: ends when a program listens or answers, and at once if that cannot happen any more.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Output, Stdio};

use serde_json::Value;

use crate::support::{Place, occupant, text};
use crate::tools::{Running, eventually};

/// A server on `$PORT` that answers these statuses in turn, then the last one for ever.
const ANSWERS: &str = "import http.server, os, sys\n\
    class H(http.server.BaseHTTPRequestHandler):\n\
    \x20   left = sys.argv[1].split(',')\n\
    \x20   def log_message(self, *of): pass\n\
    \x20   def do_GET(self):\n\
    \x20       self.send_response(int(H.left.pop(0) if len(H.left) > 1 else H.left[0]))\n\
    \x20       self.send_header('Location', 'http://203.0.113.1/'); self.end_headers()\n\
    http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()";

/// A program that never listens and ends with its stdin.
const IN_VAIN: [&str; 6] = [
    "--name",
    "web",
    "--",
    "sh",
    "-c",
    "echo up; read line; exit 1",
];

/// `portbook run` with these arguments in the background, its stdin open.
fn running(place: &Place, arguments: &[&str]) -> Running {
    let mut command = place.command();
    command.arg("run").args(arguments);
    Running::piped(command)
}

/// Closes the program's stdin, so that it goes on.
fn go_on(running: &mut Running) {
    running.0.stdin.take();
}

/// Waits in the background.
fn waiting(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command();
    command.arg("wait").args(arguments);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether a process waits for the end of another one.
pub fn watches(process: &Child) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap();
    let mut links = descriptors
        .flatten()
        .map(|fd| std::fs::read_link(fd.path()));
    links.any(|link| link.is_ok_and(|link| link.to_string_lossy().contains("pidfd")))
}

/// Waits until a command has said on its stderr that the name is not there yet.
fn tells_of_none(wait: &mut Child, name: &str) {
    let mut line = String::new();
    let stderr = wait.stderr.as_mut().unwrap();
    BufReader::new(stderr).read_line(&mut line).unwrap();
    assert!(
        line.contains(name) && line.contains("waiting for"),
        "{line}"
    );
}

fn with_and_without_a_service(ports: usize, test: impl Fn(&Place)) {
    let place = Place::with_ports(ports);
    let server = place.serve();
    test(&place);
    assert!(server.stop().success());
    test(&Place::with_ports(ports));
}

fn ended(output: &Output, code: i32, words: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words), "{said}");
}

#[test]
fn wait_ends_with_the_program_of_the_lease() {
    with_and_without_a_service(1, |place| {
        let port = place.ports[0].to_string();
        for target in [&*port, "web"] {
            let mut program = running(place, &IN_VAIN);
            assert_eq!(program.line(), "up");
            let wait = waiting(place, &[target, "--timeout", "60s"]);
            eventually("it watches the program", || watches(&wait).then_some(()));
            go_on(&mut program);
            let output = wait.wait_with_output().unwrap();
            let pid = program.0.id();
            let words = format!("its program sh (pid {pid}, lease web) ended before it listened");
            ended(&output, 1, &words);
        }
    });
}

#[test]
fn wait_tells_of_a_program_that_ended_at_once() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    // First a name without a lease, then one whose program is away.
    for _ in 0..2 {
        let mut wait = waiting(&place, &["web", "--timeout", "60s"]);
        tells_of_none(&mut wait, "web");
        place.ok(&["run", "--name", "web", "--", "true"]);
        ended(
            &wait.wait_with_output().unwrap(),
            1,
            "ended before it listened",
        );
    }
}

#[test]
fn wait_ends_when_the_lease_is_released() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    let me = std::process::id().to_string();
    let port = place.ok(&["alloc", "--owner-pid", &me]);
    let wait = waiting(&place, &["--json", port.trim(), "--timeout", "60s"]);
    eventually("it watches the owner", || watches(&wait).then_some(()));
    place.ok(&["release", port.trim()]);
    let output = wait.wait_with_output().unwrap();
    ended(
        &output,
        1,
        "ended before anything listened: it was given back",
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["outcome"], "ended");
    assert_eq!(report["lease"]["state"], "released");
}

#[test]
fn wait_keeps_waiting_for_an_owner_that_comes() {
    with_and_without_a_service(1, |place| {
        // There is no such lease, then its program is away.
        for _ in 0..2 {
            let mut wait = waiting(place, &["late", "--timeout", "60s"]);
            tells_of_none(&mut wait, "late");
            let serve = [
                "--name",
                "late",
                "--",
                "python3",
                "-m",
                "http.server",
                "{port}",
            ];
            let _program = running(place, &serve);
            let output = wait.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    });
}

#[test]
fn wait_for_http_passes_over_answers_of_failure() {
    with_and_without_a_service(1, |place| {
        let serve = [
            "--name",
            "api",
            "--",
            "python3",
            "-c",
            ANSWERS,
            "503,500,302",
        ];
        let _program = running(place, &serve);
        let report = place.json(&["wait", "api", "--http", "/health", "--timeout", "60s"]);
        assert_eq!(report["outcome"], "answered");
        assert_eq!(
            report["status"], 302,
            "a redirect is an answer, not followed"
        );
        assert_eq!(report["ports"][0]["port"], place.ports[0]);
    });
}

#[test]
fn wait_for_http_reports_the_last_answer_on_timeout() {
    let place = Place::with_ports(1);
    let serve = ["--name", "api", "--", "python3", "-c", ANSWERS, "503"];
    let _program = running(&place, &serve);
    place.ok(&["wait", "api", "--timeout", "60s"]);
    let output = place.run(&["wait", "api", "--http", "/", "--timeout", "1s"]);
    ended(&output, 124, "was answered 503 Service Unavailable");
}

#[test]
fn wait_for_http_takes_no_other_protocol_for_an_answer() {
    let place = Place::with_ports(1);
    let listener = TcpListener::bind(("127.0.0.1", place.ports[0])).unwrap();
    let babble = std::thread::spawn(move || {
        // Never an HTTP head, and more than any head may have.
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
        listener
    });
    let port = place.ports[0].to_string();
    let output = place.run(&["wait", &port, "--http", "/", "--timeout", "2s"]);
    ended(&output, 124, "got no answer");
    drop(babble.join().unwrap());
}

#[test]
fn wait_for_free_says_who_is_there() {
    with_and_without_a_service(1, |place| {
        let port = place.ports[0].to_string();
        let occupant = occupant(place.ports[0]);
        let output = place.run(&["wait", "--free", &port, "--timeout", "300ms"]);
        ended(
            &output,
            124,
            &format!("listening by python3 (pid {})", occupant.0.id()),
        );
    });
}

#[test]
fn wait_for_free_ends_where_a_name_keeps_the_port() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    let port = place.ports[0].to_string();
    place.ok(&["run", "--name", "web", "--", "true"]);
    for target in [&*port, "web"] {
        let output = place.run(&["wait", "--free", target]);
        ended(&output, 1, "is kept for lease web, whose program is away");
    }
    // One that begins to be kept meanwhile ends the wait as well.
    let mut program = running(&place, &["--name", "web", "--", "sh", "-c", "echo; read a"]);
    program.line();
    let wait = waiting(&place, &["--free", &port]);
    go_on(&mut program);
    ended(
        &wait.wait_with_output().unwrap(),
        1,
        "is kept for lease web",
    );
}

#[test]
fn wait_takes_no_hold_of_udp_for_a_listener() {
    let place = Place::with_ports(1);
    let _server = place.serve();
    let port = place.ok(&["alloc", "--reserve", "--name", "dns", "--protocol", "udp"]);
    let port = port.trim();
    for target in [&["dns"][..], &[port, "--protocol", "udp"], &[port]] {
        let all = [&["wait", "--timeout", "300ms"], target].concat();
        ended(
            &place.run(&all),
            124,
            &format!("port {port}/udp is still without a listener"),
        );
    }
}

#[test]
fn wait_is_refused_for_what_it_cannot_wait_for() {
    let place = Place::with_ports(1);
    for arguments in [
        &["wait", "3000-3010"][..],
        &["wait", "0"],
        &["wait", "a/b"],
        &["wait", "3000", "--http", "health"],
        &["wait", "3000", "--http", "/", "--free"],
        &["wait", "3000", "--http", "/", "--protocol", "udp"],
    ] {
        assert_eq!(place.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    place.ok(&["list"]);
    let output = place.run(&["wait", "absent", "--timeout", "200ms"]);
    ended(
        &output,
        124,
        "portbook: no lease here is called absent yet\n",
    );
    let output = place.run(&["wait", "--free", "absent"]);
    ended(&output, 1, "there is no lease absent here");
}

/// Stands between a command and a service. It says when the leases are asked for the first time, and passes
/// the question on once it reads a line.
const BETWEEN: &str = r#"
import socket, sys, threading
asked = threading.Lock()
def pass_on(source, to):
    while piece := source.recv(65536):
        to.sendall(piece)
    to.shutdown(socket.SHUT_WR)
def serve(client):
    head = client.recv(65536)
    if b"GET /api/v1/leases?" in head and asked.acquire(blocking=False):
        print("asked", flush=True)
        sys.stdin.readline()
    service = socket.socket(socket.AF_UNIX)
    service.connect(sys.argv[2])
    service.sendall(head)
    threading.Thread(target=pass_on, args=(service, client), daemon=True).start()
    pass_on(client, service)
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen(10)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"#;

#[test]
fn wait_passes_over_an_end_from_before_its_first_look() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let mut program = running(&place, &IN_VAIN);
    assert_eq!(program.line(), "up");
    let door = place.folder().join("between.sock");
    let mut between = std::process::Command::new("python3");
    between
        .args(["-c", BETWEEN])
        .arg(&door)
        .arg(server.socket());
    let mut between = Running::piped(between);
    assert_eq!(between.line(), "ready");
    let mut wait = place.command();
    wait.env("PORTBOOK_SOCKET", &door);
    wait.args(["wait", "web", "--timeout", "60s"]);
    let mut wait = wait
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It hears of events from now on, and has not seen the lease.
    assert_eq!(between.line(), "asked");
    drop(program);
    eventually("its program is away", || {
        (server.living("default")[0]["state"] == "reserved").then_some(())
    });
    writeln!(between.0.stdin.as_mut().unwrap()).unwrap();
    tells_of_none(&mut wait, "web");
    let _server = running(
        &place,
        &[
            "--name",
            "web",
            "--",
            "python3",
            "-m",
            "http.server",
            "{port}",
        ],
    );
    let output = wait.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn ones_own_server_is_told_from_a_strangers() {
    with_and_without_a_service(2, |place| {
        let mine = |name| place.run(&["wait", name, "--mine"]);
        ended(&mine("web"), 1, "no lease here is called web yet");
        let serve = ["--name", "web", "--", "python3", "-c", ANSWERS, "200"];
        let server = running(place, &serve);
        place.ok(&["wait", "web", "--timeout", "60s"]);
        ended(&mine("web"), 0, "");
        let report = place.json(&["wait", "web", "--mine", "--http", "/"]);
        assert_eq!(report["outcome"], "answered", "{report}");
        drop(server);
        ended(&mine("web"), 1, "has no listener");

        let quiet = ["--name", "api", "--handover", "release", "--", "cat"];
        let _quiet = running(place, &quiet);
        let port = eventually("it has its port", || {
            let list = place.json(&["list"]);
            let leases = list["leases"].as_array().unwrap();
            let handed = |lease: &&Value| lease["name"] == "api" && lease["owner"].is_object();
            leases.iter().find(handed)?["port"].as_u64()
        });
        let stranger = occupant(u16::try_from(port).unwrap());
        ended(
            &mine("api"),
            1,
            &format!("python3 (pid {})", stranger.0.id()),
        );
        ended(
            &place.run(&["wait", "3000", "--mine"]),
            2,
            "--mine asks about a name",
        );
    });
}
