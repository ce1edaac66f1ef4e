//! The rows of history, as they go to the record and come back.

use std::sync::Arc;

use super::address::AddressGroup;
use super::attempt::Attempt;
use super::candidate::Totals;
use super::lease::LeaseId;
use super::port::{Port, Protocol};
use super::sighting::{Sighting, Visitor};

/// What is known of one address group and protocol as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct PageRow {
    /// Its number.
    pub id: i64,
    /// The bind addresses.
    pub addresses: AddressGroup,
    /// The protocol.
    pub protocol: Protocol,
    /// When the decayed count was true.
    pub at_ms: i64,
    /// The snapshots that looked at it, decayed.
    pub checks: f64,
    /// The same, as they were counted.
    pub checks_total: u64,
}

/// What is known of one port on one page.
#[derive(Debug, Clone, PartialEq)]
pub struct PortRow {
    /// The page.
    pub page: i64,
    /// The port.
    pub port: Port,
    /// When the decayed counts were true; whatever was learned later is not in them.
    pub at_ms: i64,
    /// Binds that worked.
    pub good: f64,
    /// Binds that were refused because somebody was there.
    pub failed: f64,
    /// Snapshots that saw somebody.
    pub busy: f64,
    /// Late conflicts.
    pub late: f64,
    /// When a lease on it ended the last time.
    pub released_at_ms: Option<i64>,
    /// The counts that do not decay; its `checks` stay with the page.
    pub totals: Totals,
    /// Who was in the way the last time.
    pub occupant: Option<Arc<str>>,
}

/// What has changed since it was last asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// New and changed pages.
    pub pages: Vec<PageRow>,
    /// New and changed ports.
    pub ports: Vec<PortRow>,
    /// Pages that were given up, with their ports.
    pub dropped: Vec<i64>,
}

impl Changes {
    /// Whether nothing has changed.
    pub const fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.ports.is_empty() && self.dropped.is_empty()
    }
}

/// One look at the sockets of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Counts up.
    pub seq: i64,
    /// When.
    pub at_ms: i64,
}

/// A socket of somebody else, seen in every snapshot from one to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SightingRow {
    /// What was seen.
    pub sighting: Sighting,
    /// Program and user behind it.
    pub visitor: Visitor,
    /// The first snapshot that saw it.
    pub first_seq: i64,
    /// The last one; none while it is still seen.
    pub last_seq: Option<i64>,
}

/// An outsider found on a leased port.
#[derive(Debug, Clone, PartialEq)]
pub struct LateRow {
    /// When it was found.
    pub at_ms: i64,
    /// The lease.
    pub lease: LeaseId,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port.
    pub port: Port,
    /// Its bind addresses.
    pub addresses: AddressGroup,
    /// Who it was, as far as the kernel tells.
    pub occupant: String,
    /// Whose process that is, if known.
    pub occupant_uid: Option<u32>,
}

/// What goes to the record together.
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
    /// Once this is written, what attempts up to this one taught is on record; none while there is
    /// more to write.
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

/// What the record knows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Remembered {
    /// Pages.
    pub pages: Vec<PageRow>,
    /// Ports.
    pub ports: Vec<PortRow>,
    /// Attempts that may not be in these counts yet, in the order made.
    pub attempts: Vec<Attempt>,
    /// The number of the last snapshot; 0 before the first.
    pub last_snapshot: i64,
}
