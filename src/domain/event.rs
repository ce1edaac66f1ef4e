//! Events for the journal, the event stream and the log.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::lease::{AllocationId, LeaseId};
use super::outsider::Outsider;
use super::port::{Port, Protocol};
use super::words::as_str;

/// Kind of an event.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A lease was granted.
    Granted,
    /// A request was refused.
    Refused,
    /// A first listener became the owner.
    Claimed,
    /// A program all of whose ports are mapped has taken a spare. The detail is the port that it asked for.
    Mapped,
    /// The owner listens.
    Active,
    /// A named lease lost its owner and is kept.
    Reserved,
    /// A lease lasts longer.
    Renewed,
    /// Its user wrote a note on a lease, or removed it. The detail is the note.
    Noted,
    /// A lease ended. The detail is the end state, and the cause if portbook ended it by itself.
    Ended,
    /// An outsider was found on a leased port.
    LateConflict,
    /// An address of a lease went away.
    Degraded,
    /// The addresses of a lease are all there again.
    Healed,
    /// Books and kernel disagreed and were mended.
    Repaired,
    /// The configuration was read again.
    Reloaded,
    /// The host's interfaces or addresses changed.
    Interfaces,
    /// A port was excluded by hand.
    Excluded,
    /// An excluded port was included again.
    Included,
    /// The owner ended, and a process that it left behind has the lease now.
    Inherited,
    /// The program of a lease does not do with the port what the lease is for. The detail is advice.
    Hint,
    /// This host joined its fleet, lost it, or found it again: the detail is the state and the reason. Or a
    /// number that is reserved on every host is kept here, busy, or taken back: the detail names it.
    Fleet,
    /// The fleet has the number of a lease no more. The detail names the host that has it.
    FleetClaimLost,
}

/// Header of a stream of events: the id of the latest event at its beginning.
pub const LATEST_EVENT: &str = "portbook-latest-event";

impl EventKind {}

as_str!(EventKind);

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Event {
    /// Counts up from 1 within one run of the service.
    pub seq: u64,
    /// Time of the event.
    pub at: Timestamp,
    /// Kind of the event.
    pub kind: EventKind,
    /// User that it concerns, to filter by viewer. `None` if it concerns every user.
    #[serde(skip)]
    pub uid: Option<u32>,
    /// Lease that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseId>,
    /// Allocation that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation: Option<AllocationId>,
    /// Protocol of the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Port that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Outsider that was found. [`Event::shown`] puts it into words for each viewer.
    #[serde(skip)]
    pub outsider: Option<Outsider>,
    /// Details in words.
    pub detail: String,
}

impl Event {
    /// Makes an event without a number that is about nothing yet.
    pub const fn of_nothing(kind: EventKind, at: Timestamp, detail: String) -> Self {
        Self {
            seq: 0,
            at,
            kind,
            uid: None,
            lease: None,
            allocation: None,
            protocol: None,
            port: None,
            outsider: None,
            detail,
        }
    }

    /// Event as a viewer may see it. `None` if it concerns a user that the viewer does not see.
    pub fn shown(mut self, sees: impl Fn(u32) -> bool) -> Option<Self> {
        if self.uid.is_some_and(|uid| !sees(uid)) {
            return None;
        }
        if let Some(outsider) = self.outsider.take() {
            self.detail = outsider.veiled(sees).to_string();
        }
        Some(self)
    }
}
