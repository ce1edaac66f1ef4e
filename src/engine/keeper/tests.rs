//! The keeper on a real record and real sockets, with a clock that is moved by hand.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::suspects::{Fault, Repairs};
use crate::config::{self, Sources};
use crate::domain::lease::{Lease, LeaseId, State};
use crate::domain::port::{Port, Protocols};
use crate::domain::request::Request;
use crate::engine::caller::{Caller, Mode};
use crate::engine::{keeper::repair::repair, observer, service::Service};
use crate::host::clock::Clock;
use crate::host::process;
use crate::store::{Store, StoreOptions};

const ME: Caller = Caller::user(1000);

/// Longer than any event takes to come here.
const LONG: Duration = Duration::from_secs(30);

pub(in crate::engine) struct Place {
    pub(in crate::engine) service: Service,
    pub(in crate::engine) clock: Clock,
    _folder: TempDir,
}

/// A service on ports of the kernel's choosing, which no other program is given meanwhile.
pub(in crate::engine) async fn place() -> Place {
    let folder = TempDir::new().unwrap();
    let sources = Sources {
        home: Some(folder.path().to_owned()),
        environment: vec![(
            "PORTBOOK_POOLS__DEFAULT__INTERFACES".to_owned(),
            "127.0.0.1".to_owned(),
        )],
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
    let clock = Clock::manual();
    let rng = fastrand::Rng::with_seed(1);
    let service = Service::new(Mode::Serving, settings, store, clock.clone(), rng);
    Place {
        service,
        clock,
        _folder: folder,
    }
}

impl Place {
    async fn lease(&self, request: &Request) -> Arc<Lease> {
        let granted = self.service.allocate(&ME, request).await.unwrap();
        Arc::clone(&granted.leases[0])
    }

    pub(in crate::engine) fn state(&self, id: LeaseId) -> Option<State> {
        self.service.0.leases.get(id).map(|lease| lease.state)
    }

    fn mended(&self, word: &str) -> u64 {
        self.service.repairs().get(word).copied().unwrap_or(0)
    }
}

pub(in crate::engine) fn named(name: &str) -> Request {
    Request {
        names: vec![name.parse().unwrap()],
        ..Request::default()
    }
}

#[tokio::test]
async fn what_is_as_it_should_be_is_left_alone() {
    let place = place().await;
    let lease = place.lease(&named("web")).await;
    for _ in 0..4 {
        repair(&place.service.0).await;
    }
    assert!(place.service.repairs().is_empty());
    assert_eq!(place.service.0.leases.get(lease.id), Some(lease));
}

#[tokio::test]
async fn a_leaked_reservation_is_freed_at_the_third_look() {
    let place = place().await;
    let group = place.lease(&Request::default()).await.addresses.clone();
    let port = Port::new(29_999).unwrap();
    let reserve = || place.service.0.leases.reserve(&group, Protocols::Tcp, port);
    reserve().unwrap();
    for looks in 1..=3 {
        assert!(reserve().is_err(), "freed after {} looks", looks - 1);
        repair(&place.service.0).await;
    }
    assert_eq!(place.mended("reservation"), 1);
    reserve().unwrap();
    // The new one has not been seen three times.
    repair(&place.service.0).await;
    assert!(reserve().is_err());
}

#[tokio::test]
async fn a_lease_that_the_books_lost_is_taken_up_again() {
    let place = place().await;
    let lease = place.lease(&Request::default()).await;
    place.service.0.leases.lose_from_books(lease.id);
    for _ in 0..2 {
        repair(&place.service.0).await;
    }
    // The record has it still, so it is not freed.
    assert!(place.service.0.leases.hold_of(lease.id).is_some());
    repair(&place.service.0).await;
    assert_eq!(place.mended("unknown"), 1);
    assert_eq!(place.state(lease.id), Some(State::Handed));
    assert!(
        place
            .service
            .0
            .leases
            .hold_of(lease.id)
            .unwrap()
            .is_open()
            .unwrap()
    );
}

#[tokio::test]
async fn an_orphaned_hold_is_closed() {
    let place = place().await;
    let lease = place.lease(&Request::default()).await;
    let hold = place.service.0.leases.hold_of(lease.id).unwrap();
    place.service.release(&ME, lease.id).await.unwrap();
    place.service.0.leases.put_hold(lease.id, hold);
    for _ in 0..3 {
        repair(&place.service.0).await;
    }
    assert_eq!(place.mended("hold"), 1);
    assert!(place.service.0.leases.hold_of(lease.id).is_none());
}

#[tokio::test]
async fn a_gate_is_set_right() {
    let place = place().await;
    let lease = place.lease(&named("web")).await;
    let hold = place.service.0.leases.hold_of(lease.id).unwrap();
    hold.shut_gate().unwrap();
    repair(&place.service.0).await;
    assert!(hold.is_open().unwrap(), "shut to a claimant");
    place.clock.advance(Duration::from_hours(1));
    place.service.act_on_deadlines().await;
    assert_eq!(place.state(lease.id), Some(State::Reserved));
    hold.open_gate().unwrap();
    repair(&place.service.0).await;
    assert!(!hold.is_open().unwrap(), "open without an owner");
    assert_eq!(place.mended("gate"), 2);
}

#[tokio::test]
async fn who_came_in_as_an_outsider_left_has_the_port() {
    let place = place().await;
    // Of another user than this process, whose listener is an outsider then.
    let other = Caller::user(rustix::process::getuid().as_raw() + 1);
    let granted = place.service.allocate(&other, &named("web")).await.unwrap();
    let lease = Arc::clone(&granted.leases[0]);
    let away = |lease: &mut Lease| (lease.state, lease.claim_by) = (State::Lost, None);
    let lost = place.service.0.leases.change(lease.id, away).await.unwrap();
    let hold = place.service.0.leases.hold_of(lease.id).unwrap();
    assert!(hold.is_open().unwrap());

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], lease.port.get()));
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap().into_std().unwrap();
    // What this process has itself would be taken for the service's own.
    let mut newcomer = std::process::Command::new("sleep")
        .arg("60")
        .stdin(std::os::fd::OwnedFd::from(listener))
        .spawn()
        .unwrap();
    observer::find_again(&place.service.0, &lost).await.unwrap();
    assert_eq!(place.state(lease.id), Some(State::Lost));
    assert!(!hold.is_open().unwrap());

    newcomer.kill().unwrap();
    newcomer.wait().unwrap();
    let lost = place.service.0.leases.get(lease.id).unwrap();
    observer::find_again(&place.service.0, &lost).await.unwrap();
    assert_eq!(place.state(lease.id), Some(State::Reserved));
}

#[tokio::test]
async fn first_renewal_after_a_stall_ends_no_other_lease() {
    let place = place().await;
    let request = Request {
        ttl: Some(Duration::from_secs(8)),
        ..Request::default()
    };
    let [first, second] = [place.lease(&request).await, place.lease(&request).await];
    let service = place.service.clone();
    let deadlines = tokio::spawn(async move { service.run_deadlines().await });
    // It sleeps until the deadline of the first one.
    tokio::task::yield_now().await;
    let mut freed = std::pin::pin!(place.service.0.leases.freed());
    freed.as_mut().enable();
    place.clock.advance(Duration::from_secs(20));
    let hour = Some(Duration::from_hours(1));
    place.service.renew(&ME, second.id, hour).await.unwrap();
    // An end would come at once. A grace of seconds is what a client needs.
    let ended = tokio::time::timeout(Duration::from_secs(1), freed).await;
    assert!(ended.is_err(), "the other lease had no grace");
    place.service.renew(&ME, first.id, hour).await.unwrap();
    deadlines.abort();
}

#[tokio::test]
async fn deadline_that_passed_in_a_stall_before_it_was_seen_has_a_grace() {
    let place = place().await;
    let service = place.service.clone();
    let deadlines = tokio::spawn(async move { service.run_deadlines().await });
    let hour = Some(Duration::from_hours(1));
    let request = Request {
        ttl: hour,
        ..Request::default()
    };
    let lease = place.lease(&request).await;
    // It sleeps for an hour.
    tokio::task::yield_now().await;
    let soon = place.clock.boot().after(Duration::from_secs(8));
    let sooner = Lease {
        expires: Some(soon),
        ..Lease::clone(&lease)
    };
    place.service.0.leases.enter_recorded(sooner);
    let mut freed = std::pin::pin!(place.service.0.leases.freed());
    freed.as_mut().enable();
    place.clock.advance(Duration::from_secs(20));
    let ended = tokio::time::timeout(Duration::from_secs(1), freed).await;
    assert!(ended.is_err(), "the lease had no grace");
    place.service.renew(&ME, lease.id, hour).await.unwrap();
    deadlines.abort();
}

#[tokio::test]
async fn a_reserved_name_gets_its_hold_back() {
    let place = place().await;
    let lease = place.lease(&named("web")).await;
    place.clock.advance(Duration::from_hours(1));
    place.service.act_on_deadlines().await;
    drop(place.service.0.leases.take_hold(lease.id));
    repair(&place.service.0).await;
    assert_eq!(place.mended("unguarded"), 1);
    assert!(place.service.0.leases.hold_of(lease.id).is_some());
}

#[tokio::test]
async fn an_unwatched_owner_is_watched_again() {
    let place = place().await;
    let mut program = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let root = Caller::user(0);
    let request = Request {
        owner_pid: Some(program.id()),
        ..Request::default()
    };
    let granted = place.service.allocate(&root, &request).await.unwrap();
    let id = granted.leases[0].id;
    place.service.0.leases.unwatch(id);
    repair(&place.service.0).await;
    assert_eq!(place.mended("unwatched"), 1);
    let mut events = place.service.journal().since(u64::MAX);
    program.kill().unwrap();
    program.wait().unwrap();
    let ended = async {
        while place.state(id).is_some() {
            events.live.recv().await.unwrap();
        }
    };
    let noticed = tokio::time::timeout(LONG, ended).await;
    noticed.expect("the end of its owner is an event");
}

#[tokio::test]
async fn the_record_is_brought_up_to_the_books() {
    let place = place().await;
    let lease = place.lease(&named("web")).await;
    place.service.0.leases.alter(lease.id, |lease| {
        lease.ttl = Some(Duration::from_secs(7));
        lease.revision += 1;
    });
    for _ in 0..3 {
        repair(&place.service.0).await;
    }
    assert_eq!(place.mended("record"), 1);
    let stored = place.service.store().lease(lease.id).await.unwrap();
    assert_eq!(stored.unwrap().lease.ttl, Some(Duration::from_secs(7)));
}

#[test]
fn a_suspect_that_passes_is_forgotten() {
    let mut repairs = Repairs::default();
    let id = LeaseId(uuid::Uuid::nil());
    let fault = Fault::Hold(id);
    assert!(repairs.due(vec![fault]).is_empty());
    assert!(repairs.due(vec![fault]).is_empty());
    assert!(repairs.due(vec![]).is_empty());
    assert!(repairs.due(vec![fault]).is_empty());
    assert!(repairs.due(vec![fault]).is_empty());
    assert_eq!(repairs.due(vec![fault]), [fault]);
}

/// One thing that happens to a lease with a lifetime, or to the clocks.
#[derive(Debug, Clone, Copy)]
enum Step {
    Grant(u64),
    Renew(usize, u64),
    Pass(u64),
    /// An administrator moves the time of day, by so many seconds.
    Wall(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1u64..100).prop_map(Step::Grant),
        1 => (0usize..20, 1u64..100).prop_map(|(which, ttl)| Step::Renew(which, ttl)),
        3 => (1u64..40).prop_map(Step::Pass),
        1 => (-7200i64..7200).prop_map(Step::Wall),
    ]
}

/// Leases with the second in which each must end, counted from the beginning.
async fn expire(steps: Vec<Step>) {
    let place = place().await;
    let mut now = 0;
    let mut due: Vec<(LeaseId, u64)> = Vec::new();
    for step in steps {
        match step {
            Step::Grant(ttl) => {
                let request = Request {
                    ttl: Some(Duration::from_secs(ttl)),
                    claim_within: Some(Duration::from_hours(9)),
                    ..Request::default()
                };
                due.push((place.lease(&request).await.id, now + ttl));
            }
            Step::Renew(which, ttl) if !due.is_empty() => {
                let which = which % due.len();
                let ttl_of = Some(Duration::from_secs(ttl));
                let renewed = place.service.renew(&ME, due[which].0, ttl_of).await;
                renewed.unwrap();
                due[which].1 = now + ttl;
            }
            Step::Renew(..) => {}
            Step::Pass(seconds) => {
                now += seconds;
                place.clock.advance(Duration::from_secs(seconds));
            }
            Step::Wall(seconds) => {
                let moved = jiff::SignedDuration::from_secs(seconds);
                place.clock.set_wall(place.clock.now() + moved);
            }
        }
        place.service.act_on_deadlines().await;
        due.retain(|(id, at)| {
            let lives = place.state(*id).is_some();
            assert_eq!(lives, *at > now, "due at {at}, looked at {now}");
            lives
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Neither early nor late, however the time of day is moved.
    #[test]
    fn leases_end_when_their_time_is_up(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(expire(steps));
    }
}
