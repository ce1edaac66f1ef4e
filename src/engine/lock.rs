//! The lock of an owner.
//!
//! Rule: a thread holds at most one of these locks at a time, so no order between them is needed and
//! no two threads can wait for each other. The state is reached through a closure only: a lock cannot
//! be kept across an `await`. Debug builds check the rule.

use std::sync::{Mutex, PoisonError};

/// State behind a lock.
#[derive(Debug, Default)]
pub(super) struct Guarded<T>(Mutex<T>);

impl<T> Guarded<T> {
    pub(super) fn new(state: T) -> Self {
        Self(Mutex::new(state))
    }

    /// Runs `act` on the state. `act` does plain memory work: no system call that may wait, and no
    /// other lock.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> R {
        let _only = OnlyLock::claim();
        // A panic while the lock was held leaves plain values, each of them whole.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut state)
    }
}

/// The mark that this thread holds a lock, until dropped.
struct OnlyLock;

thread_local! {
    static IS_HELD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl OnlyLock {
    fn claim() -> Self {
        let was_held = IS_HELD.replace(true);
        debug_assert!(!was_held, "a second lock is taken while one is held");
        Self
    }
}

impl Drop for OnlyLock {
    fn drop(&mut self) {
        IS_HELD.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lock_after_another_is_fine() {
        let (one, other) = (Guarded::new(1), Guarded::new(2));
        let sum = one.with(|one| *one) + other.with(|other| *other);
        assert_eq!(sum, 3);
    }

    #[test]
    #[should_panic(expected = "a second lock")]
    fn second_lock_inside_the_first_is_refused() {
        let (one, other) = (Guarded::new(1), Guarded::new(2));
        one.with(|one| other.with(|other| *one + *other));
    }
}
