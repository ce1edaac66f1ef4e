//! Reservations by operators, on an engine in memory.

use super::*;
use crate::fleet::memory::{Memory, Trouble};
use crate::host::clock::Clock;

const CLAIM: &str = "/f/claim/tcp/9100";
const EVERYWHERE_KEY: &str = "/f/everywhere/tcp/9100";

fn number(port: u16) -> Number {
    Number {
        protocol: "tcp".parse().unwrap(),
        port: crate::domain::port::Port::new(port).unwrap(),
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// An operator with a session, on an engine of its own.
fn operator() -> (Operator<Memory>, Memory) {
    let engine = Memory::new(Clock::manual());
    engine.put("/f/session/one/s", "{}");
    let operator = Operator {
        engine: engine.clone(),
        keys: Keys::new("/f/"),
        host: "one".parse().unwrap(),
        session: "/f/session/one/s".into(),
    };
    (operator, engine)
}

async fn reserve(
    operator: &Operator<Memory>,
    port: u16,
    of: &str,
) -> Result<Reserved, FleetSilence> {
    operator.reserve(number(port), &name(of), 7).await
}

#[tokio::test]
async fn reservation_and_release_change_both_keys_at_once() {
    let (operator, engine) = operator();
    assert_eq!(reserve(&operator, 9100, "web").await, Ok(Reserved::New));
    assert_eq!(engine.commits(), [2]);
    let entries = engine.entries();
    assert_eq!(entries[EVERYWHERE_KEY], r#"{"name":"web","since_ms":7}"#);
    assert!(entries[CLAIM].contains(r#""host":"*""#) && entries[CLAIM].contains(r#""session":"""#));
    assert_eq!(reserve(&operator, 9100, "web").await, Ok(Reserved::Again));
    assert_eq!(operator.release(number(9100)).await, Ok(()));
    assert_eq!(engine.entries().len(), 1);
    let again = operator.release(number(9100)).await;
    assert_eq!(again, Err(FleetSilence::NotReserved(number(9100))));
}

#[tokio::test]
async fn number_of_a_host_and_a_second_number_of_a_name_are_refused() {
    let (operator, engine) = operator();
    engine.put(CLAIM, r#"{"host":"two","session":"s2"}"#);
    let taken = reserve(&operator, 9100, "web")
        .await
        .unwrap_err()
        .to_string();
    assert!(taken.contains("claimed by host two"), "{taken}");
    assert_eq!(
        operator.release(number(9100)).await,
        Err(FleetSilence::NotReserved(number(9100)))
    );
    assert!(engine.entries().contains_key(CLAIM), "it is the host's");
    reserve(&operator, 9101, "web").await.unwrap();
    let second = reserve(&operator, 9102, "web").await;
    assert_eq!(
        second,
        Err(FleetSilence::NameTaken(name("web"), number(9101)))
    );
    let other = reserve(&operator, 9101, "db")
        .await
        .unwrap_err()
        .to_string();
    assert!(other.contains("for web"), "{other}");
}

#[tokio::test]
async fn lost_answers_are_asked_for_again() {
    for trouble in [Trouble::AnswerLost, Trouble::RequestLost] {
        let (operator, engine) = operator();
        engine.lose_answer_of_next_commit();
        let reserved = reserve(&operator, 9100, "web").await;
        assert_eq!(reserved, Ok(Reserved::New), "it was not there before");
        assert_eq!(engine.entries().len(), 3, "{trouble:?}");
        engine.trouble(&[trouble, trouble]);
        assert_eq!(operator.release(number(9100)).await, Ok(()), "{trouble:?}");
        assert_eq!(engine.entries().len(), 1, "{trouble:?}");
    }
}

#[tokio::test]
async fn half_a_reservation_is_made_whole() {
    for lost in [CLAIM, EVERYWHERE_KEY] {
        let (operator, engine) = operator();
        reserve(&operator, 9100, "web").await.unwrap();
        engine.delete(lost);
        let known = engine.entries().get(EVERYWHERE_KEY).cloned();
        let reserved = operator.reserve(number(9100), &name("web"), 8).await;
        let (earlier, expected) = match lost {
            CLAIM => (known.clone(), Reserved::Again),
            _ => (None, Reserved::New),
        };
        assert_eq!(reserved, Ok(expected));
        let now = engine.entries().get(EVERYWHERE_KEY).cloned();
        assert!(earlier.is_none() || now == known, "it stays as it was");
        assert!(engine.entries().contains_key(lost));
        engine.delete(lost);
        assert_eq!(operator.release(number(9100)).await, Ok(()));
        assert_eq!(engine.entries().len(), 1);
    }
}

#[tokio::test]
async fn missing_rights_sessions_and_restored_engines_are_told() {
    let (operator, engine) = operator();
    // The first operation is a list, which every host may do.
    reserve(&operator, 9100, "web").await.unwrap();
    engine.trouble(&[Trouble::Denied]);
    let denied = operator
        .release(number(9100))
        .await
        .unwrap_err()
        .to_string();
    assert!(denied.contains("fleet role one --operator"), "{denied}");
    engine.put("/f/hold", "two claims again what it had");
    let held = reserve(&operator, 9101, "db")
        .await
        .unwrap_err()
        .to_string();
    assert!(held.contains("restored"), "{held}");
    engine.delete("/f/session/one/s");
    let ended = reserve(&operator, 9101, "db")
        .await
        .unwrap_err()
        .to_string();
    assert!(ended.contains("session"), "{ended}");
    engine.set_away(true);
    let away = reserve(&operator, 9101, "db").await.unwrap_err();
    assert!(matches!(away, FleetSilence::Away(_)), "{away}");
}

#[tokio::test]
async fn reservations_have_an_end_in_number() {
    let (operator, engine) = operator();
    for port in 1..=u16::try_from(MOST_RESERVED).unwrap() {
        let key = format!("/f/everywhere/udp/{port}");
        engine.put(&key, format!(r#"{{"name":"n{port}"}}"#));
    }
    let refused = reserve(&operator, 9100, "web").await;
    assert_eq!(refused, Err(FleetSilence::TooMany(MOST_RESERVED)));
}

#[tokio::test]
async fn sweep_and_eviction_leave_reservations_alone() {
    use crate::fleet::sweep::{Last, Sweep, Sweeper};
    let (operator, engine) = operator();
    reserve(&operator, 9100, "web").await.unwrap();
    // As a hostile host might write it.
    engine.put(
        "/f/claim/tcp/9101",
        r#"{"host":"*","session":"s-9","fence":"kernel","reclaim_s":600}"#,
    );
    let before = engine.entries();
    let sweeper = Sweeper {
        engine: engine.clone(),
        keys: operator.keys.clone(),
        host: operator.host.clone(),
    };
    for _ in 0..2 {
        let swept = sweeper
            .sweep(Sweep::All, &mut Last::default())
            .await
            .unwrap();
        assert_eq!((swept.marked, swept.freed), (0, 0));
        engine.end_sessions();
    }
    let evicted = sweeper.evict(&"two".parse().unwrap()).await.unwrap();
    assert_eq!(evicted, Some(Vec::new()));
    assert_eq!(engine.entries(), before);
}
