//! The order of the list of leases: by a column, else by trouble and then the newest first.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;

use crate::answers::document::LeaseDocument;
use crate::dashboard::part::lease::urgency;

/// Sorts by a column, and where that is equal by trouble and then the newest first.
pub(super) fn sort(leases: &mut [LeaseDocument], column: &str, descending: bool) {
    leases.sort_by(|one, other| {
        let order = by(column, one, other);
        let order = if descending { order.reverse() } else { order };
        order.then_with(|| default_order(one, other))
    });
}

fn default_order(one: &LeaseDocument, other: &LeaseDocument) -> Ordering {
    let key = |lease: &LeaseDocument| (urgency(lease.state), Reverse(lease.id));
    key(one).cmp(&key(other))
}

/// Compares two leases by a column; the others are equal.
fn by(column: &str, one: &LeaseDocument, other: &LeaseDocument) -> Ordering {
    // Leases without an end, a name or an owner come last.
    let owner = |lease: &LeaseDocument| lease.owner.as_ref().map(|owner| owner.command.clone());
    match column {
        "port" => (one.port, one.protocol).cmp(&(other.port, other.protocol)),
        "name" => none_last(one.name.as_ref(), other.name.as_ref()),
        "state" => one.state.as_str().cmp(other.state.as_str()),
        "owner" => none_last(owner(one), owner(other)),
        "pool" => one.pool.cmp(&other.pool),
        "granted" => one.granted_at.cmp(&other.granted_at),
        "ends" => none_last(ends(one), ends(other)),
        _ => Ordering::Equal,
    }
}

/// The first deadline of a lease.
pub(super) fn ends(lease: &LeaseDocument) -> Option<Timestamp> {
    let deadlines = [lease.claim_by, lease.expires_at];
    deadlines.into_iter().flatten().min()
}

fn none_last<T: Ord>(one: Option<T>, other: Option<T>) -> Ordering {
    (one.is_none(), one).cmp(&(other.is_none(), other))
}
