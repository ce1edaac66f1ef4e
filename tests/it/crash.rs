//! The service dies, or disk and kernel fail, at the worst moments. Every acknowledged answer must stay
//! true: no port granted twice, no acknowledged lease lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::probe::{is_free, is_kept, until_free};
use crate::support::{Place, Server, ask};
use crate::tools::eventually;

/// Seed of the random moments.
const SEED: u64 = 8888;
const CLIENTS: u64 = 4;
const PORTS: usize = 64;
/// Acknowledged leases that live at once; beyond them clients release.
const LIVING: usize = 24;
const LEASES: &str = "/api/v1/leases";

/// Number of kills: 20, or as many as `PORTBOOK_TEST_KILLS` says.
fn kills() -> u64 {
    let wanted = std::env::var("PORTBOOK_TEST_KILLS");
    wanted.map_or(20, |wanted| wanted.parse().unwrap())
}

/// Knowledge of the clients.
#[derive(Debug, Default)]
struct Known {
    /// Acknowledged and not released, with their ports.
    leases: BTreeMap<String, u64>,
    /// Their release was acknowledged.
    released: BTreeSet<String>,
    /// Their release was asked for and no answer came.
    unsure: BTreeSet<String>,
    /// Acknowledged allocations whose attempts were not compared yet, with their ports.
    allocations: BTreeMap<String, u64>,
    /// Answers so far, and over all rounds.
    answers: u64,
    granted: u64,
    /// Contradictions that no client may ever see.
    wrong: Vec<String>,
}

/// Knowledge of the clients, with a bell for every answer.
#[derive(Default)]
struct Log(Mutex<Known>, Condvar);

impl Log {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap()
    }

    fn note(&self, note: impl FnOnce(&mut Known)) {
        let mut known = self.known();
        note(&mut known);
        known.answers += 1;
        drop(known);
        self.1.notify_all();
    }

    /// Waits for this number of answers since `before`.
    fn wait_for(&self, answers: u64) {
        let until = self.known().answers + answers;
        let patience = Duration::from_mins(1);
        let waiting = |known: &mut Known| known.answers < until && known.wrong.is_empty();
        let (known, timeout) = self
            .1
            .wait_timeout_while(self.known(), patience, waiting)
            .unwrap();
        assert!(!timeout.timed_out(), "no answers come: {known:?}");
    }
}

/// Asks for leases and gives some back until the service does not answer.
fn be_a_client(log: &Log, socket: &Path, mut rng: fastrand::Rng) {
    loop {
        let release = release_next(log, &mut rng);
        let done = match release {
            Some(id) => release_one(log, socket, id),
            None => lease_one(log, socket, &mut rng),
        };
        if done.is_none() {
            return;
        }
    }
}

/// Picks a lease to release and moves it to the uncertain ones. `None` while few live.
fn release_next(log: &Log, rng: &mut fastrand::Rng) -> Option<String> {
    let mut known = log.known();
    let few = known.leases.len() < LIVING && rng.u8(..4) > 0;
    if few || known.leases.is_empty() {
        return None;
    }
    let nth = rng.usize(..known.leases.len());
    let id = known.leases.keys().nth(nth)?.clone();
    known.leases.remove(&id);
    known.unsure.insert(id.clone());
    Some(id)
}

fn release_one(log: &Log, socket: &Path, id: String) -> Option<()> {
    let answer = ask(socket, "DELETE", &format!("{LEASES}/{id}"), None)?;
    log.note(|known| {
        known.unsure.remove(&id);
        known.released.insert(id);
        if answer.status != 204 {
            known.wrong.push(format!("{answer:?}"));
        }
    });
    Some(())
}

fn lease_one(log: &Log, socket: &Path, rng: &mut fastrand::Rng) -> Option<()> {
    let named = rng.bool();
    let body = if named {
        json!({ "name": format!("n{:016x}", rng.u64(..)) })
    } else {
        json!({})
    };
    let answer = ask(socket, "POST", LEASES, Some(&body))?;
    log.note(|known| {
        let lease = &answer.json()["leases"][0];
        let (Some(id), Some(port)) = (lease["id"].as_str(), lease["port"].as_u64()) else {
            known.wrong.push(format!("{answer:?}"));
            return;
        };
        if known.leases.values().any(|other| *other == port) {
            known.wrong.push(format!("port {port} is leased twice"));
        }
        known.granted += 1;
        known.leases.insert(id.to_owned(), port);
        let allocation = answer.json()["allocation"].as_str().unwrap().to_owned();
        known.allocations.insert(allocation, port);
    });
    Some(())
}

/// Clients at work until the service is gone.
fn under_load(log: &Arc<Log>, server: &Server, seed: u64) -> Vec<std::thread::JoinHandle<()>> {
    let client = |number| {
        let (log, socket) = (Arc::clone(log), server.socket());
        let rng = fastrand::Rng::with_seed(seed * CLIENTS + number);
        std::thread::spawn(move || be_a_client(&log, &socket, rng))
    };
    (0..CLIENTS).map(client).collect()
}

fn join(clients: Vec<std::thread::JoinHandle<()>>) {
    for client in clients {
        client.join().unwrap();
    }
}

/// The living leases of the default pool, as id and port.
fn on_record(server: &Server) -> BTreeMap<String, u64> {
    let leases = server.living("default");
    leases
        .iter()
        .map(|lease| {
            let id = lease["id"].as_str().unwrap().to_owned();
            (id, lease["port"].as_u64().unwrap())
        })
        .collect()
}

/// Compares the knowledge of the clients with a restarted service; returns the leases that no client
/// was told of.
fn assert_nothing_lost(log: &Log, server: &Server, place: &Place) -> BTreeMap<String, u64> {
    let mut record = on_record(server);
    let ports: BTreeSet<u64> = record.values().copied().collect();
    assert_eq!(
        ports.len(),
        record.len(),
        "a port is leased twice: {record:?}"
    );
    for port in &place.ports {
        let leased = ports.contains(&u64::from(*port));
        assert!(!leased || is_kept(*port), "{port} is leased and not held");
        // Another process may be on it for a moment; a leaked hold stays.
        if !leased {
            until_free(*port);
        }
    }
    assert_attempts_are_there_once(log, server);
    let mut known = log.known();
    assert_eq!(known.wrong, [""; 0]);
    for (id, port) in &known.leases {
        let found = record.remove(id);
        assert_eq!(found, Some(*port), "lease {id} was acknowledged");
    }
    for id in &known.released {
        assert_eq!(record.get(id), None, "lease {id} was released");
    }
    for id in std::mem::take(&mut known.unsure) {
        // Its fate is known now.
        match record.remove(&id) {
            Some(port) => drop(known.leases.insert(id, port)),
            None => drop(known.released.insert(id)),
        }
    }
    record
}

/// Every acknowledged allocation has the bind of its port on record, and no attempt twice.
fn assert_attempts_are_there_once(log: &Log, server: &Server) {
    let acknowledged = std::mem::take(&mut log.known().allocations);
    for (allocation, port) in acknowledged {
        let record = server.get(&format!("/api/v1/allocations/{allocation}"));
        let attempts = record.json()["attempts"].as_array().unwrap().clone();
        let got = |it: &Value| it["outcome"] == "bound" || it["outcome"] == "lingering";
        let bound = attempts.iter().any(|it| it["port"] == port && got(it));
        assert!(bound, "{allocation}: {attempts:?}");
        let binds: BTreeSet<String> = attempts
            .iter()
            .map(|it| format!("{} {} {}", it["at"], it["address"], it["port"]))
            .collect();
        assert_eq!(binds.len(), attempts.len(), "{allocation}: {attempts:?}");
    }
}

fn release_unheard(server: &Server, unheard: &BTreeMap<String, u64>) {
    for id in unheard.keys() {
        let answer = server.release(id);
        assert_eq!(answer.status, 204, "{answer:?}");
    }
}

/// The step that is slowed down in this round, so that the kill hits it: none, the start or the middle
/// of the commit, or the answer.
fn slowed_down(server: &Server, round: u64) -> Option<Fault> {
    let test = "kills in the middle of commits and answers";
    match round % 4 {
        0 => None,
        1 => Fault::delay(server, "pwrite64", 1_000, test),
        2 => Fault::delay(server, "fdatasync", 15_000, test),
        _ => Fault::delay(server, "sendto", 15_000, test),
    }
}

#[test]
fn kills_under_load_lose_nothing_that_was_acknowledged() {
    let mut place = Place::with_ports(PORTS);
    // The tables are filled all the time, so that kills come in the middle of that too.
    place.set("PORTBOOK_STORE__BATCH_MAX", "3");
    let log = Arc::new(Log::default());
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut unheard_of = 0;
    let kills = kills();
    for round in 0..kills {
        let server = place.serve();
        let unheard = assert_nothing_lost(&log, &server, &place);
        unheard_of += unheard.len();
        release_unheard(&server, &unheard);

        let fault = slowed_down(&server, round);
        let clients = under_load(&log, &server, SEED + round);
        log.wait_for(rng.u64(5..40));
        // A random pause, so that the kill comes at any point between two answers.
        std::thread::sleep(Duration::from_micros(rng.u64(..5_000)));
        server.kill();
        join(clients);
        drop(fault);
    }
    let server = place.serve();
    unheard_of += assert_nothing_lost(&log, &server, &place).len();
    let known = log.known();
    eprintln!(
        "{kills} kills: {} leases acknowledged, {} released, {} living, {unheard_of} granted but not answered",
        known.granted,
        known.released.len(),
        known.leases.len()
    );
    assert!(known.granted > kills && !known.released.is_empty() && !known.leases.is_empty());
}

#[test]
fn a_clean_stop_under_load_answers_what_is_under_way() {
    let place = Place::with_ports(PORTS);
    let log = Arc::new(Log::default());
    for round in 0..3 {
        let server = place.serve();
        let clients = under_load(&log, &server, SEED + round);
        log.wait_for(40);
        let status = server.stop();
        join(clients);
        assert_eq!(status.code(), Some(0));
        let server = place.serve();
        let unheard = assert_nothing_lost(&log, &server, &place);
        assert_eq!(unheard, BTreeMap::new(), "granted, but not answered");
        assert!(server.stop().success());
    }
}

/// A process cannot be reaped while strace still holds one of its threads.
fn kill_held_up(server: Server, fault: Fault) {
    server.signal(Signal::KILL);
    drop(fault);
    server.kill();
}

/// Sends one request from its own thread; the answer may never come.
fn ask_aside(server: &Server, body: Value) -> std::thread::JoinHandle<bool> {
    let socket = server.socket();
    std::thread::spawn(move || ask(&socket, "POST", LEASES, Some(&body)).is_some())
}

#[test]
fn killed_between_bind_and_commit_nothing_was_granted() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let test = "a kill between bind and commit";
    let Some(fault) = Fault::hold_up(&server, "pwrite64", test) else {
        return;
    };
    // A named one would look for its last port in tables that the held up write fills.
    let asked = ask_aside(&server, json!({}));
    fault.wait_for("pwrite64(");
    // Another write, such as that of a snapshot, may be held up first; then the commit waits as well.
    eventually("it is bound before the commit", || {
        is_kept(place.ports[0]).then_some(())
    });
    kill_held_up(server, fault);
    assert!(!asked.join().unwrap(), "it was answered before the commit");

    let server = place.serve();
    assert_eq!(on_record(&server), BTreeMap::new());
    assert!(is_free(place.ports[0]));
}

#[test]
fn killed_between_commit_and_answer_the_lease_is_there() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let test = "a kill between commit and answer";
    let Some(fault) = Fault::hold_up(&server, "sendto", test) else {
        return;
    };
    let asked = ask_aside(&server, json!({ "name": "web" }));
    fault.wait_for("HTTP/1.1 201");
    kill_held_up(server, fault);
    assert!(!asked.join().unwrap());

    let server = place.serve();
    let record = on_record(&server);
    let port = u64::from(place.ports[0]);
    assert_eq!(record.values().collect::<Vec<_>>(), [&port]);
    assert!(is_kept(place.ports[0]));
    let again = server.allocate(&json!({ "name": "web" }));
    assert_eq!(
        (again.status, &again.json()["created"]),
        (200, &json!(false))
    );
    assert!(record.contains_key(again.json()["leases"][0]["id"].as_str().unwrap()));
}

#[test]
fn full_disk_grants_nothing_and_ends_what_is_released() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let before = server.allocate(&json!({})).json();
    let path = format!("{LEASES}/{}", before["leases"][0]["id"].as_str().unwrap());
    let Some(fault) = Fault::fail(&server, "pwrite64", "ENOSPC", "", "a full disk") else {
        return;
    };
    for body in [json!({}), json!({ "name": "web" })] {
        let refused = server.allocate(&body);
        assert_eq!(refused.status, 503, "{refused:?}");
        assert_eq!(refused.json()["code"], "store_unavailable");
        assert!(refused.head.contains("retry-after"), "{}", refused.head);
        assert!(is_free(place.ports[1]), "its port was let go");
    }
    assert_eq!(server.get(&path).json()["state"], "handed");
    assert!(is_kept(place.ports[0]));
    assert_eq!(server.api("DELETE", &path, None).status, 204);
    assert_eq!(server.get(&path).json()["state"], "released");
    assert!(is_free(place.ports[0]));

    drop(fault);
    // The grant has the release in its commit.
    let granted = server.allocate(&json!({}));
    assert_eq!(granted.status, 201, "{granted:?}");
    assert_eq!(granted.json()["leases"][0]["port"], place.ports[0]);
    let living = on_record(&server);
    server.kill();
    assert_eq!(on_record(&place.serve()), living);
}

#[test]
fn busy_ports_are_skipped_recorded_and_cooled_down() {
    let place = Place::with_ports(5);
    let server = place.serve();
    let port = |answer: Value| answer["leases"][0]["port"].clone();
    let busy = Fault::fail(&server, "bind", "EADDRINUSE", ":when=1..3", "busy ports");
    let Some(busy) = busy else {
        return;
    };
    let granted = server.allocate(&json!({})).json();
    drop(busy);
    assert_eq!(granted["attempt_count"], 4, "{granted}");
    assert_eq!(port(granted), place.ports[3]);
    let attempts = server.get("/api/v1/attempts?outcome=in_use");
    let attempts = attempts.json();
    let refused: Vec<(&Value, &Value)> = attempts["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| (&attempt["port"], &attempt["errno"]))
        .collect();
    let ports = [2, 1, 0].map(|nth| json!(place.ports[nth]));
    let errno = json!(98);
    let expected: Vec<(&Value, &Value)> = ports.iter().map(|port| (port, &errno)).collect();
    assert_eq!(refused, expected, "newest first");

    // They are free but cool down: the last port comes first, then they.
    let next = [0, 1].map(|_| port(server.allocate(&json!({})).json()));
    assert_eq!(
        next,
        [place.ports[4], place.ports[0]].map(|port| json!(port))
    );
}

#[test]
fn refusal_of_every_port_is_tried_once() {
    for (error, status, code) in [
        ("EACCES", 403, "privileged_port"),
        ("EADDRNOTAVAIL", 422, "address_not_available"),
        ("ENOMEM", 503, "host_error"),
    ] {
        let place = Place::with_ports(5);
        let server = place.serve();
        let Some(fault) = Fault::fail(&server, "bind", error, "", "binds that fail") else {
            return;
        };
        let refused = server.allocate(&json!({}));
        drop(fault);
        assert_eq!(refused.status, status, "{refused:?}");
        assert_eq!(refused.json()["code"], code);
        let attempts = server.get("/api/v1/attempts?limit=10").json();
        let of_pool = attempts["attempts"].as_array().unwrap().iter();
        let ports: Vec<&Value> = of_pool
            .filter(|attempt| attempt["pool"] == "default")
            .map(|attempt| &attempt["port"])
            .collect();
        assert_eq!(ports, [&json!(place.ports[0])], "{error}");
        assert_eq!(server.allocate(&json!({})).status, 201);
    }
}

/// A second service is refused while one lives, and not because of one that was killed.
#[test]
fn the_lock_of_a_killed_service_is_free() {
    let place = Place::with_ports(1);
    let server = place.serve();
    let second = place.run(&["serve"]);
    assert_eq!(second.status.code(), Some(1));
    let said = crate::support::text(&second.stderr);
    assert!(said.contains(&server.child.id().to_string()), "{said}");
    server.signal(Signal::KILL);
    drop(server);
    assert!(place.serve().stop().success());
}
