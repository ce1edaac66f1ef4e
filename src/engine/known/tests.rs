//! Names that move, on a real record and real sockets: one living lease a name and protocol, with
//! requests at once and with failures. All leases of unit tests share one lock of transitions.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::domain::lease::{Handover, LeaseId};
use crate::domain::port::{PortSet, Protocols};
use crate::domain::request::Request;
use crate::engine::keeper::tests::{Place, named, place};
use crate::engine::{allocated::Allocated, caller::Caller, keeper::repair::repair};

const ME: Caller = Caller::user(1000);

/// Longer than any request takes here.
const LONG: Duration = Duration::from_secs(30);

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

/// A request for ports of `ranges` on an address that no other test uses.
fn within(name: &str, ranges: &str, address: &str) -> Request {
    Request {
        ranges: Some(ranges.parse::<PortSet>().unwrap()),
        interfaces: vec![address.parse().unwrap()],
        ..named(name)
    }
}

async fn ask(place: &Place, request: &Request) -> Result<Allocated, Refusal> {
    let answer = tokio::time::timeout(LONG, place.service.allocate(&ME, request));
    answer.await.expect("no request waits for itself")
}

/// Returns a granted request after its time to be claimed is over.
async fn idle(place: &Place, request: &Request) -> Allocated {
    let request = Request {
        claim_within: Some(Duration::from_millis(1)),
        ..request.clone()
    };
    let granted = ask(place, &request).await.unwrap();
    place.clock.advance(Duration::from_secs(1));
    place.service.act_on_deadlines().await;
    granted
}

fn ports(granted: &Allocated) -> Vec<u16> {
    let leases = granted.leases.iter();
    leases.map(|lease| lease.port.get()).collect()
}

impl Place {
    /// Whether books, holds and reservations tell of these leases and of nothing else.
    fn has_only(&self, leases: &[LeaseId]) {
        let all = self.service.leases();
        let living: Vec<LeaseId> = all.iter().map(|lease| lease.id).collect();
        let mut wanted = leases.to_vec();
        wanted.sort_unstable();
        assert_eq!(living, wanted);
        let reserved = self.service.0.leases.reservations();
        assert!(reserved.is_empty(), "reserved for no request: {reserved:?}");
        let let_go = |lease: &&Arc<Lease>| {
            lease.handover == Handover::Release && lease.state == State::Handed
        };
        let held = all.len() - all.iter().filter(let_go).count();
        assert_eq!(self.service.all_holds().len(), held);
    }
}

#[tokio::test]
async fn names_of_both_protocols_move_where_leases_share_a_lock() {
    let place = place().await;
    let both = Request {
        protocol: Some(Protocols::Both),
        ..within("web", "25101-25104", "127.0.82.1")
    };
    assert_eq!(ports(&idle(&place, &both).await), [25101, 25101]);
    let elsewhere = Request {
        prefer: Some(port(25103)),
        ..both
    };
    let granted = ask(&place, &elsewhere).await.unwrap();
    assert_eq!(ports(&granted), [25103, 25103]);
    let ids: Vec<LeaseId> = granted.leases.iter().map(|lease| lease.id).collect();
    place.has_only(&ids);
}

#[tokio::test]
async fn requests_at_once_leave_one_lease_a_name() {
    let place = place().await;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..64_u16 {
        let service = place.service.clone();
        let name = ["web", "api"][usize::from(number % 2)];
        let request = Request {
            prefer: (number % 3 > 0).then(|| port(25201 + number % 7)),
            protocol: (number % 5 == 0).then_some(Protocols::Both),
            claim_within: Some(Duration::from_millis(1)),
            ..within(name, "25201-25208", "127.0.82.2")
        };
        asking.spawn(async move { service.allocate(&ME, &request).await.map(|_| ()) });
    }
    let all = tokio::time::timeout(LONG, asking.join_all()).await;
    let answers = all.expect("no two requests wait for each other");
    assert!(answers.iter().any(Result::is_ok), "{answers:?}");
    let leases = place.service.0.leases.all();
    let keys = |lease: &Arc<Lease>| (lease.name.clone(), lease.protocol);
    let mut names: Vec<_> = leases.iter().map(keys).collect();
    names.sort_unstable_by_key(|(name, protocol)| (name.clone(), protocol.as_str()));
    names.dedup();
    assert_eq!(names.len(), leases.len(), "{leases:?}");
    let ids: Vec<LeaseId> = leases.iter().map(|lease| lease.id).collect();
    place.has_only(&ids);
    for _ in 0..4 {
        repair(&place.service.0).await;
    }
    assert!(place.service.repairs().is_empty());
}

#[tokio::test]
async fn moves_that_cannot_be_recorded_leave_the_lease_whole() {
    let place = place().await;
    let request = within("web", "25301-25304", "127.0.82.3");
    let before = idle(&place, &request).await.leases[0].id;
    let before = place.service.0.leases.get(before).unwrap();
    place.service.store().close().await;
    let elsewhere = Request {
        prefer: Some(port(25303)),
        ..request
    };
    assert!(ask(&place, &elsewhere).await.is_err());
    let after = place.service.0.leases.get(before.id).unwrap();
    assert_eq!((after.state, after.port), (State::Reserved, before.port));
    assert_eq!(after.ended_at, None);
    place.has_only(&[before.id]);
    let hold = place.service.0.leases.hold_of(before.id).unwrap();
    assert!(!hold.is_open().unwrap(), "no program may come in");
}

#[tokio::test]
async fn reservations_by_hand_stay_so_when_they_move() {
    let place = place().await;
    let reserved = Request {
        reserve: true,
        labels: [("team".to_owned(), "shop".to_owned())].into(),
        ttl: Some(Duration::from_hours(9)),
        ..within("web", "25401-25404", "127.0.82.4")
    };
    assert_eq!(ports(&ask(&place, &reserved).await.unwrap()), [25401]);
    let elsewhere = Request {
        prefer: Some(port(25403)),
        ..within("web", "25401-25404", "127.0.82.4")
    };
    let moved = ask(&place, &elsewhere).await.unwrap();
    let lease = &moved.leases[0];
    assert_eq!(lease.port.get(), 25403);
    assert!(lease.by_hand, "it may give way now");
    assert_eq!(lease.labels["team"], "shop");
    assert_eq!(lease.ttl, Some(Duration::from_hours(9)));
}

#[tokio::test]
async fn leases_of_another_pool_make_no_room_under_a_quota() {
    let place = place().await;
    let environment = [
        ("DEFAULT__INTERFACES", "127.0.82.7"),
        ("SMALL__INTERFACES", "127.0.82.7"),
        ("SMALL__RANGES", "25701-25704"),
        ("SMALL__MAX_LEASES", "1"),
    ];
    let environment = environment.map(|(key, value)| {
        let variable = format!("PORTBOOK_POOLS__{key}");
        (variable, value.to_owned())
    });
    let sources = crate::config::Sources {
        home: Some("/nonexistent".into()),
        environment: environment.to_vec(),
        ..Default::default()
    };
    let settings = crate::config::load(&sources).unwrap().settings;
    place.service.reconfigure(Arc::new(settings));
    let small = |name: &str| Request {
        pool: Some("small".to_owned()),
        ..named(name)
    };
    ask(&place, &small("first")).await.unwrap();
    let before = idle(&place, &named("web")).await;
    let refused = ask(&place, &small("web")).await;
    assert!(
        matches!(refused, Err(Refusal::QuotaExceeded(_))),
        "{refused:?}"
    );
    assert!(place.state(before.leases[0].id).is_some());
}

#[tokio::test]
async fn numbers_above_a_preferred_port_are_passed_over_once() {
    let place = place().await;
    let first = Request {
        port: Some(port(25801)),
        interfaces: vec!["127.0.82.8".parse().unwrap()],
        ..named("first")
    };
    ask(&place, &first).await.unwrap();
    let second = Request {
        port: Some(port(25803)),
        ..Request {
            names: vec!["second".parse().unwrap()],
            ..first.clone()
        }
    };
    ask(&place, &second).await.unwrap();
    let many = Request {
        prefer: Some(port(25800)),
        names: Vec::new(),
        count: NonZeroU32::new(4),
        interfaces: first.interfaces.clone(),
        ..Request::default()
    };
    let granted = ask(&place, &many).await.unwrap();
    assert_eq!(ports(&granted), [25800, 25802, 25804, 25805]);
    let skipped = granted.explanation.skipped.iter();
    let skipped: Vec<String> = skipped.map(|it| it.ports.to_string()).collect();
    assert_eq!(skipped, ["25801", "25803"]);
}

#[tokio::test]
async fn one_port_in_the_way_breaks_all_rows_with_it_at_once() {
    let place = place().await;
    let in_the_way = Request {
        port: Some(port(25904)),
        interfaces: vec!["127.0.82.9".parse().unwrap()],
        ..named("first")
    };
    ask(&place, &in_the_way).await.unwrap();
    let _occupant = std::net::TcpListener::bind("127.0.82.9:25908").unwrap();
    let row = Request {
        prefer: Some(port(25901)),
        names: Vec::new(),
        block: NonZeroU32::new(4),
        interfaces: in_the_way.interfaces.clone(),
        ..Request::default()
    };
    let granted = ask(&place, &row).await.unwrap();
    assert_eq!(ports(&granted), [25909, 25910, 25911, 25912]);
    let skipped = granted.explanation.skipped.iter();
    let skipped: Vec<(String, Reason)> = skipped
        .map(|it| (it.ports.to_string(), it.reason))
        .collect();
    let told = |ports: &str, reason| (ports.to_owned(), reason);
    assert_eq!(
        skipped,
        [
            told("25901-25903", Reason::BrokenRow),
            told("25904", Reason::Leased),
            told("25905-25907", Reason::BrokenRow),
            told("25908", Reason::InUse),
        ]
    );
    assert_eq!(
        granted.explanation.tried,
        [25905, 25906, 25907, 25908, 25909, 25910, 25911, 25912].map(port)
    );
}
