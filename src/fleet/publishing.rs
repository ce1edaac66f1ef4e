//! Publishing: the leases of this moment become commits of names.

use std::time::Duration;

use tracing::Span;

use super::engine::{Answer, Compare, Engine, EngineError, Entry, Outcome, Step};
use super::epoch::{self, Seat};
use super::member::Member;
use super::names::{Published, Wanted, deleted_keys, put_keys, wanted};
use super::telling::measured;
use super::value;
use crate::domain::fleet::{FleetName, FleetState};
use crate::store::StoreError;

/// Pause between two commits of one host: two a second at most.
pub(super) const BETWEEN: Duration = Duration::from_millis(500);

/// Sends steps under the condition that the epoch of the session lasts: a commit that arrives late, after the
/// session has ended or a later commit was sent, fails by itself.
pub(super) async fn send<E: Engine>(
    engine: &E,
    seat: &Seat,
    published: &mut Published,
    steps: &[Step],
) -> Answer<Outcome> {
    let epoch = match published.epoch() {
        Some(epoch) => epoch,
        None => match epoch::begin(engine, seat).await? {
            Outcome::Done { revision } => revision,
            refused @ Outcome::Refused { .. } => return Ok(refused),
        },
    };
    published.sent(steps);
    let compare = vec![Compare::unchanged(seat.key.clone(), epoch)];
    let outcome = engine.commit(compare, steps.to_vec()).await?;
    if let Outcome::Done { .. } = outcome {
        published.done(steps, epoch);
    }
    Ok(outcome)
}

impl<E: Engine> Member<E> {
    fn wanted(&self) -> Wanted {
        let session = self.session.id();
        session.map_or_else(Wanted::new, |session| self.wanted_in(session))
    }

    fn wanted_in(&self, session: &str) -> Wanted {
        let leases = self.service.leases();
        let publish = self.settings.publish;
        wanted(&leases, publish, &self.keys, &self.identity, session)
    }

    /// Returns the leases that this host publishes, as the fleet reads them.
    pub(super) fn own_names(&self) -> Vec<FleetName> {
        let read = self.wanted().into_iter().filter_map(|(key, value)| {
            let entry = Entry {
                key,
                value: value.into_bytes(),
                created: 0,
                modified: 0,
            };
            Some(FleetName {
                live: true,
                own: true,
                ..value::name(&self.keys, &entry)?.name
            })
        });
        read.collect()
    }

    /// Counts the keys that wait. Without a session none of them is there yet.
    pub(super) fn count_pending(&mut self) {
        let session = self.session.id().unwrap_or_default();
        self.pending = self.published.pending(&self.wanted_in(session));
    }

    /// Whether a key is to be changed.
    pub(super) fn has_changes(&mut self) -> bool {
        self.pending = self.published.pending(&self.wanted());
        self.pending > 0
    }

    /// Sends the next commit, and says when the one after it is due. While the engine is away it counts what
    /// waits: a host that is back publishes without being asked.
    pub(super) async fn publish(&mut self) {
        self.publish_at = None;
        let wanted = self.wanted();
        if !self.may_commit() {
            self.pending = self.published.pending(&wanted);
            return;
        }
        let steps = self.published.next_steps(&wanted);
        if steps.is_empty() {
            self.pending = 0;
            return self.all_is_there();
        }
        let now = self.now();
        let sent = self.commit(&steps).await;
        self.pending = self.published.pending(&wanted);
        match sent {
            Ok(Outcome::Done { .. }) => self.publish_at = Some(now.after(BETWEEN)),
            Ok(Outcome::Refused { .. }) => {
                tracing::warn!(
                    "names were refused, as the session has ended; they are sent under a new one"
                );
                self.is_in = false;
                self.renew_at = now;
            }
            Err(error) => {
                tracing::warn!(%error, steps = steps.len(), "could not publish names; they are sent again after the next renewal");
                self.renew_at = now;
                // A renewal that succeeds does not mean that a commit does.
                self.publish_at = Some(now.after(self.settings.session / 3));
                self.why = error.to_string();
            }
        }
    }

    fn all_is_there(&mut self) {
        match self.state {
            FleetState::Quarantined => self.be(FleetState::Joined, ""),
            FleetState::Joined => self.why.clear(),
            _ => {}
        }
    }

    /// Withdraws all names of this host.
    pub(super) async fn withdraw(&mut self) -> Result<(), EngineError> {
        loop {
            let steps = self.published.next_steps(&Wanted::new());
            if steps.is_empty() || !self.is_in {
                return Ok(());
            }
            if let Outcome::Refused { .. } = self.commit(&steps).await? {
                return Ok(());
            }
        }
    }

    async fn commit(&mut self, steps: &[Step]) -> Answer<Outcome> {
        let open = (self.session.key(), self.session.open_session());
        let (Some(key), Some(open)) = open else {
            return Err(EngineError::Fault("no session is open".into()));
        };
        let own = Seat::of(key, &open);
        let store = self.service.store().clone();
        let unrecorded =
            |error: StoreError| EngineError::Fault(format!("names cannot be recorded: {error}"));
        // On record first: a key that nothing knows of would never be deleted.
        let added = store.add_fleet_names(put_keys(steps)).await;
        added.map_err(unrecorded)?;
        let sending = send(&self.engine, &own, &mut self.published, steps);
        let (sent, word, took) = measured(steps.len(), &[Span::current()], sending).await;
        self.service.journal().fleet_committed(word, took);
        match sent {
            Ok(Outcome::Done { .. }) => {
                self.commits.done += 1;
                let removed = store.remove_fleet_names(deleted_keys(steps)).await;
                if let Err(error) = removed {
                    tracing::warn!(%error, "could not forget withdrawn names; they are withdrawn again at the next start");
                }
            }
            Ok(Outcome::Refused { .. }) => self.commits.refused += 1,
            Err(EngineError::Denied(_) | EngineError::Full(_)) => self.commits.denied += 1,
            Err(_) => self.commits.failed += 1,
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::engine::SessionId;
    use crate::fleet::memory::{Memory, Trouble};
    use crate::host::clock::Clock;

    const SESSION: &str = "/f/session/h/s";

    fn wanted(count: usize) -> Wanted {
        let pairs = (0..count).map(|n| (format!("/f/name/n{n:03}/h/l"), "v".to_owned()));
        pairs.collect()
    }

    /// Engine with a session.
    async fn engine() -> Memory {
        let engine = Memory::new(Clock::manual());
        let session = engine.session(Duration::from_secs(30)).await.unwrap();
        let put = Step::Put {
            key: SESSION.to_owned(),
            value: "{}".into(),
            session: Some(session),
        };
        engine.commit(Vec::new(), vec![put]).await.unwrap();
        engine
    }

    async fn send_to(
        engine: &Memory,
        published: &mut Published,
        steps: &[Step],
    ) -> Answer<Outcome> {
        let seat = Seat {
            key: SESSION.to_owned(),
            id: SessionId(1),
        };
        send(engine, &seat, published, steps).await
    }

    async fn published(engine: &Memory, published: &mut Published, wanted: &Wanted) {
        loop {
            let steps = published.next_steps(wanted);
            if steps.is_empty() {
                return;
            }
            // An answer that is lost is asked for again.
            let _ = send_to(engine, published, &steps).await;
        }
    }

    #[tokio::test]
    async fn commit_that_arrives_late_brings_no_name_back() {
        let engine = engine().await;
        let mut known = Published::default();
        published(&engine, &mut known, &wanted(1)).await;
        let all = wanted(2);
        let steps = known.next_steps(&all);
        engine.trouble(&[Trouble::Late]);
        assert!(send_to(&engine, &mut known, &steps).await.is_err());
        published(&engine, &mut known, &all).await;
        published(&engine, &mut known, &wanted(1)).await;
        let late = engine.deliver();
        assert!(
            matches!(late[..], [Ok(Outcome::Refused { .. })]),
            "{late:?}"
        );
        assert_eq!(engine.entries().len(), 2);
    }

    #[tokio::test]
    async fn names_arrive_in_few_commits_and_each_once() {
        let engine = engine().await;
        let mut known = Published::default();
        published(&engine, &mut known, &wanted(150)).await;
        // The session, and its epoch.
        assert_eq!(engine.commits(), [1, 1, 64, 64, 22]);
        assert_eq!(known.count(), 150);
        published(&engine, &mut known, &wanted(1)).await;
        assert_eq!(engine.entries().len(), 2);
    }

    #[tokio::test]
    async fn new_session_is_the_first_epoch_of_its_names() {
        let engine = engine().await;
        let mut known = Published::default();
        let session = engine.list(SESSION, None, 1).await.unwrap();
        known.doubt_all(Some(session.entries[0].modified));
        published(&engine, &mut known, &wanted(3)).await;
        assert_eq!(engine.commits(), [1, 3], "the session, and the names");
        // A commit whose answer is lost is followed by an epoch of its own.
        engine.trouble(&[Trouble::AnswerLost]);
        published(&engine, &mut known, &wanted(4)).await;
        assert_eq!(engine.commits()[2..], [1, 1, 1]);
    }

    #[tokio::test]
    async fn lost_answers_and_requests_are_sent_again_with_the_same_result() {
        for trouble in [Trouble::AnswerLost, Trouble::RequestLost, Trouble::Away] {
            let engine = engine().await;
            engine.trouble(&[trouble, trouble]);
            let mut known = Published::default();
            published(&engine, &mut known, &wanted(3)).await;
            assert_eq!(
                (engine.entries().len(), known.count()),
                (4, 3),
                "{trouble:?}"
            );
        }
    }

    #[tokio::test]
    async fn commit_of_an_ended_session_changes_nothing() {
        let engine = Memory::new(Clock::manual());
        let mut known = Published::default();
        let steps = known.next_steps(&wanted(3));
        let sent = send_to(&engine, &mut known, &steps).await;
        assert!(matches!(sent, Ok(Outcome::Refused { .. })));
        assert_eq!((engine.entries().len(), known.count()), (0, 0));
    }

    #[tokio::test]
    async fn restored_engine_gets_every_name_again() {
        let engine = engine().await;
        let before = engine.copy();
        let mut known = Published::default();
        published(&engine, &mut known, &wanted(3)).await;
        engine.restore(before);
        assert_eq!(engine.entries().len(), 1);
        known.doubt_all(None);
        published(&engine, &mut known, &wanted(3)).await;
        assert_eq!(engine.entries().len(), 4);
    }
}
