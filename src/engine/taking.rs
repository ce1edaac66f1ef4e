//! Whether programs take the sockets that `run` gave them (hand-over `fd`). Such a socket listens
//! whether its program knows of it or not, so the kernel's tables alone do not tell that it serves.

use std::collections::HashSet;

use crate::domain::attempt::SocketState;
use crate::domain::lease::{Handover, Lease};
use crate::domain::port::{Port, Protocol};
use crate::host::occupancy::{self, Entry};
use crate::host::process;

/// What is known of the sockets that were given for a lease.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Receipt {
    /// Whether `run` fetched them, for a program that may not know of them.
    pub(super) is_for_program: bool,
    /// Whether their program was seen to take them.
    pub(super) is_taken: bool,
    /// Whether connections waited at the last look.
    pub(super) waited: bool,
}

impl Receipt {
    /// Whether it is in doubt that the program of a lease takes its sockets. A program that fetches
    /// sockets by itself does.
    pub(super) fn is_in_doubt(self, lease: &Lease) -> bool {
        let is_due = lease.handover == Handover::Fd;
        let Some(owner) = lease.owner.as_ref().filter(|_| is_due && !self.is_taken) else {
            return false;
        };
        // After a restart of the service the mark of the program tells.
        self.is_for_program || process::mark_of(owner.pid).names(&lease.id.to_string())
    }

    /// Judges a program by what a look found: `None` if there was no doubt. `is_young` tells whether it
    /// has just been given its sockets, `is_told` whether there is a hint that it does not take them.
    pub(super) fn verdict(self, taking: Option<Taking>, is_young: bool, is_told: bool) -> Verdict {
        match taking {
            None | Some(Taking::Taken) => Verdict::Serves,
            // One that is busy for a moment is not told.
            Some(Taking::Waiting) if self.waited && !is_young => Verdict::Ignores,
            Some(Taking::Unknown) if !is_young && !is_told => Verdict::Serves,
            // What does not even wait for clients has its first one to tell, however long that takes.
            Some(Taking::Waiting | Taking::Unknown | Taking::Idle) => Verdict::Unsure,
        }
    }
}

/// Sight of the given sockets of one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    /// Their program takes them.
    Taken,
    /// Connections wait to be accepted, and nothing shows that they will be.
    Waiting,
    /// No sign of either. A program that waits in `poll(2)` gives none until its first client comes, unless
    /// its list can be read.
    Unknown,
    /// No sign of either, and no thread of the program waits as a server without an event loop does.
    Idle,
}

/// Judgement of a program under `fd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It takes its sockets, as far as can be told.
    Serves,
    /// It is too early to tell.
    Unsure,
    /// It does not take its sockets.
    Ignores,
}

/// Looks at the given sockets of a lease that is in doubt. `accepted` are the ports with a connection
/// that a program has accepted. `None` if there is no reason to doubt: a UDP socket takes packets
/// without any sign, so it is enough that a thread may wait for them.
pub(super) fn look<'e>(
    lease: &Lease,
    receipt: Receipt,
    listeners: impl Iterator<Item = &'e Entry> + Clone,
    accepted: &HashSet<Port>,
) -> Option<Taking> {
    let waits = listeners.clone().any(|entry| entry.queue > 0);
    let has_accepted = accepted.contains(&lease.port) || (receipt.waited && !waits);
    let owner = lease.owner.as_ref();
    let shows_use =
        |entry: &Entry| owner.is_some_and(|owner| occupancy::shows_use(owner.pid, entry.inode));
    let sockets: Vec<u64> = listeners.clone().map(|entry| entry.inode).collect();
    let may_wait =
        || owner.is_some_and(|owner| occupancy::may_wait_for_clients(owner.pid, &sockets));
    let mut listeners = listeners;
    if has_accepted || listeners.any(shows_use) {
        return Some(Taking::Taken);
    }
    match (lease.protocol, waits) {
        (Protocol::Udp, _) if may_wait() => None,
        (_, true) => Some(Taking::Waiting),
        (Protocol::Tcp, false) if may_wait() => Some(Taking::Unknown),
        (_, false) => Some(Taking::Idle),
    }
}

/// Ports with a connection that a program has accepted. One that waits in the queue of a listener has
/// no inode yet.
pub(super) fn accepted(entries: &[Entry]) -> HashSet<Port> {
    let is_accepted = |entry: &&Entry| {
        entry.protocol == Protocol::Tcp && entry.state == SocketState::Connected && entry.inode != 0
    };
    entries
        .iter()
        .filter(is_accepted)
        .map(|entry| entry.port)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_ignores_its_sockets_if_connections_wait_twice() {
        let first = Receipt::default();
        let again = Receipt {
            waited: true,
            ..first
        };
        let waiting = Some(Taking::Waiting);
        assert_eq!(first.verdict(waiting, false, false), Verdict::Unsure);
        assert_eq!(again.verdict(waiting, false, false), Verdict::Ignores);
        assert_eq!(again.verdict(waiting, true, false), Verdict::Unsure);
    }

    #[test]
    fn program_without_a_sign_serves_once_it_is_old() {
        let receipt = Receipt::default();
        let unknown = Some(Taking::Unknown);
        assert_eq!(receipt.verdict(unknown, true, false), Verdict::Unsure);
        assert_eq!(receipt.verdict(unknown, false, false), Verdict::Serves);
        assert_eq!(receipt.verdict(unknown, false, true), Verdict::Unsure);
        let idle = Some(Taking::Idle);
        assert_eq!(receipt.verdict(idle, false, false), Verdict::Unsure);
    }

    #[test]
    fn no_doubt_or_a_sign_of_use_is_service() {
        let receipt = Receipt::default();
        for taking in [None, Some(Taking::Taken)] {
            assert_eq!(receipt.verdict(taking, true, true), Verdict::Serves);
        }
    }
}
