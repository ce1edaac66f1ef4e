//! Names that move between ports while clients ask for them and the service is killed: each keeps exactly
//! one living lease per protocol once it was acknowledged.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::probe::is_kept;
use crate::support::{Place, Server, ask};
use crate::tools::eventually;

const SEED: u64 = 41;
const KILLS: u64 = 8;
const CLIENTS: u64 = 4;
const PORTS: usize = 12;
const LEASES: &str = "/api/v1/leases";

/// Names with the protocol that each is always asked for.
const NAMES: [(&str, &str); 3] = [("web", "tcp"), ("api", "both"), ("dns", "udp")];

/// The granted names, and the number of answers.
#[derive(Default)]
struct Known {
    names: BTreeSet<usize>,
    answers: u64,
    moves: u64,
    wrong: Vec<String>,
}

type Log = Arc<Mutex<Known>>;

/// Asks for names on ports that differ each time, until the service does not answer. Some hang up
/// before the answer.
fn be_a_client(log: &Log, socket: &Path, ports: &[u16], mut rng: fastrand::Rng) {
    loop {
        let index = rng.usize(..NAMES.len());
        let (name, protocol) = NAMES[index];
        let mut body = json!({ "name": name, "protocol": protocol });
        match rng.u8(..4) {
            0 => {}
            1 => body["ranges"] = json!(ports[rng.usize(..ports.len())].to_string()),
            _ => body["prefer"] = json!(ports[rng.usize(..ports.len())]),
        }
        if rng.u8(..8) == 0 {
            hang_up(socket, &body);
            continue;
        }
        let Some(answer) = ask(socket, "POST", LEASES, Some(&body)) else {
            return;
        };
        let mut known = log.lock().unwrap();
        known.answers += 1;
        match answer.status {
            200 | 201 => {
                known.names.insert(index);
                known.moves += u64::from(answer.json()["moved"].is_object());
            }
            // The one port of the range may be another name's.
            409 | 503 => {}
            _ => known.wrong.push(format!("{body}: {answer:?}")),
        }
    }
}

fn hang_up(socket: &Path, body: &Value) {
    use std::io::Write;
    let body = body.to_string();
    let length = body.len();
    let request = format!(
        "POST {LEASES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    if let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) {
        let _ = stream.write_all(request.as_bytes());
    }
}

/// The living leases of the default pool, as name, protocol, port and state.
fn living(server: &Server) -> Vec<(String, String, u16, String)> {
    let word = |lease: &Value, key: &str| lease[key].as_str().unwrap_or_default().to_owned();
    let of = |lease: &Value| {
        let port = lease["port"].as_u64().and_then(|it| u16::try_from(it).ok());
        let (name, protocol) = (word(lease, "name"), word(lease, "protocol"));
        (name, protocol, port.unwrap(), word(lease, "state"))
    };
    server.living("default").iter().map(of).collect()
}

/// Checks the leases of a service that has just started.
fn assert_one_lease_a_name(log: &Log, server: &Server) {
    let leases = living(server);
    let names: BTreeSet<(&str, &str)> = leases
        .iter()
        .map(|(name, protocol, ..)| (&**name, &**protocol))
        .collect();
    assert_eq!(names.len(), leases.len(), "{leases:?}");
    let ports: BTreeSet<(u16, &str)> = leases
        .iter()
        .map(|(_, protocol, port, _)| (*port, &**protocol))
        .collect();
    assert_eq!(
        ports.len(),
        leases.len(),
        "a port is leased twice: {leases:?}"
    );
    let known = log.lock().unwrap();
    assert_eq!(known.wrong, [""; 0]);
    for index in &known.names {
        let (name, protocol) = NAMES[*index];
        let each: &[&str] = if protocol == "both" {
            &["tcp", "udp"]
        } else {
            &[protocol]
        };
        for protocol in each {
            assert!(
                names.contains(&(name, *protocol)),
                "{name} is lost: {leases:?}"
            );
        }
    }
    for (_, protocol, port, state) in &leases {
        let held = protocol != "tcp" || is_kept(*port);
        assert!(held, "{port} is leased ({state}) and not held");
    }
}

#[test]
fn names_that_move_keep_one_lease_through_kills() {
    let place = Place::with_ports(PORTS);
    let log = Log::default();
    let mut rng = fastrand::Rng::with_seed(SEED);
    for round in 0..KILLS {
        let server = place.serve();
        assert_one_lease_a_name(&log, &server);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (log, socket, ports) = (Arc::clone(&log), server.socket(), place.ports.clone());
                let rng = fastrand::Rng::with_seed(SEED + round * CLIENTS + client);
                std::thread::spawn(move || be_a_client(&log, &socket, &ports, rng))
            })
            .collect();
        let until = log.lock().unwrap().answers + rng.u64(20..80);
        eventually("answers come", || {
            let known = log.lock().unwrap();
            (known.answers >= until || !known.wrong.is_empty()).then_some(())
        });
        // A random pause, so that the kill comes at any point between two answers.
        std::thread::sleep(Duration::from_micros(rng.u64(..5_000)));
        server.kill();
        for client in clients {
            client.join().unwrap();
        }
    }
    let server = place.serve();
    assert_one_lease_a_name(&log, &server);
    assert!(log.lock().unwrap().moves > KILLS, "nothing moved");
    // Every port without a lease can be granted, for both protocols at once: none has leaked.
    let taken: BTreeSet<u16> = living(&server).iter().map(|lease| lease.2).collect();
    let rest = json!({ "count": PORTS - taken.len(), "protocol": "both" });
    let answer = server.allocate(&rest);
    assert_eq!(answer.status, 201, "{answer:?}");
    let status = server.get("/api/v1/status").json();
    let repairs = status["repairs"].as_object().cloned().unwrap_or_default();
    assert!(repairs.values().all(|count| count == 0), "{status}");
}
