//! The crowd: thousands of hosts in one process, on one real etcd.
//!
//! Each host has connections of its own, and portbook's own session, names, claims, sweep, watch of reserved
//! numbers, followers and sharing of busy ports, with their times. Simulated are the rest of its service: leases and
//! records are books in memory ([`ground`]), no kernel has a fence, and the loop ([`host`]) is a shorter one. All hosts
//! share one thread, and one clock.
//!
//! The small form is one of the ordinary tests. The large one is told a number of hosts, and tells figures beside
//! those that were reckoned for 5,000: `PORTBOOK_CROWD_HOSTS=5000 cargo test --release --features fleet --lib --
//! --ignored fleet::crowd --nocapture`. It needs some gigabytes of memory, and four descriptors a host.

mod course;
mod ground;
mod host;
mod report;
pub mod server;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use course::{Course, Pace};
use ground::Books;
use host::{Host, NAMES, Order, State};
use server::Server;
use tally::Tally;

use super::claim::Claimant;
use super::connect::connect;
use super::counter::Standing;
use super::etcd::Etcd;
use super::everywhere::Everywhere;
use super::key::Keys;
use super::names::Published;
use super::session::{Identity, Session};
use super::sweep::Sweeper;
use super::sweeping::Sweeping;
use crate::config::{self, Fleet, Sources};
use crate::domain::event::Event;
use crate::domain::fleet::HostName;
use crate::host::clock::Clock;
use crate::host::kernel::raise_fd_limit;
use crate::store::FleetRecord;

/// Most hosts: their unique numbers are different ports.
const MOST: u16 = 20_000;

/// A host as the course of the test has it.
struct Seat {
    name: HostName,
    engine: Etcd,
    orders: mpsc::Sender<Order>,
    standing: watch::Receiver<Standing>,
}

/// Hosts with their engine.
struct Crowd {
    server: Server,
    settings: Fleet,
    keys: Keys,
    clock: Clock,
    tally: Arc<Tally>,
    seats: Vec<Seat>,
    tasks: JoinSet<()>,
    /// Journal of all hosts, in which nothing happens.
    events: broadcast::Sender<Event>,
    folder: TempDir,
}

impl Crowd {
    /// `None`, reported on stderr, if this machine has no etcd.
    async fn prepare(test: &str, session: Duration, has_tls: bool) -> Option<Self> {
        raise_fd_limit().unwrap();
        let server = Server::start(test, has_tls).await?;
        let folder = TempDir::new().unwrap();
        let settings = settings(&server, session, &folder);
        Some(Self {
            keys: Keys::new(&settings.prefix),
            server,
            settings,
            clock: Clock::system(),
            tally: Arc::default(),
            seats: Vec::new(),
            tasks: JoinSet::new(),
            events: broadcast::channel(16).0,
            folder,
        })
    }

    /// Has one more host join after a wait.
    async fn seat(&mut self, index: u16, wait: Duration) {
        let engine = connect(&self.settings).await.unwrap();
        let (orders, receiver) = mpsc::channel(64);
        let host = self.host(index, engine.clone());
        let standing = host.standing.subscribe();
        let name = host.identity.host.clone();
        self.accompany(&name, &engine, &standing);
        self.seats.push(Seat {
            name,
            engine,
            orders,
            standing,
        });
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            Box::pin(host.live(receiver)).await;
        });
    }

    /// Starts what a host does beside its loop.
    fn accompany(&mut self, name: &HostName, engine: &Etcd, standing: &watch::Receiver<Standing>) {
        let (engine, keys, host) = (engine.clone(), self.keys.clone(), name.clone());
        let sweeper = Sweeper { engine, keys, host };
        let everywhere = Everywhere::new(
            sweeper.engine.clone(),
            self.keys.clone(),
            name.clone(),
            Books::default(),
        );
        let (clock, session) = (self.clock.clone(), self.settings.session);
        let sweeping = Sweeping::new(sweeper, clock, session);
        self.tasks.spawn(sweeping.serve(standing.clone()));
        let events = self.events.subscribe();
        self.tasks.spawn(everywhere.serve(standing.clone(), events));
    }

    fn host(&self, index: u16, engine: Etcd) -> Host {
        let [high, low] = index.to_be_bytes();
        let identity = Identity {
            host: name(index),
            boot: "3f0c9e0a-6f0b-4a54-8f0e-1f6f6a3f2b11".to_owned(),
            addresses: vec![[10, 0, high, low].into()],
            is_fenced: false,
        };
        let record = FleetRecord {
            instance: format!("0190d2c4-7e1f-7c33-9d53-00000000{index:04x}"),
            session: None,
            engine_session: None,
            boot: identity.boot.clone(),
            revision: 0,
        };
        let keys = self.keys.clone();
        let ttl = self.settings.session;
        let (engine_of_claims, keys_of_claims) = (engine.clone(), keys.clone());
        Host {
            index,
            session: Session::on_record(engine, keys, identity.clone(), ttl, record),
            claimant: Claimant {
                engine: engine_of_claims,
                keys: keys_of_claims,
                host: identity.host.clone(),
                ground: Books::default(),
            },
            identity,
            ttl,
            tally: Arc::clone(&self.tally),
            standing: watch::channel(Standing::Joining).0,
            published: Published::default(),
            versions: vec![0; usize::from(NAMES)],
            clock: self.clock.clone(),
            rng: fastrand::Rng::new(),
            state: State::default(),
        }
    }
}

/// Settings of the hosts of a server.
pub fn settings(server: &Server, session: Duration, home: &TempDir) -> Fleet {
    let mut environment = vec![
        ("ENGINE", server.address.clone()),
        ("SESSION", format!("{}s", session.as_secs())),
    ];
    if let Some(files) = server.certificates() {
        environment.extend(["CA", "CERTIFICATE", "KEY"].into_iter().zip(files));
    }
    let environment = environment.into_iter();
    let sources = Sources {
        home: Some(home.path().to_owned()),
        environment: environment
            .map(|(key, value)| (format!("PORTBOOK_FLEET__{key}"), value))
            .collect(),
        ..Sources::default()
    };
    config::load(&sources).unwrap().settings.fleet.clone()
}

fn name(index: u16) -> HostName {
    format!("build-{index:05}.example").parse().unwrap()
}

#[tokio::test]
async fn small_crowd_joins_publishes_watches_shares_and_comes_back() {
    let pace = Pace {
        hosts: 50,
        session: Duration::from_secs(6),
        spread: Duration::from_secs(1),
        steady: Duration::from_secs(2),
        outage: Duration::from_secs(1),
        changes: 2,
    };
    let Some(crowd) = Crowd::prepare("small_crowd", pace.session, false).await else {
        return;
    };
    Course::new(crowd, pace).run().await;
}

/// Tells figures of as many hosts as `PORTBOOK_CROWD_HOSTS` says.
#[tokio::test]
#[ignore = "measures for minutes, and needs an etcd"]
async fn figures_of_a_large_crowd() {
    let hosts = std::env::var("PORTBOOK_CROWD_HOSTS").ok();
    let hosts = hosts.map_or(5_000, |text| text.parse().unwrap());
    assert!((1..=MOST).contains(&hosts), "at most {MOST} hosts");
    let pace = Pace {
        hosts,
        session: Duration::from_secs(30),
        spread: Duration::from_secs(30),
        steady: Duration::from_mins(1),
        outage: Duration::from_secs(10),
        changes: 5,
    };
    let Some(crowd) = Crowd::prepare("large_crowd", pace.session, true).await else {
        return;
    };
    Course::new(crowd, pace).run().await;
}
