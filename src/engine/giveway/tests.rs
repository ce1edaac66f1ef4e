//! Names that give way and names that do not, with a clock that is moved by hand.

use std::time::Duration;

use super::*;
use crate::domain::lease::LeaseId;
use crate::domain::port::{PortSet, Protocols};
use crate::domain::request::Request;
use crate::engine::caller::Caller;
use crate::engine::keeper::tests::{Place, named, place};

const ME: Caller = Caller::user(1000);
const OTHER: Caller = Caller::user(1001);

/// A request for one of three ports on an address that no other test uses.
fn of_three(name: &str, address: &str) -> Request {
    Request {
        ranges: Some("25001-25003".parse::<PortSet>().unwrap()),
        interfaces: vec![address.parse().unwrap()],
        ..named(name)
    }
}

/// Returns a granted lease after its unused name was parked a second later.
async fn idle(place: &Place, caller: &Caller, request: Request) -> LeaseId {
    let request = Request {
        claim_within: Some(Duration::from_millis(1)),
        ..request
    };
    let granted = place.service.allocate(caller, &request).await.unwrap();
    place.clock.advance(Duration::from_secs(1));
    place.service.act_on_deadlines().await;
    let id = granted.leases[0].id;
    assert_eq!(place.state(id), Some(State::Reserved));
    id
}

#[tokio::test]
async fn longest_unused_own_name_gives_way_when_full() {
    let place = place().await;
    let one = |name: &str| of_three(name, "127.0.81.1");
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(idle(&place, &ME, one(name)).await);
    }
    // Used once more, so that "b" is the longest unused.
    assert_eq!(idle(&place, &ME, one("a")).await, ids[0]);
    let granted = place.service.allocate(&ME, &one("d")).await.unwrap();
    assert_eq!(place.state(ids[1]), None);
    assert!(place.state(ids[0]).is_some() && place.state(ids[2]).is_some());
    let notes = granted.explanation.notes.join(" ");
    assert!(notes.contains("gave way: b with port 2500"), "{notes}");
    let journal = place.service.journal().latest(usize::MAX);
    let ended = journal
        .iter()
        .find(|event| event.lease == Some(ids[1]) && event.detail.contains("gave way"));
    assert!(ended.is_some(), "{journal:?}");
}

#[tokio::test]
async fn names_in_use_or_kept_by_hand_stay() {
    let place = place().await;
    let one = |name: &str| of_three(name, "127.0.81.2");
    let by_hand = Request {
        reserve: true,
        ..one("kept")
    };
    place.service.allocate(&ME, &by_hand).await.unwrap();
    place.service.allocate(&ME, &one("used")).await.unwrap();
    let idle_one = idle(&place, &ME, one("idle")).await;
    // A name that is reserved later is kept by hand as well.
    let reserved = Request {
        reserve: true,
        ..one("idle")
    };
    place.service.allocate(&ME, &reserved).await.unwrap();
    let refused = place.service.allocate(&ME, &one("new")).await.unwrap_err();
    assert!(
        matches!(refused, Refusal::PoolExhausted { .. }),
        "{refused}"
    );
    assert!(place.state(idle_one).is_some());
}

#[tokio::test]
async fn nothing_gives_way_in_vain() {
    let place = place().await;
    let one = |name: &str| of_three(name, "127.0.81.6");
    place.service.allocate(&ME, &one("used")).await.unwrap();
    let ids = [
        idle(&place, &ME, one("a")).await,
        idle(&place, &ME, one("b")).await,
    ];
    let mut three = one("x");
    three.names = ["x", "y", "z"].map(|name| name.parse().unwrap()).into();
    assert!(place.service.allocate(&ME, &three).await.is_err());
    assert!(ids.iter().all(|id| place.state(*id).is_some()));
    three.names.pop();
    assert!(place.service.allocate(&ME, &three).await.is_ok());
}

#[tokio::test]
async fn dry_runs_and_names_asked_for_end_nothing() {
    let place = place().await;
    let one = |name: &str| of_three(name, "127.0.81.3");
    for name in ["a", "b", "c"] {
        idle(&place, &ME, one(name)).await;
    }
    let dry = Request {
        dry_run: true,
        ..one("d")
    };
    assert!(place.service.allocate(&ME, &dry).await.is_err());
    // Four names on three ports: no one of them makes room for another.
    let mut all = one("a");
    all.names = ["a", "b", "c", "d"]
        .map(|name| name.parse().unwrap())
        .into();
    assert!(place.service.allocate(&ME, &all).await.is_err());
    assert_eq!(place.service.0.leases.all().len(), 3);
}

#[tokio::test]
async fn others_names_give_way_after_a_day_and_unnamed() {
    let place = place().await;
    let one = |name: &str| of_three(name, "127.0.81.4");
    let old = idle(&place, &OTHER, one("secret")).await;
    for name in ["x", "y"] {
        idle(&place, &OTHER, one(name)).await;
    }
    let refused = place.service.allocate(&ME, &one("mine")).await;
    assert!(refused.is_err(), "before a day had passed");
    place.clock.advance(Duration::from_hours(24));
    let granted = place.service.allocate(&ME, &one("mine")).await.unwrap();
    assert_eq!(place.state(old), None);
    let notes = granted.explanation.notes.join(" ");
    assert!(notes.contains("a name of uid 1001"), "{notes}");
    assert!(!notes.contains("secret"), "{notes}");
    // One's own comes first, though it was used later.
    place.clock.advance(Duration::from_secs(1000));
    place.service.act_on_deadlines().await;
    let again = place.service.allocate(&ME, &one("mine2")).await.unwrap();
    let notes = again.explanation.notes.join(" ");
    assert!(notes.contains("gave way: mine with"), "{notes}");
}

#[tokio::test]
async fn both_protocols_of_a_name_give_way_together() {
    let place = place().await;
    let one = |name: &str| of_three(name, "127.0.81.5");
    let both = |name: &str| Request {
        protocol: Some(Protocols::Both),
        ..one(name)
    };
    for name in ["a", "b", "c"] {
        idle(&place, &ME, both(name)).await;
    }
    place.service.allocate(&ME, &one("d")).await.unwrap();
    let left = place.service.0.leases.all();
    let of_a = left.iter().filter(|lease| lease.called() == "a");
    assert_eq!((left.len(), of_a.count()), (5, 0));
}
