//! Faults of the engine while requests are under way: nothing that was acknowledged is lost or given twice.
//!
//! Three hosts share numbers that do not suffice. Two of them reach three members of etcd through proxies that
//! break connections, most of all after a commit is done and before its answer is passed on; the third one
//! reaches them directly. Members are killed, stopped and compacted meanwhile. Clients of all hosts take and give
//! back numbers and names, and keep account. It is compared with the engine after each fault, and entirely
//! whenever a batch of faults is over.
//!
//! The long form takes a number of faults and a seed: `PORTBOOK_FAULTS=200 PORTBOOK_FAULTS_SEED=1 cargo test
//! --features fleet --test it -- --ignored fleet::faults --nocapture`.

mod account;
mod client;
mod fault;
mod frame;
mod judge;
mod links;
mod members;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use account::Account;
use client::Client;
use fault::{Deck, Fault, OF_LINKS, OF_MEMBERS, harm_links, harm_members};
use links::Links;
use members::Members;

use super::drill::course::Course;
use super::{place_with, reaches, status};
use crate::host::skipped;
use crate::support::{Place, Server, ports, ranges};

/// Hosts with their addresses, their session times, and whether their connections break.
const HOSTS: [(&str, &str, &str, bool); 3] = [
    ("one", "127.0.0.1", "2s", true),
    ("two", "127.0.0.2", "5s", true),
    ("three", "127.0.0.3", "3s", false),
];

/// Number of unique numbers, and of clients of each host, which want some more.
const PORTS: usize = 40;
const CLIENTS: usize = 3;

/// Number of faults after which all is compared: each kind twice.
const BATCH: usize = 2 * (OF_MEMBERS.len() + OF_LINKS.len());

/// Number of faults of a long run unless another one is asked for.
const LONG: usize = 200;

/// Time in which names are published, and claims of lost commits are withdrawn. A commit counts as one that
/// may still be done for two minutes, and is looked for every half of one.
const SETTLED: Duration = Duration::from_secs(150);

/// Hosts with their clients, and the engine between them.
struct Fleet {
    members: Members,
    links: Vec<Links>,
    _places: Vec<Place>,
    servers: Vec<Server>,
    clients: Vec<Client>,
    decks: [Deck; 2],
    account: Mutex<Account>,
    done: Mutex<BTreeMap<Fault, usize>>,
    course: Course,
    is_told: bool,
}

impl Fleet {
    /// `None`, reported on stderr, if etcd is not installed.
    fn start(test: &str, seed: u64, is_told: bool) -> Option<Self> {
        for tool in ["etcd", "etcdctl"] {
            let mut command = Command::new(tool);
            command.arg("--help");
            command.stdout(Stdio::null()).stderr(Stdio::null());
            if command.status().is_err() {
                skipped(test, &format!("{tool} is not installed"));
                return None;
            }
        }
        let members = Members::start();
        let numbers = ports(PORTS);
        let mut links = Vec::new();
        let places: Vec<Place> = HOSTS
            .map(|(name, address, session, is_proxied)| {
                let mut engine = members.console.endpoints();
                if is_proxied {
                    let own = Links::start(&members.console.ports);
                    engine = own.addresses();
                    links.push(own);
                }
                place(&engine, [name, address, session], &numbers)
            })
            .into();
        let servers: Vec<Server> = places.iter().map(Place::serve).collect();
        for server in &servers {
            reaches(server, "joined");
        }
        let mut rng = fastrand::Rng::with_seed(seed);
        Some(Self {
            clients: clients(&servers, &mut rng),
            decks: [
                Deck::new(&OF_MEMBERS, rng.fork()),
                Deck::new(&OF_LINKS, rng.fork()),
            ],
            members,
            links,
            _places: places,
            servers,
            account: Mutex::default(),
            done: Mutex::default(),
            course: Course::begin(Duration::MAX),
            is_told,
        })
    }

    /// Does a number of faults, and compares all after each batch.
    fn run(&mut self, faults: usize) {
        let mut left = faults;
        while left > 0 {
            let batch = left.min(BATCH);
            self.suffer(batch);
            self.settle();
            left -= batch;
        }
    }

    /// Does a batch of faults while clients send requests.
    fn suffer(&mut self, faults: usize) {
        let of_members = faults * OF_MEMBERS.len() / (OF_MEMBERS.len() + OF_LINKS.len());
        let console = self.members.console.clone();
        let (is_over, account) = (AtomicBool::new(false), &self.account);
        let [to_members, to_links] = &mut self.decks;
        let (members, links) = (&mut self.members, &mut self.links);
        let noted = |fault| {
            let mut done = self.done.lock().unwrap();
            *done.entry(fault).or_default() += 1;
            if self.is_told {
                let (count, time) = (done.values().sum::<usize>(), self.course.elapsed());
                tell(&format!("{:7.1} s  {count} {fault:?}", time.as_secs_f64()));
            }
        };
        let look = |fault| {
            let before = account.lock().unwrap().held();
            let keys = console.keys();
            let mut account = account.lock().unwrap();
            let after = account.held();
            let both: Vec<_> = before
                .into_iter()
                .filter(|one| after.contains(one))
                .collect();
            account.lose(judge::missing(&both, &keys));
            noted(fault);
        };
        let is_right = || account.lock().unwrap().wrongs.is_empty();
        thread::scope(|scope| {
            for client in &mut self.clients {
                scope.spawn(|| client.serve(account, &is_over));
            }
            let other = scope.spawn(|| {
                for _ in (of_members..faults).take_while(|_| is_right()) {
                    thread::sleep(to_links.time(0, 500));
                    let fault = to_links.draw();
                    let host = to_links.rng.usize(..links.len());
                    harm_links(&mut links[host], &console, fault, to_links);
                    look(fault);
                }
            });
            let own = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in (0..of_members).take_while(|_| is_right()) {
                    thread::sleep(to_members.time(0, 500));
                    let fault = to_members.draw();
                    harm_members(members, fault, to_members);
                    look(fault);
                }
            }));
            let other = other.join();
            is_over.store(true, Ordering::SeqCst);
            own.and(other).unwrap();
        });
        self.check();
    }

    /// Waits until the engine has what the clients were told, and nothing else, and compares the leases.
    fn settle(&self) {
        for server in &self.servers {
            reaches(server, "joined");
        }
        let held = self.account.lock().unwrap().held();
        let waiting = Course::begin(SETTLED);
        loop {
            let keys = self.members.console.keys();
            self.account
                .lock()
                .unwrap()
                .lose(judge::missing(&held, &keys));
            self.check();
            let unsettled = judge::unsettled(&held, &keys);
            if unsettled.is_empty() {
                break;
            }
            assert!(!waiting.left().is_zero(), "{unsettled:#?}");
            thread::sleep(Duration::from_millis(200));
        }
        for (server, (host, ..)) in self.servers.iter().zip(HOSTS) {
            let own = held.iter().filter(|grant| grant.host == host);
            let own = own.filter(|grant| grant.token.is_some());
            let mut told: Vec<_> = own.map(|one| (one.lease.clone(), one.port)).collect();
            told.sort_unstable();
            let leases = server.living("edge");
            assert!(
                leases.iter().all(|one| one["state"] != "lost"),
                "{leases:#?}"
            );
            let has = |one: &serde_json::Value| {
                Some((one["id"].as_str()?.to_owned(), one["port"].as_u64()?))
            };
            let mut living: Vec<_> = leases.iter().filter_map(has).collect();
            living.sort_unstable();
            assert_eq!(told, living, "leases of {host}");
            let claims = &status(server)["claims"];
            assert_eq!(claims["lost"], 0, "{claims}");
        }
        if self.is_told {
            let (time, waited) = (self.course.elapsed(), waiting.elapsed());
            tell(&format!(
                "{:7.1} s  settled within {waited:.1?}",
                time.as_secs_f64()
            ));
        }
    }

    /// Fails with the lines of all logs that matter if anything went wrong.
    fn check(&self) {
        let account = self.account.lock().unwrap();
        if account.wrongs.is_empty() {
            return;
        }
        for (server, (host, ..)) in self.servers.iter().zip(HOSTS) {
            tell(&format!("log of {host}:\n{}", server.log()));
        }
        panic!("{:#?}", account.wrongs);
    }

    fn told_in_logs(&self, text: &str) -> usize {
        let logs = self.servers.iter().map(Server::log);
        logs.map(|log| log.matches(text).count()).sum()
    }

    fn tell(&self, title: &str) {
        let account = self.account.lock().unwrap();
        let done = self.done.lock().unwrap();
        let Account {
            granted,
            released,
            named,
            refused,
            doubled,
            lost,
            ..
        } = &*account;
        let total: usize = done.values().sum();
        let ended = self.told_in_logs("the session of this host in the fleet has ended");
        let alone = self.told_in_logs("fleet: alone");
        tell(&format!(
            "{title}: {total} faults {done:?} in {:.0?}; {granted} unique numbers and {named} names granted, {released} leases released, refused {refused:?}; {ended} sessions ended, hosts alone {alone} times; {lost} lost, {doubled} doubled",
            self.course.elapsed()
        ));
    }
}

fn place(engine: &str, [name, address, session]: [&str; 3], numbers: &[u16]) -> Place {
    let mut place = place_with(engine, name);
    place.set("PORTBOOK_FLEET__SESSION", session);
    for (variable, value) in [
        ("RANGES", ranges(numbers).as_str()),
        ("INTERFACES", address),
        ("STRATEGY", "ordered"),
        ("FLEET", "unique"),
        ("RECLAIM", "manual"),
    ] {
        place.set(&format!("PORTBOOK_POOLS__EDGE__{variable}"), value);
    }
    place
}

fn clients(servers: &[Server], rng: &mut fastrand::Rng) -> Vec<Client> {
    let mut clients = Vec::new();
    for (server, (host, ..)) in servers.iter().zip(HOSTS) {
        for number in 0..CLIENTS {
            clients.push(Client::new(host, server.socket(), number, rng.fork()));
        }
    }
    clients
}

fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

#[test]
fn acknowledged_claims_and_names_outlive_every_fault_of_the_engine() {
    let Some(mut fleet) = Fleet::start("faults of the engine", 1, false) else {
        return;
    };
    fleet.run(OF_MEMBERS.len() + OF_LINKS.len());
    fleet.tell("each fault once");
    let done = fleet.done.lock().unwrap();
    assert_eq!(done.len(), OF_MEMBERS.len() + OF_LINKS.len(), "{done:?}");
}

#[test]
#[ignore = "takes ten minutes: see the head of this file"]
fn acknowledged_claims_and_names_outlive_random_faults() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("PORTBOOK_FAULTS_SEED").unwrap_or(1);
    let faults = number("PORTBOOK_FAULTS").map_or(LONG, |count| count.try_into().unwrap());
    let Some(mut fleet) = Fleet::start("many faults of the engine", seed, true) else {
        return;
    };
    fleet.run(faults);
    fleet.tell(&format!("seed {seed}"));
}
