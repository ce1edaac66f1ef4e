//! The order of the list of leases: by a column, else by trouble and then the newest first.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use crate::answers::leases::Seen;
use crate::dashboard::part::lease::urgency;
use crate::domain::lease::{BootTime, Lease, LeaseId};

/// Sorts by a column, and where that is equal by trouble and then the newest first.
pub(super) fn sort(leases: &mut [Seen], column: &str, descending: bool) {
    let owners = match column {
        "owner" => owners(leases),
        _ => Owners::new(),
    };
    leases.sort_by(|one, other| {
        let order = by(column, one, other, &owners);
        let order = if descending { order.reverse() } else { order };
        order.then_with(|| default_order(one.lease(), other.lease()))
    });
}

/// Commands of the owners. The kernel is asked once for each, not at each comparison.
type Owners = HashMap<LeaseId, String>;

fn owners(leases: &[Seen]) -> Owners {
    let commands = leases
        .iter()
        .filter_map(|seen| Some((seen.lease().id, seen.command()?)));
    commands.collect()
}

fn default_order(one: &Lease, other: &Lease) -> Ordering {
    let key = |lease: &Lease| (urgency(lease.state), Reverse(lease.id));
    key(one).cmp(&key(other))
}

/// Compares two leases by a column; the others are equal.
fn by(column: &str, one: &Seen, other: &Seen, owners: &Owners) -> Ordering {
    // Leases without an end, a name or an owner come last.
    let (first, second) = (one.lease(), other.lease());
    match column {
        "port" => (first.port, first.protocol).cmp(&(second.port, second.protocol)),
        "name" => none_last(one.name(), other.name()),
        "state" => first.state.as_str().cmp(second.state.as_str()),
        "owner" => none_last(owners.get(&first.id), owners.get(&second.id)),
        "pool" => first.pool.cmp(&second.pool),
        "granted" => first.granted_at.cmp(&second.granted_at),
        "ends" => none_last(ends(first), ends(second)),
        _ => Ordering::Equal,
    }
}

/// The first deadline of a lease.
pub(super) fn ends(lease: &Lease) -> Option<BootTime> {
    let deadlines = [lease.claim_by, lease.expires];
    deadlines.into_iter().flatten().min()
}

fn none_last<T: Ord>(one: Option<T>, other: Option<T>) -> Ordering {
    (one.is_none(), one).cmp(&(other.is_none(), other))
}
