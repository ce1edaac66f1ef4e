//! Taking turns: one request at a time for each name, one transition at a time for each lease.
//!
//! Two requests for the same new name must get the same lease, not two; and an owner's death must
//! not be noted over the hand-over to the next one.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// More than are at work at the same moment; two keys that share a lock only wait needlessly.
const LOCKS: u64 = 512;

/// Locks that keys are spread over.
#[derive(Debug)]
pub struct Turns {
    locks: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

/// The turn of one or several keys, until dropped. May be moved to another task.
pub type Turn = Vec<OwnedMutexGuard<()>>;

impl Default for Turns {
    fn default() -> Self {
        Self {
            locks: (0..LOCKS).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Turns {
    /// Waits until nobody else is at work on any of these.
    pub async fn take<K: Hash>(&self, keys: impl IntoIterator<Item = K>) -> Turn {
        let places: BTreeSet<u64> = keys
            .into_iter()
            .map(|key| self.hasher.hash_one(key) % LOCKS)
            .collect();
        let mut turn = Vec::with_capacity(places.len());
        // In ascending order, so that no two wait for each other.
        for place in places {
            if let Some(lock) = usize::try_from(place)
                .ok()
                .and_then(|at| self.locks.get(at))
            {
                turn.push(Arc::clone(lock).lock_owned().await);
            }
        }
        turn
    }

    /// The turn of these if nobody is at work on any of them now.
    pub fn try_take<K: Hash>(&self, keys: impl IntoIterator<Item = K>) -> Option<Turn> {
        let places: BTreeSet<u64> = keys
            .into_iter()
            .map(|key| self.hasher.hash_one(key) % LOCKS)
            .collect();
        let locks = places.into_iter().map(|place| {
            let lock = self.locks.get(usize::try_from(place).ok()?)?;
            Arc::clone(lock).try_lock_owned().ok()
        });
        locks.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_key_is_at_work_once() {
        let turns = Turns::default();
        let first = turns.take(["web", "api"]).await;
        let short = Duration::from_millis(20);
        let second = tokio::time::timeout(short, turns.take(["api"])).await;
        assert!(second.is_err(), "two had one turn");
        drop(first);
        turns.take(["api"]).await;
    }

    #[tokio::test]
    async fn keys_at_work_are_not_taken() {
        let turns = Turns::default();
        let first = turns.take(["web"]).await;
        assert!(turns.try_take(["web"]).is_none());
        drop(first);
        assert_eq!(turns.try_take(["web"]).map(|turn| turn.len()), Some(1));
    }

    #[tokio::test]
    async fn who_has_no_key_waits_for_nobody() {
        assert!(Turns::default().take([""; 0]).await.is_empty());
    }
}
