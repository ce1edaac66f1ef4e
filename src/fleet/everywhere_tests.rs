//! Hosts that keep reserved numbers, on an engine in memory.

use std::sync::{Arc, Mutex};

use super::*;
use crate::fleet::memory::{Memory, Trouble};
use crate::host::clock::Clock;

const SESSION: &str = "/f/session/one/s";
const RESERVED: &str = "/f/everywhere/tcp/9100";
const SAID: &str = "/f/host/one/everywhere/tcp/9100";

/// Leases of a host: what is busy, and what is kept.
#[derive(Debug, Clone, Default)]
struct Books(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    busy: BTreeMap<u16, String>,
    kept: BTreeMap<u16, String>,
    told: usize,
    /// Engine in which an operator takes the number back in the moment in which it is kept.
    taken_back_in: Option<Memory>,
}

impl Lessor for Books {
    async fn check(&self, number: Number, _: &Name) -> Result<(), String> {
        let busy = self.0.lock().unwrap().busy.get(&number.port.get()).cloned();
        busy.map_or(Ok(()), Err)
    }

    async fn keep(&self, number: Number, name: &Name) -> Result<(), String> {
        let mut state = self.0.lock().unwrap();
        if let Some(program) = state.busy.get(&number.port.get()) {
            return Err(program.clone());
        }
        state.kept.insert(number.port.get(), name.to_string());
        if let Some(engine) = state.taken_back_in.take() {
            engine.delete(RESERVED);
        }
        Ok(())
    }

    async fn let_go(&self, number: Number, _: Option<&Name>) -> Result<(), String> {
        self.0.lock().unwrap().kept.remove(&number.port.get());
        Ok(())
    }

    fn tell(&self, numbers: &BTreeMap<Number, Kept>) {
        self.0.lock().unwrap().told = numbers.len();
    }
}

struct Place {
    engine: Memory,
    books: Books,
    host: Everywhere<Memory, Books>,
}

impl Place {
    fn new() -> Self {
        let engine = Memory::new(Clock::manual());
        engine.put(SESSION, "{}");
        let books = Books::default();
        Self {
            host: host(&engine, &books),
            engine,
            books,
        }
    }

    async fn settle(&mut self) -> Answer<u64> {
        self.host.settle(SESSION).await
    }

    fn said(&self) -> Option<String> {
        self.engine.entries().get(SAID).cloned()
    }

    fn kept(&self) -> Vec<u16> {
        self.books.0.lock().unwrap().kept.keys().copied().collect()
    }
}

/// A host, as after a start: it remembers nothing.
fn host(engine: &Memory, books: &Books) -> Everywhere<Memory, Books> {
    let (keys, own) = (Keys::new("/f/"), "one".parse().unwrap());
    Everywhere::new(engine.clone(), keys, own, books.clone())
}

const WEB: &str = r#"{"name":"web","since_ms":1}"#;

#[tokio::test]
async fn host_takes_a_number_says_so_once_and_lets_go() {
    let mut place = Place::new();
    place.engine.put(RESERVED, WEB);
    place.settle().await.unwrap();
    assert_eq!(
        (place.said().as_deref(), place.kept()),
        (Some("\"held\""), vec![9100])
    );
    let commits = place.engine.commits().len();
    place.settle().await.unwrap();
    assert_eq!(
        place.engine.commits().len(),
        commits,
        "nothing is said twice"
    );
    place.engine.delete(RESERVED);
    // After a restart nothing is known but what the engine has.
    place.host = host(&place.engine, &place.books);
    place.settle().await.unwrap();
    assert_eq!((place.said(), place.kept()), (None, vec![]));
}

#[tokio::test]
async fn host_objects_and_takes_the_number_once_it_is_free() {
    let mut place = Place::new();
    place.engine.put(RESERVED, WEB);
    place
        .books
        .0
        .lock()
        .unwrap()
        .busy
        .insert(9100, "nginx".into());
    place.settle().await.unwrap();
    assert_eq!(place.said().as_deref(), Some(r#"{"busy":"nginx"}"#));
    place.books.0.lock().unwrap().busy.clear();
    place.settle().await.unwrap();
    assert_eq!(place.said().as_deref(), Some("\"held\""));
    assert_eq!(place.books.0.lock().unwrap().told, 1);
}

#[tokio::test]
async fn number_that_is_taken_back_before_the_host_has_said_held_is_let_go() {
    // A host that was killed remembers nothing.
    let cases = [(None, false), (Some("nginx"), false), (None, true)];
    for (busy, is_killed) in cases {
        let mut place = Place::new();
        place.engine.put(RESERVED, WEB);
        if let Some(program) = busy {
            let busy = (9100, program.into());
            place.books.0.lock().unwrap().busy.extend([busy]);
            place.settle().await.unwrap();
            place.books.0.lock().unwrap().busy.clear();
        }
        place.books.0.lock().unwrap().taken_back_in = Some(place.engine.clone());
        assert!(place.settle().await.is_err(), "its answer is refused");
        assert_eq!(place.kept(), [9100]);
        if is_killed {
            place.host = host(&place.engine, &place.books);
        }
        place.settle().await.unwrap();
        assert_eq!((place.said(), place.kept()), (None, vec![]), "{busy:?}");
    }
}

#[tokio::test]
async fn emptied_or_restored_engine_takes_no_number_from_its_name() {
    let mut place = Place::new();
    let before = place.engine.copy();
    place.engine.put(RESERVED, WEB);
    place.settle().await.unwrap();
    place.engine.restore(before);
    place.settle().await.unwrap();
    assert_eq!(place.kept(), [9100], "no operator took it back");
    assert_eq!(
        place.engine.entries().len(),
        1,
        "and no host reserves it again"
    );
}

#[tokio::test]
async fn answer_to_an_earlier_reservation_is_given_anew() {
    let mut place = Place::new();
    place.engine.put(RESERVED, WEB);
    place.settle().await.unwrap();
    place.engine.delete(RESERVED);
    place.engine.put(RESERVED, r#"{"name":"db"}"#);
    let commits = place.engine.commits().len();
    place.settle().await.unwrap();
    assert_eq!(place.engine.commits().len(), commits + 1);
}

#[tokio::test]
async fn second_number_of_a_name_and_values_that_do_not_hold_take_nothing() {
    let mut place = Place::new();
    place.engine.put(RESERVED, WEB);
    place.settle().await.unwrap();
    place.engine.put("/f/everywhere/tcp/9101", WEB);
    place
        .engine
        .put("/f/everywhere/tcp/9102", r#"{"name":"../x"}"#);
    place.engine.put("/f/everywhere/tcp/9103/x", WEB);
    // What a later version may write is not taken for a release.
    place.engine.put(RESERVED, r#"{"names":["web"]}"#);
    place.settle().await.unwrap();
    assert_eq!(place.kept(), [9100, 9101]);
    place.engine.put(RESERVED, WEB);
    place.settle().await.unwrap();
    let said = &place.engine.entries()["/f/host/one/everywhere/tcp/9101"];
    assert!(said.contains("another number"), "{said}");
}

#[tokio::test]
async fn ended_session_says_nothing_and_lost_answers_are_made_good() {
    let mut place = Place::new();
    place.engine.put(RESERVED, WEB);
    place.engine.delete(SESSION);
    assert!(place.settle().await.is_err());
    assert_eq!(place.said(), None);
    place.engine.put(SESSION, "{}");
    place.engine.lose_answer_of_next_commit();
    assert!(place.settle().await.is_err());
    place.settle().await.unwrap();
    place.engine.trouble(&[Trouble::Away]);
    assert!(place.settle().await.is_err());
    assert_eq!(place.said().as_deref(), Some("\"held\""));
}

#[tokio::test]
async fn answers_are_told_with_the_hosts_that_live() {
    use crate::domain::everywhere::Stand;
    use crate::domain::fleet::Question;
    let mut place = Place::new();
    // One of an earlier reservation is none to this one.
    place
        .engine
        .put("/f/host/early/everywhere/tcp/9100", "\"held\"");
    place.engine.put(RESERVED, WEB);
    place.settle().await.unwrap();
    for host in ["early", "objects", "silent"] {
        place.engine.put(&format!("/f/session/{host}/s"), "{}");
    }
    let busy = r#"{"busy":"nginx"}"#;
    place.engine.put("/f/host/gone/everywhere/tcp/9100", busy);
    place
        .engine
        .put("/f/host/objects/everywhere/tcp/9100", busy);
    let (keys, own) = (Keys::new("/f/"), "one".parse().unwrap());
    let view = view::read(&place.engine, &keys, &own, &Question::Everywhere);
    let view = view.await.unwrap();
    let hosts = view.everywhere[0].hosts.iter();
    let told: Vec<(&str, Stand, bool)> = hosts
        .map(|host| (&*host.host, host.state, host.live))
        .collect();
    let expected = [
        ("early", Stand::Away, true),
        ("gone", Stand::Away, false),
        ("objects", Stand::Busy, true),
        ("one", Stand::Held, true),
        ("silent", Stand::Away, true),
    ];
    assert_eq!(told, expected);
    assert_eq!(view.everywhere[0].objectors().count(), 1);
}
