//! Who is on one port.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempt::AttemptDocument;
use super::lease::LeaseDocument;
use super::process::ProcessDocument;
use super::stats::PortRecord;
use crate::domain::attempt::Occupant;
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
