//! The session loop in a service: on an engine in memory, and, for its speed, on a real one.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::engine::Engine;
use super::everywhere::Lessor;
use super::fencing::Fencing;
use super::lessor::HostLessor;
use super::member::run_with;
use super::memory::Memory;
use crate::config::{self, Sources};
use crate::domain::claim::Number;
use crate::domain::fleet::{FleetState, FleetStatus, Question};
use crate::domain::lease::State;
use crate::domain::port::{Port, Protocol};
use crate::domain::request::Request;
use crate::engine::fleet::FleetCounters;
use crate::engine::service::{Caller, Mode, Service};
use crate::host::clock::Clock;
use crate::host::process;
use crate::store::{Store, StoreOptions};

const ME: Caller = Caller::user(0);

struct Place {
    service: Service,
    _folder: TempDir,
}

async fn place(engine: &str, ranges: &str) -> Place {
    place_with(engine, ranges, "manual").await
}

async fn place_with(engine: &str, ranges: &str, reclaim: &str) -> Place {
    let folder = TempDir::new().unwrap();
    let settings = [
        ("FLEET__ENGINE", engine),
        ("FLEET__HOST", "one"),
        ("FLEET__SESSION", "2s"),
        ("FLEET__PREFIX", &format!("/test-{}/", std::process::id())),
        ("POOLS__EDGE__RANGES", ranges),
        ("POOLS__EDGE__INTERFACES", "127.0.0.1"),
        ("POOLS__EDGE__FLEET", "unique"),
        ("POOLS__EDGE__RECLAIM", reclaim),
    ];
    let environment = settings.map(|(key, value)| (format!("PORTBOOK_{key}"), value.to_owned()));
    let sources = Sources {
        home: Some(folder.path().to_owned()),
        environment: environment.to_vec(),
        ..Sources::default()
    };
    let settings = Arc::new(config::load(&sources).unwrap().settings);
    let options = StoreOptions {
        boot_id: process::boot_id().unwrap(),
        machine_id: None,
        batch_max: 16,
        checkpoint_interval: None,
    };
    let file = folder.path().join("portbook.db");
    let (store, _) = Store::open(&file, options).await.unwrap();
    let rng = fastrand::Rng::with_seed(1);
    let service = Service::new(Mode::Serving, settings, store, Clock::system(), rng);
    Place {
        service,
        _folder: folder,
    }
}

impl Place {
    fn join<E: Engine>(&self, engine: E) -> JoinHandle<()> {
        let counters = self.counters();
        self.serve_at(counters, engine)
    }

    fn counters(&self) -> FleetCounters {
        self.service.fleet().open(self.service.clock().boot())
    }

    fn serve_at<E: Engine>(&self, counters: FleetCounters, engine: E) -> JoinHandle<()> {
        let service = self.service.clone();
        tokio::spawn(async move {
            let settings = service.settings();
            let fencing = Fencing::default();
            let running = run_with(&service, &settings.fleet, engine, fencing, counters);
            running.await.unwrap();
        })
    }

    async fn reaches(&self, state: FleetState) {
        self.eventually(|| self.service.fleet().status().state == state)
            .await;
    }

    async fn eventually(&self, holds: impl Fn() -> bool) {
        for _ in 0..600 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "not within half a minute: {:?}",
            self.service.fleet().status()
        );
    }
}

fn request() -> Request {
    Request {
        pool: Some("edge".into()),
        ..Request::default()
    }
}

#[tokio::test]
async fn restored_engine_quarantines_the_host_and_gets_its_claims_again() {
    let place = place("http://127.0.0.1:1", "9420-9429").await;
    let engine = Memory::new(Clock::system());
    let running = place.join(engine.clone());
    place.reaches(FleetState::Joined).await;
    let copy = engine.copy();
    let granted = place.service.allocate(&ME, &request()).await.unwrap();
    let lease = Arc::clone(&granted.leases[0]);
    assert!(lease.claim.is_some_and(|claim| claim.token > 0));
    let claims = || {
        let entries = engine.entries().into_keys();
        entries.filter(|key| key.contains("/claim/")).count()
    };
    assert_eq!(claims(), 1);
    // The loop has to know the higher revision.
    let renewed = place.service.fleet().status().renewed_boot_ms;
    place
        .eventually(|| place.service.fleet().status().renewed_boot_ms > renewed)
        .await;
    engine.restore(copy);
    assert_eq!(claims(), 0);
    place.eventually(|| claims() == 1).await;
    place.reaches(FleetState::Joined).await;
    let events = place.service.journal().since(0).missed;
    let quarantined = events
        .iter()
        .any(|event| event.detail.starts_with("quarantined"));
    assert!(quarantined, "{events:?}");
    let lease = place.service.lease(lease.id).unwrap();
    assert_ne!(lease.state, State::Lost);
    running.abort();
}

#[tokio::test]
async fn claims_of_refused_requests_are_withdrawn() {
    let place = place("http://127.0.0.1:1", "9430-9431").await;
    let engine = Memory::new(Clock::system());
    let running = place.join(engine.clone());
    place.reaches(FleetState::Joined).await;
    let granted = place.service.allocate(&ME, &request()).await.unwrap();
    let id = granted.leases[0].id;
    engine.set_away(true);
    assert!(place.service.allocate(&ME, &request()).await.is_err());
    place.service.release(&ME, id).await.unwrap();
    place.reaches(FleetState::Alone).await;
    let refused = place.service.allocate(&ME, &request()).await.unwrap_err();
    assert_eq!(refused.code(), "fleet_away");
    engine.set_away(false);
    let claims = place.service.fleet().claims();
    place.eventually(|| claims.is_empty()).await;
    let is_claim = |key: &String| key.contains("/claim/");
    assert!(!engine.entries().keys().any(is_claim));
    running.abort();
}

#[tokio::test]
async fn requests_before_the_first_session_wait_for_it() {
    let place = place("http://127.0.0.1:1", "9432-9433").await;
    let counters = place.counters();
    assert_eq!(place.service.fleet().status().state, FleetState::Joining);
    let engine = Memory::new(Clock::system());
    let ask = |service: Service| async move { service.allocate(&ME, &request()).await };
    let claim = tokio::spawn(ask(place.service.clone()));
    while counters.claims.is_empty() {
        tokio::task::yield_now().await;
    }
    let question = place.service.fleet().ask(Question::Claims);
    let serving = place.serve_at(counters, engine.clone());
    question.await.unwrap();
    claim.await.unwrap().unwrap();
    serving.abort();

    // Without an engine they end with the first try.
    engine.set_away(true);
    let counters = place.counters();
    let claim = tokio::spawn(ask(place.service.clone()));
    while counters.claims.is_empty() {
        tokio::task::yield_now().await;
    }
    let serving = place.serve_at(counters, engine);
    let refused = claim.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), "fleet_away");
    serving.abort();
}

#[tokio::test]
async fn reserved_number_in_a_fenced_range_is_refused() {
    let place = place_with("http://127.0.0.1:1", "9434-9435", "24h").await;
    let lessor = HostLessor(place.service.clone());
    let number = |port| Number {
        protocol: Protocol::Tcp,
        port: Port::new(port).unwrap(),
    };
    let name = "web".parse().unwrap();
    let status = |has_fence| FleetStatus {
        has_fence,
        ..FleetStatus::default()
    };
    place.service.fleet().set(status(Some(true)));
    let why = lessor.keep(number(9434), &name).await.unwrap_err();
    assert!(why.contains("fence"), "{why}");
    let console = "portbook-console".parse().unwrap();
    assert!(lessor.keep(number(9436), &console).await.is_err());
    lessor.keep(number(9436), &name).await.unwrap();
    // Without the fence nothing shuts it.
    place.service.fleet().set(status(Some(false)));
    lessor.let_go(number(9436), Some(&name)).await.unwrap();
    lessor.keep(number(9434), &name).await.unwrap();
}
