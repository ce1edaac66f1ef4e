//! Leases as a viewer sees them, before they become documents: filters and orders look at many leases and show few.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::answers::viewer::Viewer;
use crate::domain::lease::{Lease, Name, Owner};
use crate::host::process;

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// A lease with the texts that a viewer may see. The texts of another user's lease are absent, as in the document
/// that [`LeaseDocument::seen_by_others`](crate::answers::document::LeaseDocument::seen_by_others) makes of it.
#[derive(Debug, Clone)]
pub struct Seen {
    lease: Arc<Lease>,
    open: bool,
}

impl Seen {
    /// Returns the lease as the viewer sees it.
    pub fn new(lease: Arc<Lease>, viewer: &Viewer) -> Self {
        let open = viewer.sees(lease.uid);
        Self { lease, open }
    }

    /// The lease. Of another user's lease use only fields that [`Seen`] has no method for: its place, its state,
    /// its user and its times.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The name. `None` if it has none, or if it is hidden.
    pub fn name(&self) -> Option<&Name> {
        self.lease.name.as_ref().filter(|_| self.open)
    }

    /// The directory tree of the name. `None` if it has none, or if it is hidden.
    pub fn directory(&self) -> Option<&Path> {
        self.lease.scope.folder().filter(|_| self.open)
    }

    /// The labels; empty if they are hidden.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        if self.open {
            &self.lease.labels
        } else {
            &NO_LABELS
        }
    }

    /// The process that uses the port. `None` if there is none, or if it is hidden.
    pub fn owner(&self) -> Option<&Owner> {
        self.lease.owner.as_ref().filter(|_| self.open)
    }

    /// Present command of the owner, which the kernel is asked for; the recorded one if the process is gone.
    pub fn command(&self) -> Option<String> {
        let owner = self.owner()?;
        let living = self.lease.ended_at.is_none();
        let present = living.then(|| process::command_of(owner)).flatten();
        Some(present.unwrap_or_else(|| owner.command.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::document::LeaseDocument;
    use crate::domain::lease::tests_support::lease;
    use crate::host::clock::Clock;

    #[test]
    fn texts_are_those_of_the_document() {
        let mut lease = lease(20_000);
        lease.uid = 1000;
        lease.name = Some("web".parse().unwrap());
        lease.labels = [("team".to_owned(), "shop".to_owned())].into();
        for viewer in [1000, 1001].map(|of| Viewer::Reader { of }) {
            let document = LeaseDocument::of(&lease, &Clock::manual());
            let document = crate::answers::leases::shown(document, &viewer);
            let seen = Seen::new(Arc::new(lease.clone()), &viewer);
            assert_eq!(seen.name(), document.name.as_ref());
            assert_eq!(seen.labels(), &document.labels);
            assert_eq!(seen.directory(), document.directory.as_deref());
            let command = document.owner.map(|owner| owner.command.clone());
            assert_eq!(seen.command(), command);
        }
    }
}
