//! The stream of events: a reconnected client gets the missed events, or a resync if too many are missing.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::{Place, Server};

/// One frame: its id and its kind.
type Frame = (String, String);

const EVENTS: &str = "/api/v1/events";

/// The lines of a stream that begins after `last`.
fn lines(
    server: &Server,
    path: &str,
    last: Option<&str>,
    patience: Duration,
) -> impl Iterator<Item = String> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.console_port())).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    let last = last.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n"
    )
    .unwrap();
    let lines = BufReader::new(stream).lines();
    lines.map(|line| line.expect("the stream says nothing more"))
}

/// Reads `count` frames of a stream that begins after `last`.
fn frames(server: &Server, last: Option<&str>, count: usize) -> Vec<Frame> {
    frames_of(server, EVENTS, last, count)
}

/// Reads `count` frames of the stream at `path`.
fn frames_of(server: &Server, path: &str, last: Option<&str>, count: usize) -> Vec<Frame> {
    let mut found = Vec::new();
    let mut id = String::new();
    for line in lines(server, path, last, Duration::from_secs(10)) {
        if let Some(of) = line.strip_prefix("id: ") {
            of.clone_into(&mut id);
        }
        if let Some(kind) = line.strip_prefix("event: ") {
            found.push((std::mem::take(&mut id), kind.to_owned()));
        }
        if found.len() == count {
            break;
        }
    }
    found
}

fn allocate(server: &Server) {
    let granted = server.allocate(&json!({}));
    assert_eq!(granted.status, 201, "{granted:?}");
}

/// The id of the first event of this run: every number after it is one more.
pub fn first_id(server: &Server) -> String {
    // An id of another run is answered with a resync; the next event has an id.
    let (ready, heard) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| ready.send(frames(server, None, 1)).unwrap());
        loop {
            allocate(server);
            if let Ok(found) = heard.recv_timeout(Duration::from_millis(200)) {
                return found[0].0.clone();
            }
        }
    })
}

#[test]
fn reconnected_stream_replays_exactly_the_missed_events() {
    let place = Place::with_ports(60);
    let server = place.serve();
    let last = first_id(&server);
    let (run, number) = last.split_once('-').unwrap();
    let number: u64 = number.parse().unwrap();
    let before = number - 1;
    allocate(&server);
    allocate(&server);
    let missed = frames(&server, Some(&format!("{run}-{before}")), 3);
    let ids: Vec<String> = missed.iter().map(|(id, _)| id.clone()).collect();
    let expected = [number, number + 1, number + 2].map(|seq| format!("{run}-{seq}"));
    assert_eq!(ids, expected);
    assert!(
        missed.iter().all(|(_, kind)| kind == "granted"),
        "{missed:?}"
    );
}

#[test]
fn a_page_leads_to_what_happens_after_it() {
    let place = Place::with_ports(60);
    let server = place.serve();
    allocate(&server);
    let page = server.web("GET", "/leases", &[]).body;
    let (_, from) = page.split_once("data-last-event=\"").unwrap();
    let from = from.split_once('"').unwrap().0;
    allocate(&server);
    allocate(&server);

    let path = format!("/api/v1/events?after={from}");
    let told = frames_of(&server, &path, None, 2);
    let (run, number) = from.split_once('-').unwrap();
    let number: u64 = number.parse().unwrap();
    let next = |more: u64| (format!("{run}-{}", number + more), "granted".to_owned());
    assert_eq!(told, [next(1), next(2)]);
    // A client that reconnects to this address has heard more meanwhile.
    let heard = format!("{run}-{}", number + 1);
    assert_eq!(frames_of(&server, &path, Some(&heard), 1), [next(2)]);
}

#[test]
fn an_id_that_means_nothing_here_leads_to_a_resync() {
    let place = Place::with_ports(60);
    let server = place.serve();
    let id = first_id(&server);
    let number = id.split_once('-').unwrap().1.to_owned();
    assert!(server.stop().success());
    let server = place.serve();
    allocate(&server);
    let run = first_id(&server).split_once('-').unwrap().0.to_owned();
    for foreign in [id, number, format!("{run}-999999"), "x".to_owned()] {
        let first = &frames(&server, Some(&foreign), 1)[0];
        assert_eq!(first.1, "resync", "{foreign}");
    }
}

/// Number of events kept for replay.
const KEPT: usize = 1024;

/// Makes events that concern no lease and take no port.
fn refuse(server: &Server, port: u16, count: usize) {
    for _ in 0..count {
        let refused = server.allocate(&json!({ "port": port }));
        assert_eq!(refused.status, 409, "{refused:?}");
    }
}

#[test]
fn long_disconnected_stream_resyncs_and_replays_kept_events() {
    let place = Place::with_ports(60);
    let server = place.serve();
    let old = first_id(&server);
    let (run, number) = old.split_once('-').unwrap();
    let number: usize = number.parse().unwrap();
    refuse(&server, place.ports[0], KEPT + 1);

    // The resync has no id, so a client that reconnects asks from its last event.
    let told = frames(&server, Some(&old), 1 + KEPT);
    assert_eq!(told[0], (String::new(), "resync".to_owned()));
    let ids = told[1..].iter().map(|(id, _)| {
        let (of, number) = id.split_once('-').unwrap();
        assert_eq!(of, run);
        number.parse::<usize>().unwrap()
    });
    let ids: Vec<usize> = ids.collect();
    assert!(ids[0] > number + 1, "{old} was not the last one before");
    assert!(ids.is_sorted_by(|a, b| a + 1 == *b), "one is missing");
    // A client that knows every dropped event misses nothing.
    let known = format!("{run}-{}", ids[0] - 1);
    let first = frames(&server, Some(&known), 1).remove(0);
    assert_eq!(first, (format!("{run}-{}", ids[0]), "refused".to_owned()));
}

#[test]
fn a_stream_without_events_is_kept_alive() {
    let place = Place::with_ports(1);
    let server = place.serve();
    // Every 15 seconds; proxies close silent connections after about a minute.
    let mut lines = lines(&server, EVENTS, None, Duration::from_secs(20));
    let head = lines.by_ref().take_while(|line| !line.is_empty()).count();
    assert!(head > 1, "no answer's head");
    // Chunks have their length before them.
    let told = lines.find(|line| !line.chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(told.as_deref(), Some(": alive"));
}

#[test]
fn stream_of_one_kind_has_no_other() {
    use portbook::domain::event::EventKind;
    use strum::VariantArray as _;
    let place = Place::with_ports(60);
    let server = place.serve();
    let begin = |kind: &str| {
        let path = format!("{EVENTS}?kind={kind}");
        let mut lines = lines(&server, &path, None, Duration::from_secs(10));
        lines.next().unwrap()
    };
    for kind in EventKind::VARIANTS {
        let status = begin(kind.as_str());
        assert!(status.contains(" 200 "), "{kind:?}: {status}");
    }
    assert!(begin("nosuch").contains(" 400 "));
    let id = first_id(&server);
    let granted = server.allocate(&json!({"name": "web"})).json();
    let lease = granted["leases"][0]["id"].as_str().unwrap();
    server.release(lease);
    let ended = frames_of(&server, &format!("{EVENTS}?kind=ended"), Some(&id), 1);
    assert_eq!(ended[0].1, "ended");
}
