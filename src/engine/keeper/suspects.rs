//! Suspects: faults that were seen, and in how many looks in a row.

use std::collections::{BTreeMap, HashMap};

use crate::domain::lease::LeaseId;
use crate::domain::port::Port;
use crate::engine::leases::books::Ticket;

/// Number of looks in a row at which a leak must have been seen.
const LOOKS: u8 = 3;

/// Something that two of those who should agree do not agree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The books keep a port for a request that is no longer being answered.
    Reservation(Ticket, Port),
    /// A hold is kept for a lease that does not live.
    Hold(LeaseId),
    /// No task waits for the end of a lease's owner.
    Unwatched(LeaseId),
    /// A gate is open without an owner, or shut to one.
    Gate(LeaseId),
    /// A reserved lease has no hold.
    Unguarded(LeaseId),
    /// The record has another form of a lease than the books.
    Record(LeaseId),
    /// The record has a living lease that the books do not know.
    Unknown(LeaseId),
}

impl Fault {
    /// The word that it is counted under.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Reservation(..) => "reservation",
            Self::Hold(_) => "hold",
            Self::Unwatched(_) => "unwatched",
            Self::Gate(_) => "gate",
            Self::Unguarded(_) => "unguarded",
            Self::Record(_) => "record",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Whether it may pass by itself, because a transition is under way. The others are looked at
    /// again in the lease's turn, when none is.
    const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Reservation(..) | Self::Hold(_) | Self::Record(_) | Self::Unknown(_)
        )
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(in crate::engine) struct Repairs {
    /// Number of looks in a row at which each suspect was seen.
    suspects: HashMap<Fault, u8>,
    mended: BTreeMap<&'static str, u64>,
}

impl Repairs {
    /// Notes what was seen in this look, and gives what is to be mended now.
    pub(super) fn due(&mut self, seen: Vec<Fault>) -> Vec<Fault> {
        let before = std::mem::take(&mut self.suspects);
        let mut due = Vec::new();
        for fault in seen {
            let looks = before.get(&fault).map_or(1, |looks| looks + 1);
            if looks >= LOOKS || !fault.may_pass() {
                due.push(fault);
            } else {
                self.suspects.insert(fault, looks);
            }
        }
        due
    }

    /// Counts a mended fault.
    pub(super) fn count(&mut self, fault: Fault) {
        *self.mended.entry(fault.word()).or_default() += 1;
    }

    /// Returns the number of mended faults since the start, by kind.
    pub(in crate::engine) fn mended(&self) -> BTreeMap<&'static str, u64> {
        self.mended.clone()
    }
}
