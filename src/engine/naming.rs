//! One request at a time for each name: two that ask for the same new name at once must get the
//! same lease, not two.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::domain::lease::{Name, Scope};

/// More than are asked for at the same moment; two names that share a lock only wait needlessly.
const LOCKS: usize = 64;

/// Locks that names are spread over.
#[derive(Debug)]
pub struct Naming {
    locks: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

/// The names of one request, kept from other requests until dropped.
pub type Named = Vec<OwnedMutexGuard<()>>;

impl Default for Naming {
    fn default() -> Self {
        Self {
            locks: (0..LOCKS).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Naming {
    /// Waits until no other request is at work on these names.
    pub async fn lock(&self, uid: u32, scope: &Scope, names: &[Name]) -> Named {
        let places: BTreeSet<usize> = names
            .iter()
            .map(|name| self.place(uid, scope, name))
            .collect();
        let mut locked = Vec::with_capacity(places.len());
        // In ascending order, so that no two requests wait for each other.
        for place in places {
            locked.push(Arc::clone(&self.locks[place]).lock_owned().await);
        }
        locked
    }

    fn place(&self, uid: u32, scope: &Scope, name: &Name) -> usize {
        let mut hasher = self.hasher.build_hasher();
        (uid, scope, name).hash(&mut hasher);
        usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_name_is_one_requests_at_a_time() {
        let naming = Naming::default();
        let names = ["web".parse().unwrap(), "api".parse().unwrap()];
        let first = naming.lock(0, &Scope::User, &names).await;
        let short = Duration::from_millis(20);
        let second = tokio::time::timeout(short, naming.lock(0, &Scope::User, &names[1..])).await;
        assert!(second.is_err(), "two requests had one name");
        drop(first);
        naming.lock(0, &Scope::User, &names[1..]).await;
    }

    #[tokio::test]
    async fn requests_without_names_wait_for_nobody() {
        assert!(
            Naming::default()
                .lock(0, &Scope::User, &[])
                .await
                .is_empty()
        );
    }
}
