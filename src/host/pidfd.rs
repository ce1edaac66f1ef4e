//! Pidfds (`pidfd_open(2)`) that all who wait for the end of a process share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;

use super::process::{self, ProcessError};
use super::readiness::Readiness;
use crate::domain::lease::Owner;

/// The pidfds in use, by pid and start of their processes.
#[derive(Debug, Default)]
pub struct Pidfds(Mutex<Known>);

type Known = HashMap<(u32, u64), Weak<Readiness>>;

impl Pidfds {
    /// Returns the pidfd of an owner, which `runtime` watches: it must outlive all that wait.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Gone`] if the owner has ended; another one if it cannot be watched.
    pub fn of(&self, owner: &Owner, runtime: &Handle) -> Result<Arc<Readiness>, ProcessError> {
        let key = (owner.pid, owner.start_ticks);
        if let Some(known) = self.known().get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let pidfd = process::pidfd(owner)?;
        let _entered = runtime.enter();
        let watched = Readiness::of(pidfd).map_err(|source| ProcessError::Unreadable {
            pid: owner.pid,
            source,
        })?;
        let watched = Arc::new(watched);
        let mut known = self.known();
        // Before the map grows: those that are not needed any more are forgotten.
        if known.len() == known.capacity() {
            known.retain(|_, pidfd| pidfd.strong_count() > 0);
        }
        known.insert(key, Arc::downgrade(&watched));
        Ok(watched)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // No change of the map can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_for_a_process_hear_of_its_end() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let owner = process::owner(child.id()).unwrap();
        let (pidfds, runtime) = (Pidfds::default(), Handle::current());
        let first = pidfds.of(&owner, &runtime).unwrap();
        let second = pidfds.of(&owner, &runtime).unwrap();
        assert!(Arc::ptr_eq(&first, &second), "they share one");
        let (one, other) = (first.readable_for_good(), second.readable_for_good());
        child.kill().unwrap();
        let (one, other) = tokio::join!(one, other);
        assert!(one.is_ok() && other.is_ok());
        child.wait().unwrap();
        drop((first, second));
        assert!(matches!(
            pidfds.of(&owner, &runtime),
            Err(ProcessError::Gone(_))
        ));
    }
}
