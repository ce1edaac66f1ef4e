//! Questions on an engine in memory: fresh and old answers, pages, followers.

use super::*;
use crate::fleet::engine::{Compare, Outcome, Page, Renewed, SessionId, Step};
use crate::fleet::memory::{Changes, Memory};

fn questions(engine: &Memory, clock: &Clock) -> Questions<Memory> {
    let (own, _) = mpsc::channel(1);
    let host = "h".parse().unwrap();
    Questions::new(engine.clone(), Keys::new("/f/"), host, clock.clone(), own)
}

async fn asked(
    questions: &mut Questions<Memory>,
    silence: Option<FleetSilence>,
) -> Result<Told, FleetSilence> {
    let (reply, answer) = oneshot::channel();
    let question = Question::Names(None);
    questions.take(FleetRequest::Ask { question, reply }, silence.clone());
    if silence.is_none() && !questions.reads.is_empty() {
        let done = questions.read().await;
        questions.answer(done, "");
    }
    answer.await.unwrap()
}

const NAME: &str = r#"{"session":"s1","protocol":"tcp","port":80,"state":"active"}"#;

#[tokio::test]
async fn names_are_live_with_their_session_alone() {
    let clock = Clock::manual();
    let engine = Memory::new(clock.clone());
    engine.put("/f/name/web/a/l1", NAME);
    engine.put("/f/name/web/b/l2", NAME);
    engine.put("/f/session/a/s1", "{}");
    engine.put("/f/session/b/s2", "{}");
    let told = asked(&mut questions(&engine, &clock), None).await.unwrap();
    let live: Vec<(&str, bool)> = told.view.names.iter().map(|n| (&*n.host, n.live)).collect();
    assert_eq!(live, [("a", true), ("b", false)]);
}

#[tokio::test]
async fn last_answer_is_told_with_its_age_while_the_engine_is_away() {
    let clock = Clock::manual();
    let engine = Memory::new(clock.clone());
    let mut questions = questions(&engine, &clock);
    let away = || Some(FleetSilence::Away("gone".into()));
    assert_eq!(
        asked(&mut questions, away()).await,
        Err(FleetSilence::Away("gone".into()))
    );
    engine.put("/f/name/web/a/l1", NAME);
    assert!(asked(&mut questions, None).await.unwrap().is_fresh);
    clock.advance(Duration::from_secs(90));
    let old = asked(&mut questions, away()).await.unwrap();
    assert_eq!(
        (old.is_fresh, old.age, old.view.names.len()),
        (false, Duration::from_secs(90), 1)
    );
    engine.set_away(true);
    let old = asked(&mut questions, None).await.unwrap();
    assert!(!old.is_fresh, "the engine was asked, and was not there");
}

#[tokio::test]
async fn many_names_come_in_pages() {
    let clock = Clock::manual();
    let engine = Memory::new(clock.clone());
    for number in 0..1201 {
        engine.put(&format!("/f/name/web/a/l{number}"), NAME);
    }
    let told = asked(&mut questions(&engine, &clock), None).await.unwrap();
    assert_eq!((told.view.names.len(), told.view.more), (1201, false));
}

#[tokio::test]
async fn followers_hear_of_each_change_and_end_without_a_listener() {
    let clock = Clock::manual();
    let engine = Memory::new(clock.clone());
    let (own, mut requests) = mpsc::channel(1);
    let host = "h".parse().unwrap();
    let mut questions = Questions::new(engine.clone(), Keys::new("/f/"), host, clock.clone(), own);
    let name = Question::Names(Some("web".parse().unwrap()));
    let mut told = questions.follow(name.clone());
    let names = |told: &Option<Told>| told.as_ref().map(|told| told.view.names.len());
    told.wait_for(|told| names(told) == Some(0)).await.unwrap();
    let put = vec![Step::Put {
        key: "/f/name/web/a/l1".into(),
        value: NAME.into(),
        session: None,
    }];
    engine.commit(Vec::new(), put).await.unwrap();
    told.wait_for(|told| names(told) == Some(1)).await.unwrap();
    drop(told);
    let request = requests.recv().await.unwrap();
    questions.take(request, None);
    assert!(questions.followers.is_empty());
}

/// An engine whose members all hang.
#[derive(Clone)]
struct Hung;

impl Engine for Hung {
    type Watch = Changes;

    async fn session(&self, _: Duration) -> Answer<SessionId> {
        std::future::pending().await
    }

    async fn renew(&self, _: SessionId) -> Answer<Renewed> {
        std::future::pending().await
    }

    async fn end(&self, _: SessionId) -> Answer<()> {
        std::future::pending().await
    }

    async fn commit(&self, _: Vec<Compare>, _: Vec<Step>) -> Answer<Outcome> {
        std::future::pending().await
    }

    async fn list(&self, _: &str, _: Option<&str>, _: usize) -> Answer<Page> {
        std::future::pending().await
    }

    async fn list_keys(&self, _: &str, _: Option<&str>, _: usize) -> Answer<Page> {
        std::future::pending().await
    }

    async fn watch(&self, _: &str, _: u64) -> Answer<Changes> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn answer_has_a_limit_however_many_reads_it_takes() {
    let (own, _) = mpsc::channel(1);
    let (keys, host) = (Keys::new("/f/"), "h".parse().unwrap());
    let mut questions = Questions::new(Hung, keys, host, Clock::manual(), own);
    let (reply, answer) = oneshot::channel();
    let question = Question::Hosts;
    questions.take(FleetRequest::Ask { question, reply }, None);
    let done = tokio::time::timeout(LIMIT * 10, questions.read()).await;
    let seems_away = questions.answer(done.expect("the read has ended"), "");
    assert!(seems_away, "the session loop is to find out");
    let silence = answer.await.unwrap().unwrap_err();
    assert!(silence.to_string().contains("two seconds"), "{silence}");
}

#[tokio::test]
async fn own_leases_are_those_of_now_while_the_engine_is_away() {
    let clock = Clock::manual();
    let engine = Memory::new(clock.clone());
    let mut questions = questions(&engine, &clock);
    engine.put("/f/name/web/a/l1", NAME);
    engine.put("/f/name/web/h/l2", NAME);
    let told = asked(&mut questions, None).await.unwrap();
    let own = told.view.names.iter().find(|one| one.own).unwrap().clone();
    assert_eq!(own.host, "h");
    let now = FleetName {
        lease: "l3".into(),
        live: true,
        ..own
    };
    questions.set_own_names(vec![now]);
    let away = Some(FleetSilence::Away("gone".into()));
    let told = asked(&mut questions, away).await.unwrap();
    let leases: Vec<(&str, bool)> = told
        .view
        .names
        .iter()
        .map(|one| (&*one.lease, one.live))
        .collect();
    assert_eq!(leases, [("l1", false), ("l3", true)]);
}
