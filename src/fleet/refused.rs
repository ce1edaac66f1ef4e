//! An engine that notes refusals, whichever part of this host asked: rights can be taken from a host while its session
//! lives, and etcd renews sessions without asking for rights.
//!
//! A refusal names no key. So after one, and from time to time, the rights are looked at one by one: with a read, and
//! with commits whose condition never holds. etcd checks the rights of a commit before its conditions, and so nothing
//! is changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::engine::{
    Answer, Compare, Engine, EngineError, Outcome, Page, Renewed, SessionId, Step, way_to_rights,
};
use super::key::Keys;
use super::tend::NEVER;
use crate::domain::fleet::HostName;
use crate::engine::troubles::{TroubleKind, Troubles};

/// An engine that notes refusals.
#[derive(Debug, Clone)]
pub(super) struct Refusing<E> {
    engine: E,
    keys: Keys,
    host: HostName,
    troubles: Arc<Troubles>,
    /// Whether the engine has refused something since the rights were looked at, or refuses it still.
    is_refused: Arc<AtomicBool>,
}

impl<E: Engine> Refusing<E> {
    pub(super) fn new(engine: E, keys: Keys, host: HostName, troubles: Arc<Troubles>) -> Self {
        Self {
            engine,
            keys,
            host,
            troubles,
            // The first look comes with the first session.
            is_refused: Arc::new(AtomicBool::new(true)),
        }
    }

    fn noted<T>(&self, answer: Answer<T>) -> Answer<T> {
        if matches!(answer, Err(EngineError::Denied(_))) {
            self.is_refused.store(true, Ordering::Relaxed);
        }
        answer.map_err(|error| error.with_way_out(&self.host))
    }

    /// Places that a host writes to.
    fn written(&self) -> Vec<String> {
        let (keys, host) = (&self.keys, &self.host);
        vec![
            keys.sessions_of(host),
            keys.stands_of(host),
            keys.names(),
            keys.claims(),
            keys.all_gone(),
            keys.duty(),
            keys.hold(),
        ]
    }

    /// The engine's reason if it refuses a commit to these places.
    async fn refusal(&self, places: &[String]) -> Answer<Option<String>> {
        let never = Compare::unchanged(self.keys.hold(), NEVER);
        let delete = |key: &String| Step::Delete { key: key.clone() };
        let steps = places.iter().map(delete).collect();
        denied(self.engine.commit(vec![never], steps).await)
    }

    /// Looks which rights are missing, in words.
    async fn missing(&self) -> Answer<Option<String>> {
        let sessions = self.keys.sessions();
        let mut refused = Vec::new();
        let mut reason = denied(self.engine.list_keys(&sessions, None, 1).await)?;
        if reason.is_some() {
            refused.push(format!("reading {sessions}"));
        } else {
            let places = self.written();
            if self.refusal(&places).await?.is_some() {
                for place in places {
                    if let Some(why) = self.refusal(std::slice::from_ref(&place)).await? {
                        reason = Some(why);
                        refused.push(format!("writing {place}"));
                    }
                }
            }
        }
        let host = &self.host;
        Ok(reason.map(|reason| {
            format!(
                "etcd refuses this host: {reason} for {}; {}",
                refused.join(", "),
                way_to_rights(host)
            )
        }))
    }
}

/// The reason if an operation was denied.
fn denied<T>(answer: Answer<T>) -> Answer<Option<String>> {
    match answer {
        Ok(_) => Ok(None),
        Err(EngineError::Denied(reason)) => Ok(Some(reason)),
        Err(error) => Err(error),
    }
}

impl<E: Engine> Engine for Refusing<E> {
    type Watch = E::Watch;

    async fn session(&self, ttl: Duration) -> Answer<SessionId> {
        self.noted(self.engine.session(ttl).await)
    }

    async fn renew(&self, id: SessionId) -> Answer<Renewed> {
        self.noted(self.engine.renew(id).await)
    }

    async fn end(&self, id: SessionId) -> Answer<()> {
        self.noted(self.engine.end(id).await)
    }

    async fn commit(&self, compare: Vec<Compare>, steps: Vec<Step>) -> Answer<Outcome> {
        self.noted(self.engine.commit(compare, steps).await)
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Answer<Page> {
        self.noted(self.engine.list(prefix, after, limit).await)
    }

    async fn list_keys(&self, prefix: &str, after: Option<&str>, limit: usize) -> Answer<Page> {
        self.noted(self.engine.list_keys(prefix, after, limit).await)
    }

    async fn watch(&self, prefix: &str, from: u64) -> Answer<E::Watch> {
        self.noted(self.engine.watch(prefix, from).await)
    }

    async fn look_at_rights(&self, is_due: bool) {
        if !is_due && !self.is_refused.load(Ordering::Relaxed) {
            return;
        }
        // Without an answer nothing is known: the next renewal looks again.
        self.is_refused.store(true, Ordering::Relaxed);
        if let Ok(missing) = self.missing().await {
            self.is_refused.store(missing.is_some(), Ordering::Relaxed);
            self.troubles.set(TroubleKind::Rights, missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::memory::{Memory, Trouble};
    use crate::host::clock::Clock;

    #[tokio::test]
    async fn refusals_are_told_with_their_keys_until_they_are_over() {
        let memory = Memory::new(Clock::manual());
        let troubles = Arc::<Troubles>::default();
        let (keys, host) = (Keys::new("/f/"), "one".parse().unwrap());
        let engine = Refusing::new(memory.clone(), keys, host, Arc::clone(&troubles));
        engine.look_at_rights(false).await;
        assert_eq!(troubles.told(), [""; 0]);
        let commits = memory.commits().len();
        engine.look_at_rights(false).await;
        assert_eq!(memory.commits().len(), commits, "nothing was refused");
        memory.trouble(&[Trouble::Denied]);
        let denied = engine.list("/f/name/", None, 1).await.unwrap_err();
        let way_out = "`portbook fleet role one`";
        assert!(denied.to_string().contains(way_out), "{denied}");
        memory.trouble(&[Trouble::Denied]);
        engine.look_at_rights(false).await;
        let told = troubles.told().concat();
        assert!(
            told.contains("denied for reading /f/session/")
                && told.contains("portbook fleet role one"),
            "{told}"
        );
        memory.trouble(&[Trouble::Away]);
        engine.look_at_rights(false).await;
        assert_eq!(troubles.told().len(), 1, "nothing new is known");
        engine.look_at_rights(false).await;
        assert_eq!(troubles.told(), [""; 0]);
        assert!(memory.entries().is_empty());
    }
}
