//! The stream of events: who was away hears what was missed, or that too much was.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::{Place, Server};

/// One frame: its id and its kind.
type Frame = (String, String);

/// Reads `count` frames of a stream that begins after `last`.
fn frames(server: &Server, last: Option<&str>, count: usize) -> Vec<Frame> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.console_port())).unwrap();
    let wait = Duration::from_secs(10);
    stream.set_read_timeout(Some(wait)).unwrap();
    let last = last.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
    write!(
        stream,
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{last}\r\n"
    )
    .unwrap();
    let mut found = Vec::new();
    let mut id = String::new();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
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
    let granted = server.api("POST", "/api/v1/leases", Some(&json!({})));
    assert_eq!(granted.status, 201, "{granted:?}");
}

/// The id of the first event of this run: every number after it is one more.
pub fn first_id(server: &Server) -> String {
    // Whatever is no id of this run is answered with a resync; the next event has an id.
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
fn who_comes_back_hears_exactly_what_was_missed() {
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
