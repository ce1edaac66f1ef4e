//! A group of hosts with their clients, the engine between them, and what they suffer.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::super::drill::course::Course;
use super::super::{place_with, reaches, status};
use super::account::Grant;
use super::client::Client;
use super::fault::{Deck, Fault, OF_LINKS, OF_MEMBERS, harm_links, harm_members};
use super::judge;
use super::links::Links;
use super::members::Members;
use super::watch::Watch;
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

/// Time after which all names are published that are to be: hosts that come back wait for a session's time at
/// most, and send twice a second.
const PUBLISHED: Duration = Duration::from_secs(30);

/// Time after which claims of lost commits are withdrawn: such a commit counts as one that may still be done for
/// two minutes, and is looked for every half of one.
const WITHDRAWN: Duration = Duration::from_secs(150);

/// The hosts, and the engine between them.
pub struct Group {
    pub watch: Watch,
    clients: Vec<Client>,
    decks: [Deck; 2],
    servers: Vec<Server>,
    _places: Vec<Place>,
    links: Vec<Links>,
    members: Members,
}

impl Group {
    /// Starts all. `None`, reported on stderr, if etcd is not installed.
    pub fn start(test: &str, seed: u64, longest: Duration) -> Option<Self> {
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
        let places = HOSTS.map(|(name, address, session, is_linked)| {
            let mut engine = members.console.endpoints();
            if is_linked {
                let own = Links::start(&members.console.ports);
                engine = own.addresses();
                links.push(own);
            }
            place(&engine, [name, address, session], &numbers)
        });
        let servers: Vec<Server> = places.iter().map(Place::serve).collect();
        for server in &servers {
            reaches(server, "joined");
        }
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut deck = |faults| Deck::new(faults, longest, rng.fork());
        let decks = [deck(&OF_MEMBERS), deck(&OF_LINKS)];
        Some(Self {
            watch: Watch::new(&members.console, &servers),
            clients: clients(&servers, &mut rng),
            decks,
            servers,
            _places: places.into(),
            links,
            members,
        })
    }

    /// Does a number of faults, and compares all after each batch.
    pub fn run(&mut self, faults: usize) {
        let mut left = faults;
        while left > 0 {
            let batch = left.min(BATCH);
            self.suffer(batch);
            self.watch.check();
            self.settle();
            left -= batch;
        }
    }

    /// Does a batch of faults while clients send requests: those of members beside those of links.
    fn suffer(&mut self, faults: usize) {
        let of_members = faults * OF_MEMBERS.len() / (OF_MEMBERS.len() + OF_LINKS.len());
        let of_links = faults - of_members;
        let [to_members, to_links] = &mut self.decks;
        let (members, links, watch) = (&mut self.members, &mut self.links, &self.watch);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _end = End(&is_over);
            for client in &mut self.clients {
                scope.spawn(|| client.serve(&watch.account, &is_over));
            }
            let other = scope.spawn(|| {
                suffer_each(watch, to_links, of_links, |fault, deck| {
                    let host = deck.rng.usize(..links.len());
                    harm_links(&mut links[host], &watch.console, fault, deck);
                });
            });
            suffer_each(watch, to_members, of_members, |fault, deck| {
                harm_members(members, fault, deck);
            });
            other.join().unwrap();
        });
    }

    /// Waits until the engine has what the clients were told, and nothing else, and compares the leases.
    fn settle(&self) {
        for server in &self.servers {
            reaches(server, "joined");
        }
        let held = self.watch.held();
        let waiting = Course::begin(WITHDRAWN);
        loop {
            let keys = self.watch.console.keys();
            self.watch.lose(judge::missing(&held, &keys));
            self.watch.check();
            let names = judge::unpublished(&held, &keys);
            let claims = judge::left_over(&held, &keys);
            if names.is_empty() && claims.is_empty() {
                break;
            }
            assert!(
                names.is_empty() || waiting.elapsed() < PUBLISHED,
                "{names:#?}"
            );
            assert!(!waiting.left().is_zero(), "{claims:#?}");
            thread::sleep(Duration::from_millis(200));
        }
        for (server, (host, ..)) in self.servers.iter().zip(HOSTS) {
            compare_leases(server, host, &held);
        }
        self.watch
            .tell(&format!("settled within {:.1?}", waiting.elapsed()));
    }
}

/// Ends the clients, whatever becomes of the faults.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Does faults one after the other, and compares after each, until something is wrong.
fn suffer_each(
    watch: &Watch,
    deck: &mut Deck,
    faults: usize,
    mut harm: impl FnMut(Fault, &mut Deck),
) {
    for _ in (0..faults).take_while(|_| watch.is_right()) {
        thread::sleep(deck.pause());
        let fault = deck.draw();
        harm(fault, deck);
        watch.look(fault);
    }
}

/// Compares the leases of a host with what its clients were told.
fn compare_leases(server: &Server, host: &str, held: &[Grant]) {
    let own = held.iter().filter(|grant| grant.host == host);
    let own = own.filter(|grant| grant.token.is_some());
    let mut told: Vec<_> = own.map(|one| (&*one.lease, one.port, false)).collect();
    told.sort_unstable();
    let leases = server.living("edge");
    let living = leases.iter().filter_map(|lease| {
        let is_lost = lease["state"] == "lost";
        Some((lease["id"].as_str()?, lease["port"].as_u64()?, is_lost))
    });
    let mut living: Vec<_> = living.collect();
    living.sort_unstable();
    assert_eq!(told, living, "leases of {host}");
    let claims = &status(server)["claims"];
    assert_eq!(claims["lost"], 0, "{claims}");
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
