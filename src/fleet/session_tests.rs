//! Sessions on an engine in memory: restarts, lost answers, twins, and an engine that went back.

use std::time::Duration;

use super::engine::{Engine, EngineError, Renewed, SessionId};
use super::key::Keys;
use super::memory::{Memory, Trouble};
use super::session::{Identity, JoinError, Session};
use crate::host::clock::Clock;
use crate::store::FleetRecord;

const TTL: Duration = Duration::from_secs(30);

fn record(instance: &str) -> FleetRecord {
    FleetRecord {
        instance: instance.into(),
        session: None,
        engine_session: None,
        boot: "boot-1".into(),
        revision: 0,
    }
}

fn on(engine: &Memory, boot: &str, record: FleetRecord) -> Session<Memory> {
    let identity = Identity {
        host: "h".parse().unwrap(),
        boot: boot.into(),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        is_fenced: true,
    };
    Session::on_record(engine.clone(), Keys::new("/f/"), identity, TTL, record)
}

async fn joined(engine: &Memory, instance: &str, id: &str) -> Session<Memory> {
    let mut session = on(engine, "boot-1", record(instance));
    join(&mut session, id).await.unwrap();
    session
}

async fn join(session: &mut Session<Memory>, id: &str) -> Result<(), JoinError> {
    if session.resume(1).await? {
        return Ok(());
    }
    session.open(id.into()).await?;
    session.enter(1).await.map(drop)
}

#[tokio::test]
async fn new_session_tells_the_revision_of_its_key() {
    let engine = Memory::new(Clock::manual());
    let mut session = on(&engine, "boot-1", record("a"));
    session.open("s1".into()).await.unwrap();
    let made = session.enter(1).await.unwrap();
    let page = engine.list("/f/session/h/s1", None, 1).await.unwrap();
    assert_eq!(made, Some(page.entries[0].created));
}

#[tokio::test]
async fn restart_in_the_same_boot_renews_the_same_session() {
    let engine = Memory::new(Clock::manual());
    let first = joined(&engine, "a", "s1").await;
    let mut second = on(&engine, "boot-1", first.record().clone());
    assert!(second.resume(9).await.unwrap());
    assert_eq!(second.id(), Some("s1"));
    let value = &engine.entries()["/f/session/h/s1"];
    assert!(
        value.contains("\"since_ms\":1") && value.contains("\"fence\":\"kernel\""),
        "{value}"
    );
}

#[tokio::test]
async fn lost_session_is_not_resumed_and_a_new_one_has_a_new_id() {
    let engine = Memory::new(Clock::manual());
    let mut session = joined(&engine, "a", "s1").await;
    engine.end_sessions();
    assert_eq!(session.renew().await, Ok(Renewed::Gone));
    assert!(!session.resume(2).await.unwrap());
    join(&mut session, "s2").await.unwrap();
    let keys: Vec<String> = engine.entries().into_keys().collect();
    assert_eq!(keys, ["/f/session/h/s2"]);
}

#[tokio::test]
async fn living_session_of_another_instance_is_refused_with_its_address() {
    let engine = Memory::new(Clock::manual());
    let first = joined(&engine, "a", "s1").await;
    let mut twin = on(&engine, "boot-2", record("b"));
    let refused = join(&mut twin, "s2").await.unwrap_err();
    assert!(refused.to_string().contains("192.0.2.1"), "{refused}");
    assert!(matches!(first.renew().await, Ok(Renewed::Alive { .. })));
    engine.end_sessions();
    join(&mut twin, "s3").await.unwrap();
}

#[tokio::test]
async fn clone_with_a_copy_of_the_record_never_ends_the_session_of_its_original() {
    let engine = Memory::new(Clock::manual());
    let first = joined(&engine, "a", "s1").await;
    let mut clone = on(&engine, "boot-2", first.record().clone());
    assert!(matches!(
        join(&mut clone, "s2").await,
        Err(JoinError::Twin { .. })
    ));
    assert!(matches!(first.renew().await, Ok(Renewed::Alive { .. })));
}

#[tokio::test]
async fn younger_of_two_that_entered_at_once_leaves() {
    let engine = Memory::new(Clock::manual());
    let mut one = on(&engine, "boot-1", record("a"));
    let mut two = on(&engine, "boot-2", record("b"));
    one.open("s1".into()).await.unwrap();
    two.open("s2".into()).await.unwrap();
    one.enter(1).await.unwrap();
    assert!(matches!(two.enter(1).await, Err(JoinError::Twin { .. })));
    assert_eq!(two.id(), None);
    let keys: Vec<String> = engine.entries().into_keys().collect();
    assert_eq!(keys, ["/f/session/h/s1"]);
}

#[tokio::test]
async fn lost_answer_of_the_entry_leaves_one_session() {
    let engine = Memory::new(Clock::manual());
    let mut session = on(&engine, "boot-1", record("a"));
    session.open("s1".into()).await.unwrap();
    // The list before the put is answered, the put is not.
    engine.trouble(&[Trouble::AnswerLost]);
    assert!(session.enter(1).await.is_err());
    assert!(session.resume(2).await.unwrap());
    assert_eq!(engine.entries().len(), 1);
}

#[tokio::test]
async fn session_that_never_got_on_record_is_taken_away_first() {
    let engine = Memory::new(Clock::manual());
    joined(&engine, "a", "s1").await;
    // The process died between the engine and the record.
    let mut next = on(&engine, "boot-1", record("a"));
    join(&mut next, "s2").await.unwrap();
    let keys: Vec<String> = engine.entries().into_keys().collect();
    assert_eq!(keys, ["/f/session/h/s2"]);
}

#[tokio::test]
async fn lower_revision_of_the_whole_engine_is_noticed_once() {
    let engine = Memory::new(Clock::manual());
    let copy = engine.copy();
    let mut session = joined(&engine, "a", "s1").await;
    for _ in 0..5 {
        engine.put("/f/other", "x");
    }
    let revision = engine.list("/f/", None, 1).await.unwrap().revision;
    assert!(!session.has_lost(revision).await.unwrap());
    assert!(
        !session.has_lost(revision - 1).await.unwrap(),
        "one member lags"
    );
    engine.restore(copy);
    assert!(session.has_lost(1).await.unwrap());
    assert!(!session.has_lost(1).await.unwrap());
    assert_eq!(session.renew().await, Ok(Renewed::Gone));
}

#[tokio::test]
async fn end_of_a_session_takes_its_key_and_refusals_are_told() {
    let engine = Memory::new(Clock::manual());
    let mut session = joined(&engine, "a", "s1").await;
    engine.trouble(&[Trouble::Denied]);
    let denied = session.leave().await.unwrap_err();
    let told = denied.to_string();
    assert!(told.starts_with("etcd refuses this host: "), "{told}");
    engine.set_away(true);
    assert!(matches!(session.renew().await, Err(EngineError::Away(_))));
    engine.set_away(false);
    session.leave().await.unwrap();
    assert_eq!(engine.entries().len(), 0);
    engine.end(SessionId(1)).await.unwrap();
}
