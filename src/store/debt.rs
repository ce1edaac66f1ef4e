//! Debts: changes of leases that the record has not taken yet, since its disk is full or its files are
//! gone. Leases must go on and end meanwhile. The next commit that works writes them too, so that no
//! port is granted anew on record before its last lease has ended there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::lease::{Lease, LeaseId};

/// The latest form of each lease that the record does not have. There is one form a lease at most, and
/// no new leases while there are any, so their number is bounded.
#[derive(Debug, Default)]
pub(super) struct Debts {
    forms: Mutex<HashMap<LeaseId, Arc<Lease>>>,
    count: AtomicUsize,
}

impl Debts {
    fn forms(&self) -> MutexGuard<'_, HashMap<LeaseId, Arc<Lease>>> {
        // No change of the table can panic halfway.
        self.forms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of leases with a change that is not on record.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Keeps a changed lease until it is on record.
    pub(super) fn owe(&self, lease: &Lease) {
        let mut forms = self.forms();
        let known = forms.get(&lease.id);
        if known.is_none_or(|known| known.revision <= lease.revision) {
            forms.insert(lease.id, Arc::new(lease.clone()));
        }
        self.count.store(forms.len(), Ordering::Release);
    }

    /// Returns all forms, to be written.
    pub(super) fn all(&self) -> Vec<Arc<Lease>> {
        if self.count() == 0 {
            return Vec::new();
        }
        self.forms().values().cloned().collect()
    }

    /// Returns the latest form of a lease, if the record does not have it.
    pub(super) fn of(&self, id: LeaseId) -> Option<Arc<Lease>> {
        (self.count() > 0).then(|| self.forms().get(&id).cloned())?
    }

    /// Forgets forms that are on record. Newer ones stay.
    pub(super) fn pay(&self, written: &[Arc<Lease>]) {
        if written.is_empty() {
            return;
        }
        let mut forms = self.forms();
        for lease in written {
            let known = forms.get(&lease.id);
            if known.is_some_and(|known| known.revision <= lease.revision) {
                forms.remove(&lease.id);
            }
        }
        self.count.store(forms.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::full_lease;

    #[test]
    fn only_the_latest_form_of_a_lease_is_owed() {
        let debts = Debts::default();
        let old = full_lease();
        let mut new = old.clone();
        new.revision += 1;
        debts.owe(&old);
        let written = debts.all();
        debts.owe(&new);
        debts.owe(&old);
        debts.pay(&written);
        assert_eq!(debts.of(new.id).unwrap().revision, new.revision);
        assert_eq!(debts.count(), 1);
        debts.pay(&debts.all());
        assert_eq!((debts.count(), debts.all()), (0, Vec::new()));
    }
}
