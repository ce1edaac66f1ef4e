//! A take-over is a transaction: the running service goes on as if nothing had happened unless its
//! successor says that it answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::{Occupant, Place, Server, occupant, text};
use crate::tools::eventually;

const NAMES: usize = 4;

fn service(place: &Place) -> Server {
    with_reserved_names(place, NAMES)
}

/// A service with names whose ports are held and shut.
pub fn with_reserved_names(place: &Place, names: usize) -> Server {
    let server = place.serve();
    for name in 0..names {
        let body = json!({"name": format!("n{name}"), "claim_within": "1s"});
        assert_eq!(server.allocate(&body).status, 201);
    }
    eventually("reserved", || {
        let living = server.living("default");
        let reserved = living.iter().filter(|lease| lease["state"] == "reserved");
        (reserved.count() == names).then_some(())
    });
    server
}

/// What must be the same before and after: every lease, and the console.
fn seen(server: &Server) -> (Vec<serde_json::Value>, String) {
    let mut leases = server.living("default");
    for lease in &mut leases {
        lease.as_object_mut().unwrap().remove("attempts");
    }
    let status = server.get("/api/v1/status").json();
    (leases, status["console"].to_string())
}

fn facts_of(lease: &serde_json::Value) -> [serde_json::Value; 4] {
    ["id", "port", "state", "guard"].map(|fact| lease[fact].clone())
}

/// Runs a take-over that must fail, and returns what it said.
fn fails(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    text(&output.stderr)
}

fn takeover(place: &Place) -> Command {
    let mut command = place.command();
    command.args(["serve", "--takeover"]);
    command
}

/// Asserts that the first service goes on, and that it can be succeeded still.
fn goes_on(place: &Place, mut first: Server, before: &(Vec<serde_json::Value>, String)) {
    assert_eq!(&seen(&first), before);
    for lease in &before.0 {
        let port = crate::support::port(lease);
        assert!(!crate::probe::is_free(port), "{port} was let go of");
    }
    let web = first.web("GET", "/", &[]);
    assert!(web.status < 400, "{web:?}");
    let granted = first.allocate(&json!({"ttl": "1h"}));
    assert_eq!(granted.status, 201, "{granted:?}");
    assert!(first.child.try_wait().unwrap().is_none());
    let second = place.serve_with(&["--takeover"]);
    // Before the end of the first, which must leave the files of the record alone.
    let granted = second.allocate(&json!({"ttl": "1h"}));
    assert_eq!(granted.status, 201, "{granted:?}");
    assert!(first.child.wait().unwrap().success());
    assert_eq!(second.console, first.console);
    second.kill();
    assert_eq!(place.serve().living("default").len(), NAMES + 2);
}

#[test]
fn asker_that_goes_away_at_once_changes_nothing() {
    let place = Place::with_ports(NAMES + 2);
    let first = service(&place);
    let before = seen(&first);
    for _ in 0..3 {
        drop(Asker::new(&place));
        assert_eq!(seen(&first), before);
    }
    goes_on(&place, first, &before);
}

/// A process that asks to take over, and does nothing then.
struct Asker(BufReader<UnixStream>);

impl Asker {
    fn new(place: &Place) -> Self {
        Self::with(place, "{\"succeed\":true}")
    }

    fn with(place: &Place, question: &str) -> Self {
        let socket = place.data_dir().join("portbook.fds.sock");
        let mut asker = UnixStream::connect(socket).unwrap();
        writeln!(asker, "{question}").unwrap();
        Self(BufReader::new(asker))
    }

    /// Reads until the service has passed all that it has.
    fn until_passed(&mut self) {
        let mut line = String::new();
        while !line.contains("passed") {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "turned away");
        }
    }
}

#[test]
fn askers_wait_for_the_outcome_of_those_before_them() {
    let place = Place::with_ports(NAMES + 2);
    let first = service(&place);
    let before = seen(&first);
    let mut askers = [(); 4].map(|()| Asker::new(&place));
    for asker in &mut askers {
        asker.until_passed();
        // Gone before it has said that it received the sockets.
        asker.0.get_ref().shutdown(Shutdown::Both).unwrap();
    }
    goes_on(&place, first, &before);
}

#[test]
fn services_that_take_over_at_the_same_time_follow_one_another() {
    let place = Place::with_ports(NAMES + 2);
    let mut running = vec![service(&place)];
    let before = seen(&running[0]);
    let start = || Server::spawn(takeover(&place), &place.data_dir());
    let asked = [start(), start(), start()];
    running.extend(asked.map(|child| Server::of(child, &place.data_dir())));
    eventually("one is left", || {
        running.retain_mut(|server| match server.child.try_wait().unwrap() {
            None => true,
            Some(status) => {
                assert!(status.success(), "{status}");
                false
            }
        });
        (running.len() == 1).then_some(())
    });
    // The record has times in milliseconds.
    let facts = |leases: Vec<serde_json::Value>| {
        leases
            .into_iter()
            .map(|lease| facts_of(&lease))
            .collect::<Vec<_>>()
    };
    let (leases, console) = seen(&running[0]);
    assert_eq!((facts(leases), console), (facts(before.0), before.1));
}

#[test]
fn asker_of_an_earlier_version_is_told_to_stop_the_service_first() {
    let place = Place::with_ports(NAMES + 2);
    let first = service(&place);
    let before = seen(&first);
    let mut said = String::new();
    let mut asker = Asker::with(&place, "{\"takeover\":true}");
    asker.0.read_to_string(&mut said).unwrap();
    assert!(said.contains("stop this one first"), "{said}");
    goes_on(&place, first, &before);
}

#[test]
fn asker_that_gives_up_while_the_service_is_stopped_changes_nothing() {
    let place = Place::with_ports(NAMES + 2);
    let first = service(&place);
    let before = seen(&first);
    first.signal(rustix::process::Signal::STOP);
    let mut asker = Killed::start(takeover(&place));
    asker.until_it_says("asks the running service");
    drop(asker);
    first.signal(rustix::process::Signal::CONT);
    goes_on(&place, first, &before);
}

#[test]
fn successor_without_its_console_port_changes_nothing() {
    let place = Place::with_ports(NAMES + 3);
    let first = service(&place);
    let before = seen(&first);
    let taken = place.ports[NAMES + 2];
    let _occupant: Occupant = occupant(taken);
    let mut command = takeover(&place);
    command.env("PORTBOOK_CONSOLE__LISTEN", format!("127.0.0.1:{taken}"));
    let said = fails(command);
    assert!(said.contains("console"), "{said}");
    goes_on(&place, first, &before);
}

#[test]
fn successor_with_a_bad_configuration_changes_nothing() {
    let place = Place::with_ports(NAMES + 2);
    let first = service(&place);
    let before = seen(&first);
    let mut command = takeover(&place);
    command.env("PORTBOOK_POOLS__DEFAULT__RANGES", "nonsense");
    fails(command);
    goes_on(&place, first, &before);
}

#[test]
fn successor_with_too_few_descriptors_changes_nothing() {
    let place = Place::with_ports(NAMES + 2);
    let first = service(&place);
    let before = seen(&first);
    let mut command = Command::new("prlimit");
    command.arg("--nofile=40:40").arg("--");
    let takeover = takeover(&place);
    command
        .arg(takeover.get_program())
        .args(takeover.get_args());
    command.env_clear();
    let variables = takeover.get_envs();
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    let said = fails(command);
    assert!(said.contains("descriptors"), "{said}");
    goes_on(&place, first, &before);
}

/// A successor that is killed when dropped, with its log.
struct Killed {
    child: Child,
    log: String,
}

impl Killed {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().unwrap();
        let log = String::new();
        Self { child, log }
    }

    fn until_it_says(&mut self, wanted: &str) {
        let mut byte = [0];
        while !self.log.contains(wanted) {
            let stderr = self.child.stderr.as_mut().unwrap();
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{}", self.log);
            self.log.push(char::from(byte[0]));
        }
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request that the service has, which waits for the port of a pool of one.
fn waits(place: &Place, server: &Server) -> UnixStream {
    let body = r#"{"wait": "60s"}"#;
    let mut stream = UnixStream::connect(place.data_dir().join("portbook.sock")).unwrap();
    let head = "POST /api/v1/leases HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    let length = body.len();
    write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    // It came first, so it is in the line when this one is refused.
    assert_eq!(server.allocate(&json!({})).status, 503);
    stream
}

#[test]
fn requests_that_wait_are_told_of_the_end_of_their_service() {
    let place = Place::with_ports(1);
    let server = place.serve();
    place.ok(&["alloc", "--ttl", "1h"]);
    let mut stream = waits(&place, &server);
    let second = place.serve_with(&["--takeover"]);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("\"no_service\""), "{answer}");
    let mut stream = waits(&place, &second);
    assert!(second.stop().success());
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("\"no_service\"").count(), 2, "{answer}");
}

#[test]
fn command_that_waits_outlasts_its_service() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let port = place.ok(&["alloc", "--ttl", "1h"]);
    let mut waiting = place.command();
    waiting.args(["alloc", "--wait", "60s"]);
    let waiting = waiting.stdout(Stdio::piped()).spawn().unwrap();
    // The service has its request once a later one is refused.
    eventually("a connection", || has_socket(waiting.id()));
    assert_eq!(server.allocate(&json!({})).status, 503);
    let _second = place.serve_with(&["--takeover"]);
    place.ok(&["release", port.trim()]);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), port, "{output:?}");
}

/// Whether a process has a socket.
fn has_socket(pid: u32) -> Option<()> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let links = folder.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let mut links = links.filter(|link| link.to_string_lossy().starts_with("socket:"));
    links.next().map(drop)
}
