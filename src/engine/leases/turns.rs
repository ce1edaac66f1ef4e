//! Taking turns: one request at a time for each name, one transition at a time for each lease.
//!
//! Two requests for the same new name must get the same lease, not two; and an owner's death must
//! not be noted over the hand-over to the next one.
//!
//! Keys share locks, and a lock that is taken twice waits for itself: a task that needs several
//! keys takes all of them in one call, and takes none while it has another of its kind.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// More than are at work at the same moment; two keys that share a lock only wait needlessly.
pub const LOCKS: u64 = 512;

/// Locks that keys are spread over.
#[derive(Debug)]
pub struct KeyedLocks {
    locks: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

/// The turn of one or several keys, until dropped. May be moved to another task.
pub type Turn = Vec<OwnedMutexGuard<()>>;

impl Default for KeyedLocks {
    fn default() -> Self {
        Self::new(LOCKS)
    }
}

impl KeyedLocks {
    /// Turns of keys that share so many locks: at least one.
    pub fn new(locks: u64) -> Self {
        Self {
            locks: (0..locks.max(1)).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The locks of these keys, each once and in ascending order, so that no two callers wait for
    /// each other.
    fn of<K: Hash>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Iterator<Item = &Arc<Mutex<()>>> {
        let count = self.locks.len() as u64;
        let place = |key| usize::try_from(self.hasher.hash_one(key) % count).ok();
        let places: BTreeSet<usize> = keys.into_iter().filter_map(place).collect();
        places.into_iter().filter_map(|place| self.locks.get(place))
    }

    /// Waits for the locks of all these keys.
    pub async fn take<K: Hash>(&self, keys: impl IntoIterator<Item = K>) -> Turn {
        let mut turn = Vec::new();
        for lock in self.of(keys) {
            turn.push(Arc::clone(lock).lock_owned().await);
        }
        turn
    }

    /// Takes the locks of all these keys if none of them is taken now.
    pub fn try_take<K: Hash>(&self, keys: impl IntoIterator<Item = K>) -> Option<Turn> {
        let locks = self.of(keys);
        locks
            .map(|lock| Arc::clone(lock).try_lock_owned().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_key_is_at_work_once() {
        let turns = KeyedLocks::default();
        let first = turns.take(["web", "api"]).await;
        let short = Duration::from_millis(20);
        let second = tokio::time::timeout(short, turns.take(["api"])).await;
        assert!(second.is_err(), "two had one turn");
        drop(first);
        turns.take(["api"]).await;
    }

    #[tokio::test]
    async fn keys_at_work_are_not_taken() {
        let turns = KeyedLocks::default();
        let first = turns.take(["web"]).await;
        assert!(turns.try_take(["web"]).is_none());
        drop(first);
        assert_eq!(turns.try_take(["web"]).map(|turn| turn.len()), Some(1));
    }

    #[tokio::test]
    async fn keys_that_share_a_lock_take_it_once() {
        let turns = KeyedLocks::new(1);
        assert_eq!(turns.take(["web", "api", "db"]).await.len(), 1);
    }

    #[tokio::test]
    async fn requests_without_keys_do_not_wait() {
        assert!(KeyedLocks::default().take([""; 0]).await.is_empty());
    }
}
