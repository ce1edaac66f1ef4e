//! Taking turns: one request at a time for each name, one transition at a time for each lease.
//!
//! Two requests for the same new name must get the same lease, not two; and an owner's death must
//! not be noted over the hand-over to the next one.
//!
//! A lock that is taken twice waits for itself: a task that needs several keys takes all of them in
//! one call, and takes none while it has another of its kind.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::engine::lock::Guarded;

/// A lock for each key that a task has or waits for. Keys are told apart by a hash of 64 bits.
#[derive(Debug)]
pub struct KeyedLocks {
    locks: Arc<Guarded<Locks>>,
    hasher: RandomState,
    /// Number of different keys that there can be.
    different: u64,
}

type Locks = HashMap<u64, Arc<Mutex<()>>>;

/// The turn of one or several keys, until dropped. May be moved to another task.
#[derive(Debug, Default)]
pub struct Turn(Vec<(OwnedMutexGuard<()>, Wanted)>);

/// A key that a task has or waits for. Its lock goes with the last of them.
#[derive(Debug)]
struct Wanted {
    key: u64,
    lock: Arc<Mutex<()>>,
    locks: Arc<Guarded<Locks>>,
}

impl Default for KeyedLocks {
    fn default() -> Self {
        Self::with_different(u64::MAX)
    }
}

impl KeyedLocks {
    /// Turns of keys that count as equal where the remainders of their hashes by `different`, at least
    /// one, are: with one, a task that takes a second turn waits for itself, as a test wants it.
    pub fn with_different(different: u64) -> Self {
        Self {
            locks: Arc::default(),
            hasher: RandomState::new(),
            different: different.max(1),
        }
    }

    /// Waits for the locks of all these keys.
    pub async fn take<K: Hash>(&self, keys: impl IntoIterator<Item = K>) -> Turn {
        let mut turn = Turn::default();
        for key in self.of(keys) {
            let wanted = self.wanted(key);
            let lock = Arc::clone(&wanted.lock).lock_owned().await;
            turn.0.push((lock, wanted));
        }
        turn
    }

    /// Takes the locks of all these keys if none of them is taken now.
    pub fn try_take<K: Hash>(&self, keys: impl IntoIterator<Item = K>) -> Option<Turn> {
        let mut turn = Turn::default();
        for key in self.of(keys) {
            let wanted = self.wanted(key);
            let lock = Arc::clone(&wanted.lock).try_lock_owned().ok()?;
            turn.0.push((lock, wanted));
        }
        Some(turn)
    }

    /// The hashes of these keys, each once and in ascending order, so that no two callers wait for
    /// each other.
    fn of<K: Hash>(&self, keys: impl IntoIterator<Item = K>) -> BTreeSet<u64> {
        let hash = |key| self.hasher.hash_one(key) % self.different;
        keys.into_iter().map(hash).collect()
    }

    fn wanted(&self, key: u64) -> Wanted {
        let lock = self
            .locks
            .with(|locks| Arc::clone(locks.entry(key).or_default()));
        Wanted {
            key,
            lock,
            locks: Arc::clone(&self.locks),
        }
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.locks.with(|locks| {
            // The table's and its own. Others are made under the table's lock alone.
            if Arc::strong_count(&self.lock) == 2 {
                locks.remove(&self.key);
            }
        });
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
        assert!(turns.try_take(["web"]).is_some());
    }

    #[tokio::test]
    async fn a_key_at_work_keeps_none_of_the_others_waiting() {
        let turns = KeyedLocks::default();
        let _first = turns.take([0]).await;
        assert!((1..10_000).all(|other| turns.try_take([other]).is_some()));
    }

    #[tokio::test]
    async fn locks_are_gone_with_the_last_who_wants_them() {
        let turns = Arc::new(KeyedLocks::default());
        let known = || turns.locks.with(|locks| locks.len());
        let first = turns.take(["web", "api"]).await;
        let waiting = Arc::clone(&turns);
        let waiting = tokio::spawn(async move { waiting.take(["web"]).await });
        tokio::task::yield_now().await;
        assert_eq!(known(), 2);
        drop(first);
        assert_eq!(known(), 1, "one is waited for");
        let second = waiting.await.unwrap();
        assert!(turns.try_take(["web"]).is_none());
        let short = Duration::from_millis(20);
        let given_up = tokio::time::timeout(short, turns.take(["web"])).await;
        assert!(given_up.is_err(), "two had one turn");
        drop(second);
        assert_eq!(known(), 0);
    }

    #[tokio::test]
    async fn keys_that_count_as_equal_are_taken_once() {
        let turns = KeyedLocks::with_different(1);
        assert_eq!(turns.take(["web", "api", "db"]).await.0.len(), 1);
    }

    #[tokio::test]
    async fn requests_without_keys_do_not_wait() {
        assert!(KeyedLocks::default().take([""; 0]).await.0.is_empty());
    }
}
