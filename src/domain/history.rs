//! Rows of history, as the record stores them.

use std::sync::Arc;

use super::address::AddressGroup;
use super::attempt::Attempt;
use super::candidate::Totals;
use super::lease::LeaseId;
use super::port::{Port, Protocol};
use super::sighting::{Sighting, Visitor};

/// Evidence about one address group and protocol as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct PageRow {
    /// Number of the page.
    pub id: i64,
    /// Bind addresses.
    pub addresses: AddressGroup,
    /// Protocol of the page.
    pub protocol: Protocol,
    /// Time at which the decayed count was true.
    pub at_ms: i64,
    /// Number of snapshots, decayed.
    pub checks: f64,
    /// Number of snapshots, without decay.
    pub checks_total: u64,
}

/// Evidence about one port on one page.
#[derive(Debug, Clone, PartialEq)]
pub struct PortRow {
    /// Number of its page.
    pub page: i64,
    /// Port number.
    pub port: Port,
    /// Time at which the decayed counts were true. Later events are not in them.
    pub at_ms: i64,
    /// Binds that worked.
    pub good: f64,
    /// Binds that were refused because of an occupant.
    pub failed: f64,
    /// Snapshots that saw an occupant.
    pub busy: f64,
    /// Late conflicts.
    pub late: f64,
    /// Time of the latest attempt that the counts hold. `None` if they hold none.
    pub tried_ms: Option<i64>,
    /// Time at which a lease on it last ended. `None` if none did.
    pub released_at_ms: Option<i64>,
    /// Counts without decay. Their `checks` stay with the page.
    pub totals: Totals,
    /// Name of the occupant at the last refused bind.
    pub occupant: Option<Arc<str>>,
}

/// Changes since they were last taken.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// New and changed pages.
    pub pages: Vec<PageRow>,
    /// New and changed ports.
    pub ports: Vec<PortRow>,
    /// Pages that were dropped, with their ports.
    pub dropped: Vec<i64>,
}

impl Changes {
    /// Whether nothing has changed.
    pub const fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.ports.is_empty() && self.dropped.is_empty()
    }
}

/// One snapshot of the sockets of other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Number that counts up.
    pub seq: i64,
    /// Time of the snapshot.
    pub at_ms: i64,
}

/// A socket of another program, seen in every snapshot from one to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SightingRow {
    /// Socket that was seen.
    pub sighting: Sighting,
    /// Program and user behind it.
    pub visitor: Visitor,
    /// First snapshot that saw it.
    pub first_seq: i64,
    /// Last snapshot that saw it. `None` while it is still seen.
    pub last_seq: Option<i64>,
}

/// An outsider found on a leased port.
#[derive(Debug, Clone, PartialEq)]
pub struct LateRow {
    /// Time at which it was found.
    pub at_ms: i64,
    /// Lease of the port.
    pub lease: LeaseId,
    /// Protocol of the lease.
    pub protocol: Protocol,
    /// Port of the lease.
    pub port: Port,
    /// Bind addresses of the lease.
    pub addresses: AddressGroup,
    /// Outsider in words, as far as the kernel tells.
    pub occupant: String,
    /// User of the outsider. `None` if the kernel does not tell.
    pub occupant_uid: Option<u32>,
}

/// Evidence that is written in one transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Learned {
    /// Counts.
    pub changes: Changes,
    /// Snapshots taken.
    pub snapshots: Vec<SnapshotRow>,
    /// Runs of sightings that began or ended.
    pub sightings: Vec<SightingRow>,
    /// Late conflicts.
    pub late: Vec<LateRow>,
    /// Last attempt whose lessons are on record once this is written. `None` while there is more to
    /// write.
    pub covers: Option<i64>,
}

impl Learned {
    /// Whether there is nothing to write.
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.snapshots.is_empty()
            && self.sightings.is_empty()
            && self.late.is_empty()
    }
}

/// Evidence that the record returns at a start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Remembered {
    /// Pages.
    pub pages: Vec<PageRow>,
    /// Ports.
    pub ports: Vec<PortRow>,
    /// Attempts that may not be in the counts yet, in the order made.
    pub attempts: Vec<Attempt>,
    /// Number of the last snapshot; 0 before the first.
    pub last_snapshot: i64,
}
