//! Re-taking a port that was ours before: strictly, or past what closed connections left on it.
//!
//! For a name's own last port, a restored lease and the console's last port, and nothing else:
//! SO_REUSEADDR is no lock, so the caller's process must have the data directory's lock.

use tracing::Span;

use crate::domain::address::AddressGroup;
use crate::domain::attempt::{Attempt, Outcome, SocketState};
use crate::domain::lease::Lease;
use crate::domain::port::{Port, Protocol};
use crate::engine::tables::{Tables, is_leftover};
use crate::host::clock::Clock;
use crate::host::hold::{Hold, Take, can_stay_beneath, is_unused};
use crate::host::occupancy::Occupancy;

/// Holds `port` again. The outcome of the attempt that was refused, if it cannot be.
///
/// `tables` are those of a round over many leases. Without them the kernel is asked for this port.
pub(super) fn retake(
    group: &AddressGroup,
    protocol: Protocol,
    port: Port,
    clock: &Clock,
    tables: Option<&Tables>,
    note: &mut dyn FnMut(Attempt, &Span),
) -> Result<Hold, Outcome> {
    let strict = Hold::take(Take::Strictly, group, protocol, port, clock, note);
    let Err(Outcome::InUse) = strict else {
        return strict;
    };
    if protocol != Protocol::Tcp || !is_left_behind(group, port, tables) {
        return Err(Outcome::InUse);
    }
    let hold = Hold::take(Take::PastLingering, group, protocol, port, clock, note)?;
    // Look again, and give up if another socket came in meanwhile.
    if has_others(group, port) {
        return Err(Outcome::InUse);
    }
    Ok(hold)
}

/// Holds `port` beneath an owner for UDP that shares it. The caller knows that the owner lives.
pub(super) fn take_beneath(group: &AddressGroup, port: Port, clock: &Clock) -> Option<Hold> {
    if !can_stay_beneath(group) {
        return None;
    }
    let how = Take::BesideOwner;
    Hold::take(how, group, Protocol::Udp, port, clock, &mut |_, _| {}).ok()
}

/// Whether nothing is left on the port of a lease. Only for an owner that is gone: it binds to find
/// out.
pub(super) fn is_given_up(lease: &Lease, protocols: &[Protocol]) -> bool {
    let mut protocols = protocols.iter();
    protocols.all(|protocol| is_unused(&lease.addresses, *protocol, lease.port))
}

/// Whether all that is on the port are connections that a listener left behind.
fn is_left_behind(group: &AddressGroup, port: Port, tables: Option<&Tables>) -> bool {
    if let Some(tables) = tables {
        let states = tables.states_on(group.addresses(), Protocol::Tcp, port);
        return states.is_some_and(|states| states.into_iter().all(is_leftover));
    }
    // A listener is the usual reason, and the cheap one to find: most owners still listen after a
    // crash, and to look at all connections of a busy host for each of them takes far too long.
    !has_listener(group, port) && only_leftovers(group, port)
}

fn has_listener(group: &AddressGroup, port: Port) -> bool {
    let listeners = Occupancy::listeners_on(port).unwrap_or_default();
    let mut addresses = group.addresses().iter();
    addresses.any(|address| listeners.iter().any(|entry| entry.overlaps(address)))
}

fn only_leftovers(group: &AddressGroup, port: Port) -> bool {
    sockets_on(group, port).is_some_and(|states| states.into_iter().all(is_leftover))
}

fn has_others(group: &AddressGroup, port: Port) -> bool {
    // The hold itself is listed as bound where the kernel shows such sockets at all.
    let states = sockets_on(group, port).unwrap_or_default();
    let bound = states
        .iter()
        .filter(|state| **state == SocketState::Bound)
        .count();
    states.contains(&SocketState::Listening) || bound > group.addresses().len()
}

fn sockets_on(group: &AddressGroup, port: Port) -> Option<Vec<SocketState>> {
    let entries = Occupancy::on_port(Protocol::Tcp, port).ok()?;
    let overlapping = entries.iter().filter(|entry| {
        group
            .addresses()
            .iter()
            .any(|address| entry.overlaps(address))
    });
    Some(overlapping.map(|entry| entry.state).collect())
}
