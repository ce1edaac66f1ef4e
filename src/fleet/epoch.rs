//! Epochs of a session, which keep late commits of names from being done.
//!
//! A commit without an answer may be done later, and then put a name again that was withdrawn meanwhile. Its key
//! tells nothing of that: it is absent before and after. So each commit of names compares the revision of the
//! session's key, which is written anew after a commit without an answer. What is on its way then was made for
//! an older revision, and is refused.

use super::claiming::Open;
use super::engine::{Answer, Compare, Engine, EngineError, Outcome, SessionId, Step};

/// Session in which names are put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    /// Key of the session.
    pub(super) key: String,
    /// The engine's own number of it.
    pub(super) id: SessionId,
}

impl Seat {
    /// Returns the seat of an open session.
    pub(super) fn of(key: String, open: &Open) -> Self {
        Self { key, id: open.id }
    }
}

/// Writes the session's key anew as it is. Its revision is the new epoch. Refused if the session has ended.
pub(super) async fn begin<E: Engine>(engine: &E, seat: &Seat) -> Answer<Outcome> {
    let page = engine.list(&seat.key, None, 1).await?;
    let revision = page.revision;
    let mut entries = page.entries.into_iter();
    let Some(entry) = entries.find(|entry| entry.key == seat.key) else {
        let found = vec![None];
        return Ok(Outcome::Refused { revision, found });
    };
    let compare = vec![Compare::unchanged(seat.key.clone(), entry.modified)];
    let put = Step::Put {
        key: entry.key,
        value: entry.value,
        session: Some(seat.id),
    };
    match engine.commit(compare, vec![put]).await? {
        Outcome::Refused { found, .. } if found.iter().any(Option::is_some) => {
            let why = "the session's key changed meanwhile";
            Err(EngineError::Unknown(why.to_owned()))
        }
        outcome => Ok(outcome),
    }
}
