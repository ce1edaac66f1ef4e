//! Owners as a waiting command sees them: whether one lives still, and the news of its end.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_all;

use crate::api::document::{LeaseDocument, OwnerDocument};
use crate::domain::lease::{Owner, State};
use crate::host::process::{self, ProcessError};
use crate::host::readiness::Readiness;

/// Two readings of one start time differ by no more, though the wall clock was set in between.
const SAME_START: Duration = Duration::from_secs(2);

/// Waits for the end of a lease's owner; `None` if it has none, or has another one by now.
pub(super) fn owner_of(lease: &LeaseDocument) -> Option<Readiness> {
    let owner = lease.owner.as_ref();
    let owner = process_of(owner.filter(|_| lease.state != State::Reserved)?)?;
    Readiness::of(process::pidfd(&owner).ok()?).ok()
}

/// The process that a document tells of, if it is there still and to be seen from here.
pub(super) fn process_of(owner: &OwnerDocument) -> Option<Owner> {
    let found = process::owner(owner.pid).ok()?;
    let apart = found.started_at.duration_since(owner.started_at);
    (apart.unsigned_abs() <= SAME_START).then_some(found)
}

/// Whether the process that a document tells of has ended. One that cannot be seen lives.
pub(super) fn has_ended(owner: &OwnerDocument) -> bool {
    match process::owner(owner.pid) {
        Ok(_) => process_of(owner).is_none(),
        Err(error) => matches!(error, ProcessError::Gone(_)),
    }
}

/// Returns once one of the owners has ended; never if there is none.
pub(super) async fn any_ends(owners: &[Readiness]) {
    if owners.is_empty() {
        return std::future::pending().await;
    }
    let ends = owners.iter().map(|owner| owner.readable().boxed());
    drop(select_all(ends).await);
}
