//! Who is on one port.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempt::AttemptDocument;
use super::lease::LeaseDocument;
use super::process::ProcessDocument;
use super::stats::PortRecord;
use crate::domain::attempt::{Occupant, SocketState};
use crate::domain::exclusion::Exclusion;
use crate::domain::port::{Port, Protocol};

/// Who is on one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortDocument {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: Port,
    /// The leases on it.
    pub leases: Vec<LeaseDocument>,
    /// Who is on it outside portbook.
    pub occupants: Vec<OccupantDocument>,
    /// Its latest attempts, 20 at most; `/api/v1/attempts?port=` lists all.
    pub attempts: Vec<AttemptDocument>,
    /// Whether somebody excluded it by hand, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusion: Option<Exclusion>,
    /// What all attempts on it add up to; none where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<PortRecord>,
}

/// Somebody on a port outside portbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OccupantDocument {
    /// As the kernel's tables tell.
    #[serde(flatten)]
    pub occupant: Occupant,
    /// What else is known of the process.
    #[serde(flatten)]
    pub process: ProcessDocument,
}

impl PortDocument {
    /// Who listens on the port of this lease. `None` where nobody does, as far as the reader may
    /// know.
    pub fn listener_of(&self, lease: &LeaseDocument) -> Option<&Occupant> {
        let is_alone = self.leases.iter().all(|other| other.id == lease.id);
        let occupants = self.occupants.iter().map(|found| &found.occupant);
        listener_of(lease, is_alone, occupants)
    }
}

/// Who of the occupants of a port listens for a lease on it: its owner, or what that has started.
/// Where the lease is not alone on the number, a listener may be another one's.
pub fn listener_of<'a>(
    lease: &LeaseDocument,
    is_alone: bool,
    occupants: impl Iterator<Item = &'a Occupant> + Clone,
) -> Option<&'a Occupant> {
    let owner = lease.owner.as_ref().map(|owner| owner.pid);
    let mut listening = occupants.filter(|found| found.state == SocketState::Listening);
    let of_owner = |found: &&Occupant| owner.is_some() && found.pid == owner;
    let others = listening.clone().next();
    let others = others.filter(|_| is_alone || lease.is_listened_on());
    listening.find(of_owner).or(others)
}
