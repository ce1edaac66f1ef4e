//! Take-overs that are killed at random moments, under load and with a thief that binds: no port is let
//! go of, no request is refused, no lease is lost.
//!
//! `PORTBOOK_MOMENTS` sets their number, `PORTBOOK_SEED` the random numbers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Place, Server, ask, port};
use crate::takeover::with_reserved_names;

const LEASES: &str = "/api/v1/leases";

/// Names whose ports the thief tries.
const NAMES: usize = 10;

/// Clients that allocate and release all the time.
const CLIENTS: usize = 4;

/// Moments unless the environment sets another number.
const MOMENTS: usize = 12;

/// Longest time from the start of the first successor to its end, in microseconds. Later ones have more
/// time after one that was killed and less after one that answered, so that most moments fall into the
/// take-over, however fast this machine is.
const LONGEST_US: u64 = 60_000;

/// Tries to bind ports, strictly and with SO_REUSEADDR, as fast as it can. Prints the ports that it got,
/// and the number of its tries, for every line that it reads.
const THIEF: &str = r#"
import select, socket, sys
ports, won, tried = [int(port) for port in sys.argv[1:]], [], 0
print("ready", flush=True)
while True:
    for port in ports:
        for reuse in (0, 1):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
                tried += 1
                try:
                    s.bind(("127.0.0.1", port))
                    won.append(port)
                except OSError:
                    pass
    if select.select([sys.stdin], [], [], 0)[0]:
        if not sys.stdin.readline():
            break
        print(len(won), tried, flush=True)
"#;

struct Thief {
    child: Child,
    ask: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Thief {
    fn of(ports: impl Iterator<Item = u16>) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", THIEF])
            .args(ports.map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut thief = Self { child, ask, said };
        assert_eq!(thief.hear(), "ready");
        thief
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Numbers of ports that it got, and of its tries.
    fn won_of(&mut self) -> (usize, usize) {
        writeln!(self.ask, "now").unwrap();
        let line = self.hear();
        let (won, tried) = line.split_once(' ').unwrap();
        (won.parse().unwrap(), tried.parse().unwrap())
    }
}

impl Drop for Thief {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients and what they heard.
#[derive(Default)]
struct Load {
    ends: AtomicBool,
    served: AtomicUsize,
    refused: Mutex<Vec<String>>,
    /// Leases that were granted and not released, with their ports.
    kept: Mutex<BTreeMap<String, u16>>,
}

impl Load {
    /// One client: it keeps one lease in ten.
    fn run(&self, socket: &std::path::Path) {
        let mut count = 0_u64;
        while !self.ends.load(Relaxed) {
            count += 1;
            let Some((id, port)) = self.granted(socket) else {
                continue;
            };
            if count.is_multiple_of(10) && self.kept.lock().unwrap().len() < 60 {
                self.kept.lock().unwrap().insert(id, port);
                continue;
            }
            let path = format!("{LEASES}/{id}");
            match ask(socket, "DELETE", &path, None) {
                Some(answer) if answer.status == 204 => drop(self.served.fetch_add(1, Relaxed)),
                other => self.refused.lock().unwrap().push(format!("{other:?}")),
            }
        }
    }

    fn granted(&self, socket: &std::path::Path) -> Option<(String, u16)> {
        let answer = ask(socket, "POST", LEASES, Some(&json!({"ttl": "1h"})));
        let Some(answer) = answer.filter(|answer| answer.status == 201) else {
            self.refused.lock().unwrap().push("a grant".into());
            return None;
        };
        self.served.fetch_add(1, Relaxed);
        let lease = &answer.json()["leases"][0];
        Some((lease["id"].as_str().unwrap().to_owned(), port(lease)))
    }
}

fn setting(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

fn named(server: &Server) -> BTreeMap<String, u16> {
    let leases = server.living("default").into_iter();
    let named = leases.filter(|lease| lease["name"].is_string());
    let entry = |lease: Value| (lease["name"].as_str().unwrap().to_owned(), port(&lease));
    named.map(entry).collect()
}

/// Starts a successor and kills it after a while. Returns the service that goes on, and whether it is the
/// successor, which was so fast that it answered.
fn interrupted(place: &Place, mut first: Server, after: Duration) -> (Server, bool) {
    let mut command = place.command();
    command.args(["serve", "--takeover"]);
    let mut second = Server::spawn(command, &place.data_dir());
    let pid = Pid::from_child(&second);
    std::thread::sleep(after);
    // Stopped first: then it does nothing while its state is looked at.
    kill_process(pid, Signal::STOP).unwrap();
    // It signs when it is told that its predecessor answers no more, before it answers.
    let lock = std::fs::read_to_string(place.data_dir().join("lock")).unwrap();
    if lock.lines().next() == Some(&second.id().to_string()) {
        kill_process(pid, Signal::CONT).unwrap();
        let next = Server::of(second, &place.data_dir());
        assert!(first.child.wait().unwrap().success());
        return (next, true);
    }
    second.kill().unwrap();
    second.wait().unwrap();
    let status = ask(&first.socket(), "GET", "/api/v1/status", None);
    assert!(
        status.is_some(),
        "no service after {after:?}: {}",
        first.log()
    );
    assert!(first.child.try_wait().unwrap().is_none(), "{}", first.log());
    (first, false)
}

#[test]
fn takeover_killed_at_random_moments_lets_go_of_nothing() {
    let place = Place::with_ports(100);
    let mut server = with_reserved_names(&place, NAMES);
    let names = named(&server);
    let mut thief = Thief::of(names.values().copied());
    let (load, socket) = (Arc::new(Load::default()), server.socket());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (load, socket) = (Arc::clone(&load), socket.clone());
            std::thread::spawn(move || load.run(&socket))
        })
        .collect();
    let seed = setting("PORTBOOK_SEED", 20_261_130);
    let mut rng = fastrand::Rng::with_seed(seed as u64);
    let (moments, mut succeeded) = (setting("PORTBOOK_MOMENTS", MOMENTS), 0);
    let mut longest = LONGEST_US;
    for _ in 0..moments {
        let after = Duration::from_micros(rng.u64(0..longest));
        let (next, is_successor) = interrupted(&place, server, after);
        server = next;
        succeeded += usize::from(is_successor);
        longest = if is_successor {
            longest - longest / 8
        } else {
            longest + longest / 40
        };
    }
    load.ends.store(true, Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    let (won, tried) = thief.won_of();
    let refused = load.refused.lock().unwrap();
    let living = server.living("default");
    let living: BTreeMap<&str, u16> = living
        .iter()
        .map(|it| (it["id"].as_str().unwrap(), port(it)))
        .collect();
    let kept = load.kept.lock().unwrap();
    let lost = kept
        .iter()
        .filter(|(id, port)| living.get(id.as_str()) != Some(port))
        .count();
    eprintln!(
        "{moments} moments (seed {seed}), {} killed, {succeeded} answered, {} requests served, {} refused, \
         {} leases kept, {lost} lost, thief: {won} of {tried} binds",
        moments - succeeded,
        load.served.load(Relaxed),
        refused.len(),
        kept.len(),
    );
    assert_eq!((won, lost), (0, 0));
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(named(&server), names);
    assert_eq!(living.len(), NAMES + kept.len());
}
