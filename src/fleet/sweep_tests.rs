//! The sweep on an engine in memory: what it marks and frees, and when.

use std::time::Duration;

use super::engine::{Engine, Step};
use super::key::Keys;
use super::memory::Memory;
use super::shaky::{Shaky, poll_once};
use super::sweep::{Last, Sweep, Sweeper};
use crate::domain::claim::Number;
use crate::domain::port::PortSet;
use crate::host::clock::Clock;

const TTL: Duration = Duration::from_secs(30);
const CLAIM: &str = "/f/claim/tcp/9100";
const NAME: &str = "/f/name/web/gone/l-1";

struct Fleet {
    clock: Clock,
    engine: Memory,
    sweeper: Sweeper<Memory>,
}

/// A fleet in which the host `gone` has a session, a claim with this guard, and a name.
async fn fleet(fence: &str, reclaim_s: u64) -> Fleet {
    let clock = Clock::manual();
    let engine = Memory::new(clock.clone());
    let sweeper = Sweeper {
        engine: engine.clone(),
        keys: Keys::new("/f/"),
        host: "own".parse().unwrap(),
    };
    let session = engine.session(TTL).await.unwrap();
    let put = Step::Put {
        key: "/f/session/gone/s-1".into(),
        value: "{}".into(),
        session: Some(session),
    };
    engine.commit(Vec::new(), vec![put]).await.unwrap();
    let value = format!(
        r#"{{"host":"gone","session":"s-1","nonce":"n","fence":"{fence}","reclaim_s":{reclaim_s},"state":"held"}}"#
    );
    engine.put(CLAIM, &value);
    engine.put(NAME, r#"{"session":"s-1","protocol":"tcp","port":9100}"#);
    Fleet {
        clock,
        engine,
        sweeper,
    }
}

impl Fleet {
    fn value(&self, key: &str) -> Option<String> {
        self.engine.entries().get(key).cloned()
    }

    async fn sweep(&self) {
        self.sweeper
            .sweep(Sweep::All, &mut Last::default())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn fenced_claim_is_freed_a_whole_reclaim_after_its_mark() {
    let fleet = fleet("kernel", 600).await;
    fleet.sweep().await;
    assert!(fleet.value(CLAIM).unwrap().contains("held"));
    fleet.clock.advance(TTL + Duration::from_secs(1));
    fleet.sweep().await;
    assert!(fleet.value(CLAIM).unwrap().contains("away"));
    assert!(fleet.value("/f/gone/s-1/600").is_some());
    fleet.clock.advance(Duration::from_secs(599));
    fleet.sweep().await;
    assert!(fleet.value(CLAIM).is_some());
    fleet.clock.advance(Duration::from_secs(2));
    fleet.sweep().await;
    assert_eq!(fleet.value(CLAIM), None);
}

#[tokio::test]
async fn claims_without_a_fence_are_marked_and_freed_by_no_clock() {
    for (fence, reclaim_s) in [("none", 0), ("none", 600), ("", 0), ("kernel", 39)] {
        let fleet = fleet(fence, reclaim_s).await;
        fleet.clock.advance(TTL * 2);
        fleet.sweep().await;
        fleet.clock.advance(Duration::from_hours(1000));
        fleet.sweep().await;
        assert!(fleet.value(CLAIM).unwrap().contains("away"), "{fence}");
        assert_eq!(fleet.value(NAME), None);
    }
}

#[tokio::test]
async fn names_of_a_gone_host_are_kept_for_a_day() {
    let fleet = fleet("none", 0).await;
    fleet.clock.advance(TTL * 2);
    fleet.sweep().await;
    fleet.clock.advance(Duration::from_hours(23));
    fleet.sweep().await;
    assert!(fleet.value(NAME).unwrap().contains("is_away"));
    fleet.clock.advance(Duration::from_hours(2));
    fleet.sweep().await;
    assert_eq!(fleet.value(NAME), None);
}

#[tokio::test]
async fn time_of_a_mark_without_an_answer_is_kept() {
    let fleet = fleet("kernel", 600).await;
    fleet.clock.advance(TTL * 2);
    fleet.engine.delete(NAME);
    let lists = fleet.sweeper.unmarked().await.unwrap();
    assert_eq!(lists.0.len(), 1);
    fleet.engine.lose_answer_of_next_commit();
    assert!(
        fleet
            .sweeper
            .sweep(Sweep::All, &mut Last::default())
            .await
            .is_err()
    );
    assert!(fleet.value(CLAIM).unwrap().contains("away"));
    fleet.clock.advance(Duration::from_secs(599));
    fleet.sweep().await;
    assert!(fleet.value(CLAIM).is_some(), "its time is not over");
}

#[tokio::test]
async fn all_claims_of_a_gone_host_are_swept_at_once_however_many() {
    let fleet = fleet("kernel", 600).await;
    let value = fleet.value(CLAIM).unwrap();
    for port in 10_000..11_200 {
        fleet.engine.put(&format!("/f/claim/tcp/{port}"), &value);
    }
    fleet.clock.advance(TTL * 2);
    fleet.sweep().await;
    let claims = || {
        fleet
            .engine
            .entries()
            .into_iter()
            .filter(|(key, _)| key.contains("/claim/"))
    };
    assert_eq!(claims().count(), 1201);
    assert!(claims().all(|(_, value)| value.contains("away")));
    fleet.clock.advance(Duration::from_secs(601));
    fleet.sweep().await;
    assert_eq!(claims().count(), 0);
}

#[tokio::test]
async fn names_are_left_to_sweeps_of_all_keys() {
    let fleet = fleet("kernel", 600).await;
    fleet.clock.advance(TTL * 2);
    fleet
        .sweeper
        .sweep(Sweep::Claims, &mut Last::default())
        .await
        .unwrap();
    assert!(fleet.value(CLAIM).unwrap().contains("away"));
    assert!(!fleet.value(NAME).unwrap().contains("is_away"));
}

#[tokio::test]
async fn session_that_begins_during_a_sweep_costs_one_look() {
    let fleet = fleet("kernel", 600).await;
    let engine = Shaky::calm(fleet.engine.clone(), fleet.clock.clone());
    let sweeper = Sweeper {
        engine,
        keys: Keys::new("/f/"),
        host: "own".parse().unwrap(),
    };
    let mut last = Last::default();
    let mut sweeping = Box::pin(sweeper.sweep(Sweep::All, &mut last));
    // It stops before and behind each operation, of which the first reads the sessions.
    for _ in 0..2 {
        assert_eq!(poll_once(&mut sweeping), None);
    }
    fleet.engine.put("/f/session/new/s-2", "{}");
    for port in 9201..9205 {
        let claim = r#"{"host":"new","session":"s-2","fence":"kernel","reclaim_s":600}"#;
        fleet.engine.put(&format!("/f/claim/tcp/{port}"), claim);
    }
    let commits = fleet.engine.commits();
    let swept = loop {
        if let Some(swept) = poll_once(&mut sweeping) {
            break swept.unwrap();
        }
    };
    assert_eq!(swept.marked, 0);
    assert_eq!(fleet.engine.commits(), commits, "none is refused");
}

#[tokio::test]
async fn claims_are_read_again_once_a_session_or_a_time_has_ended() {
    let fleet = fleet("kernel", 600).await;
    let mut last = Last::default();
    let mut sweep = async || {
        let swept = fleet.sweeper.sweep(Sweep::Claims, &mut last).await;
        swept.unwrap()
    };
    sweep().await;
    // A claim that no host makes: its session was never seen.
    let strange = r#"{"host":"gone","session":"s-0","state":"held"}"#;
    fleet.engine.put("/f/claim/tcp/9200", strange);
    let is_marked = |key| fleet.value(key).unwrap().contains("away");
    sweep().await;
    assert!(!is_marked("/f/claim/tcp/9200"), "nothing has ended");
    fleet.clock.advance(TTL + Duration::from_secs(1));
    sweep().await;
    assert!(is_marked(CLAIM) && is_marked("/f/claim/tcp/9200"));
    fleet.clock.advance(Duration::from_secs(601));
    sweep().await;
    assert_eq!(fleet.value(CLAIM), None);
}

#[tokio::test]
async fn claim_that_could_not_be_freed_is_tried_again_though_nothing_ends() {
    let fleet = fleet("kernel", 600).await;
    let mut last = Last::default();
    let mut sweep = async || {
        let swept = fleet.sweeper.sweep(Sweep::Claims, &mut last).await;
        swept.unwrap()
    };
    fleet.clock.advance(TTL * 2);
    sweep().await;
    fleet.clock.advance(Duration::from_secs(601));
    fleet.engine.put("/f/hold", "restored");
    sweep().await;
    sweep().await;
    fleet.engine.delete("/f/hold");
    sweep().await;
    assert_eq!(fleet.value(CLAIM), None);
}

#[tokio::test]
async fn hold_keeps_claims_from_being_freed() {
    let fleet = fleet("kernel", 600).await;
    fleet.clock.advance(TTL * 2);
    fleet.sweep().await;
    fleet.clock.advance(Duration::from_secs(700));
    fleet.engine.put("/f/hold", "restored");
    fleet.sweep().await;
    assert!(fleet.value(CLAIM).is_some());
    fleet.engine.delete("/f/hold");
    fleet.sweep().await;
    assert_eq!(fleet.value(CLAIM), None);
}

#[tokio::test]
async fn eviction_waits_for_the_end_of_the_session() {
    let fleet = fleet("none", 0).await;
    let gone = "gone".parse().unwrap();
    let other = r#"{"host":"other","session":"s-2"}"#;
    fleet.engine.put("/f/claim/udp/9101", other);
    assert_eq!(fleet.sweeper.evict(&gone).await, Ok(None));
    fleet.clock.advance(TTL * 2);
    let number: Number = Keys::new("/f/").read_claim(CLAIM).unwrap();
    assert_eq!(fleet.sweeper.evict(&gone).await, Ok(Some(vec![number])));
    assert_eq!(fleet.value(CLAIM), None);
    assert_eq!(fleet.value("/f/claim/udp/9101").as_deref(), Some(other));
    assert_eq!(fleet.sweeper.evict(&gone).await, Ok(Some(Vec::new())));
}

#[tokio::test]
async fn claims_that_cannot_be_read_are_deleted_as_they_were_read() {
    let fleet = fleet("none", 0).await;
    let port = |port: u16| port.to_string().parse::<PortSet>().unwrap();
    let strange = [
        ("/f/claim/tcp/9101", "not json"),
        ("/f/claim/tcp/9102", r#"{"host":"a b","session":"s"}"#),
        ("/f/claim/tcp/9103", r#"{"host":"two","session":""}"#),
        ("/f/claim/udp/9101", r#"{"version":2}"#),
    ];
    for (key, value) in strange {
        fleet.engine.put(key, value);
    }
    fleet
        .engine
        .put("/f/claim/tcp/9104", r#"{"host":"*","session":""}"#);
    fleet.clock.advance(TTL * 2);
    fleet.sweep().await;
    let evicted = fleet.sweeper.evict_unreadable(Some(&port(9102))).await;
    let number = |port: &str| Number {
        protocol: "tcp".parse().unwrap(),
        port: port.parse().unwrap(),
    };
    assert_eq!(evicted, Ok(vec![number("9102")]));
    let evicted = fleet.sweeper.evict_unreadable(None).await.unwrap();
    assert_eq!(evicted.len(), 3, "{evicted:?}");
    let left = fleet.engine.entries();
    let left: Vec<&String> = left.keys().filter(|key| key.contains("/claim/")).collect();
    assert_eq!(left, [CLAIM, "/f/claim/tcp/9104"]);
}
