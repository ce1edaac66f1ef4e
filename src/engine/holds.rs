//! The holds by lease, with a count of the descriptors that they keep open.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::lease::LeaseId;
use crate::host::hold::Hold;

/// Every hold that guards a lease.
#[derive(Debug, Default)]
pub struct Holds {
    by_lease: HashMap<LeaseId, Arc<Hold>>,
    descriptors: usize,
}

impl Holds {
    /// Puts a hold to its lease; the one it replaces, if any, is given back to be closed.
    pub fn insert(&mut self, id: LeaseId, hold: Arc<Hold>) -> Option<Arc<Hold>> {
        self.descriptors += hold.descriptor_count();
        let replaced = self.by_lease.insert(id, hold);
        self.forget(replaced.as_deref());
        replaced
    }

    /// Takes a lease's hold out, to be closed by the caller outside of any lock.
    pub fn remove(&mut self, id: LeaseId) -> Option<Arc<Hold>> {
        let removed = self.by_lease.remove(&id);
        self.forget(removed.as_deref());
        removed
    }

    /// A lease's hold.
    pub fn get(&self, id: LeaseId) -> Option<&Arc<Hold>> {
        self.by_lease.get(&id)
    }

    /// How many descriptors all of them keep open.
    pub const fn descriptor_count(&self) -> usize {
        self.descriptors
    }

    fn forget(&mut self, hold: Option<&Hold>) {
        self.descriptors -= hold.map_or(0, Hold::descriptor_count);
    }
}
