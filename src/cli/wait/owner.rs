//! Owners in the eyes of a waiting command: whether one lives, and news of its end.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_all;

use crate::answers::document::{LeaseDocument, OwnerDocument};
use crate::domain::lease::{Owner, State};
use crate::host::process::{self, ProcessError};
use crate::host::readiness::Readiness;

/// Maximum difference of two readings of one start time, since the wall clock may be set in
/// between.
const SAME_START: Duration = Duration::from_secs(2);

/// Descriptor that tells the end of a lease's owner. `None` if it has none, or another by now.
pub(super) fn owner_of(lease: &LeaseDocument) -> Option<Readiness> {
    let owner = lease.owner.as_ref();
    let owner = process_of(owner.filter(|_| lease.state != State::Reserved)?)?;
    Readiness::of(process::pidfd(&owner).ok()?).ok()
}

/// Process of this document, if it is there and visible.
pub(super) fn process_of(owner: &OwnerDocument) -> Option<Owner> {
    let found = process::owner(owner.pid).ok()?;
    let apart = found.started_at.duration_since(owner.started_at);
    (apart.unsigned_abs() <= SAME_START).then_some(found)
}

/// Whether the process of this document has ended. One that is hidden lives.
pub(super) fn has_ended(owner: &OwnerDocument) -> bool {
    match process::owner(owner.pid) {
        Ok(_) => process_of(owner).is_none(),
        Err(error) => matches!(error, ProcessError::Gone(_)),
    }
}

/// Returns once one of the owners has ended; never without owners.
pub(super) async fn any_ends(owners: &[Readiness]) {
    if owners.is_empty() {
        return std::future::pending().await;
    }
    let ends = owners.iter().map(|owner| owner.readable().boxed());
    drop(select_all(ends).await);
}
