//! Sharing between hosts on an engine in memory, with a clock that the test moves and a real record.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::claiming::Open;
use super::draw::{DAY_MS, next_time};
use super::engine::{Engine, Step};
use super::key::Keys;
use super::memory::{Memory, Trouble};
use super::prior::encode;
use super::sharing::{Learner, Place, Sharing};
use crate::domain::fleet::HostName;
use crate::domain::port::{Port, Protocol};
use crate::domain::prior::{
    AddressKind, GroupReport, Kinds, PortReport, Prior, PriorSharing, Report, Table,
};
use crate::host::clock::Clock;
use crate::host::process;
use crate::store::{Store, StoreOptions};

const BUSY: u16 = 8080;

/// A day, after which the time of day of every host has come once.
const DAY: Duration = Duration::from_hours(24);

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn report(ports: &[u16]) -> Report {
    let ports = ports.iter();
    let group = GroupReport {
        on: Kinds::from([AddressKind::Any4]),
        protocol: Protocol::Tcp,
        snapshots: 100,
        ports: ports
            .map(|number| PortReport(port(*number), 0, 90, 0))
            .collect(),
    };
    Report {
        groups: vec![group],
        commands: vec!["node".into()],
    }
}

/// A history that tells what the test says, and keeps what it is told.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<(Report, Prior)>>);

impl Told {
    fn learns(&self, report: Report) {
        self.0.lock().unwrap().0 = report;
    }

    /// Hosts that were looked at, and those of them on which the port was busy.
    fn knows(&self, number: u16) -> (u32, u32) {
        let told = self.0.lock().unwrap();
        let table = told.1.tables.values().next().cloned();
        let Table { hosts, busy } = table.unwrap_or_default();
        (hosts, busy.get(&port(number)).copied().unwrap_or_default())
    }
}

impl Learner for Told {
    fn report(&self, commands: bool) -> Report {
        let mut report = self.0.lock().unwrap().0.clone();
        if !commands {
            report.commands.clear();
        }
        report
    }

    fn set_prior(&self, prior: &Prior) {
        self.0.lock().unwrap().1 = prior.clone();
    }
}

struct Fleet {
    clock: Clock,
    engine: Memory,
}

impl Fleet {
    fn new() -> Self {
        let clock = Clock::manual();
        Self {
            engine: Memory::new(clock.clone()),
            clock,
        }
    }

    /// Keys with a document.
    fn documents(&self) -> Vec<String> {
        let keys = self.engine.entries().into_keys();
        let keys = keys.filter(|key| key.starts_with("/f/prior/"));
        keys.collect()
    }

    /// A living host with a document of another build's making.
    async fn stranger(&self, name: &str, document: &[u8]) {
        open(&self.engine, name).await;
        let key = Keys::new("/f/").prior(&name.parse().unwrap());
        self.engine.put(&key, document);
    }
}

fn document_key(host: &str) -> String {
    Keys::new("/f/").prior(&host.parse().unwrap())
}

struct Host {
    name: HostName,
    engine: Memory,
    clock: Clock,
    learner: Told,
    store: Store,
    open: Open,
    sharing: Sharing<Memory, Told>,
    _folder: TempDir,
}

async fn open(engine: &Memory, name: &str) -> Open {
    let keys = Keys::new("/f/");
    let id = engine.session(DAY * 1000).await.unwrap();
    let session = format!("s-{name}");
    let put = Step::Put {
        key: keys.session(&name.parse().unwrap(), &session),
        value: "{}".into(),
        session: Some(id),
    };
    engine.commit(Vec::new(), vec![put]).await.unwrap();
    Open { session, id }
}

async fn host(fleet: &Fleet, name: &str, what: PriorSharing) -> Host {
    let folder = TempDir::new().unwrap();
    let options = StoreOptions {
        boot_id: process::boot_id().unwrap(),
        machine_id: None,
        batch_max: 16,
        checkpoint_interval: None,
    };
    let file = folder.path().join("portbook.db");
    let (store, _) = Store::open(&file, options).await.unwrap();
    let mut host = Host {
        name: name.parse().unwrap(),
        engine: fleet.engine.clone(),
        clock: fleet.clock.clone(),
        learner: Told::default(),
        open: open(&fleet.engine, name).await,
        sharing: sharing(fleet, name, &store, Told::default(), what),
        store,
        _folder: folder,
    };
    host.start_again(what).await;
    host
}

fn sharing(
    fleet: &Fleet,
    name: &str,
    store: &Store,
    learner: Told,
    what: PriorSharing,
) -> Sharing<Memory, Told> {
    let place = Place {
        engine: fleet.engine.clone(),
        keys: Keys::new("/f/"),
        host: name.parse().unwrap(),
        learner,
        store: store.clone(),
        clock: fleet.clock.clone(),
    };
    Sharing::new(place, what)
}

impl Host {
    /// Begins as the next start of the service does, with the same record and the same history.
    async fn start_again(&mut self, what: PriorSharing) {
        let fleet = Fleet {
            clock: self.clock.clone(),
            engine: self.engine.clone(),
        };
        let learner = self.learner.clone();
        learner.set_prior(&Prior::default());
        self.sharing = sharing(&fleet, self.name.as_str(), &self.store, learner, what);
        self.sharing.remember().await.unwrap();
    }

    async fn round(&mut self) -> Duration {
        self.sharing.round(&self.open).await
    }
}

#[tokio::test]
async fn new_host_knows_busy_ports_of_others_and_counts_each_once() {
    let fleet = Fleet::new();
    for (name, ports) in [("a", &[BUSY][..]), ("b", &[BUSY, 9090]), ("c", &[])] {
        let mut other = host(&fleet, name, PriorSharing::Commands).await;
        other.learner.learns(report(ports));
        other.round().await;
    }
    assert_eq!(fleet.documents().len(), 3);
    let mut new = host(&fleet, "new", PriorSharing::Commands).await;
    let wait = new.round().await;
    assert_eq!(
        (new.learner.knows(BUSY), new.learner.knows(9090)),
        ((3, 2), (3, 1))
    );
    assert!(wait <= DAY, "{wait:?}");
    assert_eq!(fleet.documents().len(), 3, "it has nothing to tell yet");
}

#[tokio::test]
async fn host_tells_and_reads_once_a_day_at_its_time() {
    let fleet = Fleet::new();
    let mut one = host(&fleet, "one", PriorSharing::Commands).await;
    one.learner.learns(report(&[BUSY]));
    let wait = one.round().await;
    let now_ms = fleet.clock.now().as_millisecond();
    let at_ms = next_time(&one.name, now_ms);
    assert_eq!(
        wait.as_millis(),
        u128::from((at_ms - now_ms).unsigned_abs())
    );
    let commits = fleet.engine.commits().len();
    one.round().await;
    one.start_again(PriorSharing::Commands).await;
    one.round().await;
    assert_eq!(
        fleet.engine.commits().len(),
        commits,
        "a restart tells nothing anew"
    );
    let before = fleet.engine.entries();
    one.learner.learns(report(&[9090]));
    fleet.clock.advance(wait);
    one.round().await;
    assert_eq!(fleet.engine.commits().len(), commits + 1);
    assert_ne!(fleet.engine.entries(), before);
}

#[tokio::test]
async fn what_was_read_outlives_restarts_and_outages_for_a_week() {
    let fleet = Fleet::new();
    let mut one = host(&fleet, "one", PriorSharing::Commands).await;
    one.learner.learns(report(&[BUSY]));
    one.round().await;
    let mut two = host(&fleet, "two", PriorSharing::Commands).await;
    two.round().await;
    assert_eq!(two.learner.knows(BUSY), (1, 1));
    fleet.engine.set_away(true);
    for days in 0..7 {
        two.start_again(PriorSharing::Commands).await;
        assert_eq!(two.learner.knows(BUSY), (1, 1), "{days} days");
        two.round().await;
        assert_eq!(two.learner.knows(BUSY), (1, 1), "{days} days");
        fleet.clock.advance(DAY);
    }
    two.start_again(PriorSharing::Commands).await;
    assert_eq!(two.learner.knows(BUSY), (0, 0));
}

#[tokio::test]
async fn failures_are_followed_by_longer_and_longer_pauses() {
    let fleet = Fleet::new();
    let mut one = host(&fleet, "one", PriorSharing::Commands).await;
    one.learner.learns(report(&[BUSY]));
    fleet
        .engine
        .trouble(&[Trouble::Denied, Trouble::RequestLost]);
    let pause = one.round().await;
    assert!((60..=120).contains(&pause.as_secs()), "{pause:?}");
    let commits = fleet.engine.commits().len();
    fleet.clock.advance(pause / 2);
    one.round().await;
    assert_eq!(
        fleet.engine.commits().len(),
        commits,
        "not before the pause is over"
    );
    fleet.engine.trouble(&[Trouble::Away, Trouble::Away]);
    fleet.clock.advance(pause);
    assert!((120..=240).contains(&one.round().await.as_secs()));
    fleet.clock.advance(DAY);
    one.round().await;
    assert_eq!(fleet.documents(), [document_key("one")]);
}

#[tokio::test]
async fn hostile_documents_and_those_of_dead_hosts_are_left_out() {
    let fleet = Fleet::new();
    fleet.stranger("good", &encode(report(&[BUSY]))).await;
    fleet.stranger("none", b"no document").await;
    fleet.stranger("long", &vec![0; 1_000_000]).await;
    fleet
        .engine
        .put(&document_key("dead"), encode(report(&[BUSY])));
    fleet.engine.put("/f/prior/0/good", encode(report(&[9090])));
    open(&fleet.engine, "silent").await;
    let mut new = host(&fleet, "new", PriorSharing::Ports).await;
    new.round().await;
    assert_eq!(
        (new.learner.knows(BUSY), new.learner.knows(9090)),
        ((1, 1), (1, 0))
    );
    // A host that takes its document back is forgotten with the next reading.
    fleet.engine.delete(&document_key("good"));
    fleet.clock.advance(DAY);
    new.round().await;
    assert_eq!(new.learner.knows(BUSY), (0, 0));
}

#[tokio::test]
async fn fifty_hosts_are_read_and_others_the_next_day() {
    let fleet = Fleet::new();
    for number in 0..120_u16 {
        let document = encode(report(&[10_000 + number]));
        fleet.stranger(&format!("h{number}"), &document).await;
    }
    let mut new = host(&fleet, "new", PriorSharing::Ports).await;
    let known = |host: &Host| {
        let ports = (0..120).map(|number| host.learner.knows(10_000 + number).1);
        ports.collect::<Vec<u32>>()
    };
    new.round().await;
    let first = known(&new);
    assert_eq!(new.learner.knows(BUSY), (50, 0));
    assert_eq!(first.iter().sum::<u32>(), 50);
    fleet.clock.advance(DAY);
    new.round().await;
    let second = known(&new);
    assert_eq!(second.iter().sum::<u32>(), 50);
    assert_ne!(first, second);
}

#[tokio::test]
async fn nothing_is_shared_if_the_setting_says_so_and_what_was_told_is_deleted() {
    let fleet = Fleet::new();
    fleet.stranger("other", &encode(report(&[BUSY]))).await;
    let mut one = host(&fleet, "one", PriorSharing::Ports).await;
    one.learner.learns(report(&[9090]));
    one.round().await;
    assert_eq!(one.learner.knows(BUSY), (1, 1));
    assert_eq!(fleet.documents().len(), 2);
    one.start_again(PriorSharing::Nothing).await;
    assert_eq!(one.round().await, Duration::MAX);
    assert_eq!(fleet.documents(), [document_key("other")]);
    assert_eq!(one.learner.knows(BUSY), (0, 0));
    assert!(one.store.fleet_priors().await.unwrap().is_empty());
}

#[tokio::test]
async fn names_of_programs_are_told_only_if_the_setting_says_so() {
    let fleet = Fleet::new();
    for (what, count) in [(PriorSharing::Ports, 0), (PriorSharing::Commands, 1)] {
        let mut one = host(&fleet, "one", what).await;
        one.learner.learns(report(&[BUSY]));
        one.round().await;
        let own = one.store.fleet_priors().await.unwrap();
        let told = super::prior::decode(&own[0].document).unwrap();
        assert_eq!(told.commands.len(), count, "{what:?}");
    }
}

#[tokio::test]
async fn host_whose_session_has_ended_tells_nothing_late() {
    let fleet = Fleet::new();
    let mut one = host(&fleet, "one", PriorSharing::Commands).await;
    one.learner.learns(report(&[BUSY]));
    fleet.engine.end(one.open.id).await.unwrap();
    one.round().await;
    assert!(fleet.documents().is_empty());
}

#[test]
fn wait_of_a_day_is_a_day() {
    assert_eq!(DAY.as_millis(), u128::from(DAY_MS.unsigned_abs()));
}
