//! The state of the service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::health::Condition;

/// The state of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusDocument {
    /// Version of the program.
    pub version: String,
    /// Process id of the service.
    pub pid: u32,
    /// User id of the service.
    pub uid: u32,
    /// Address of the console. `None` if it is off.
    pub console: Option<String>,
    /// Path of the API socket.
    pub socket: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Number of living leases.
    pub leases: usize,
    /// Number of descriptors kept open by holds.
    pub held_descriptors: usize,
    /// Maximum number of descriptors for holds.
    #[serde(default)]
    pub descriptor_budget: usize,
    /// Number of repairs since the start, by kind; empty on a healthy host.
    #[serde(default)]
    pub repairs: BTreeMap<String, u64>,
    /// Whether no check failed.
    pub ready: bool,
    /// Checks with their results.
    #[serde(default)]
    pub checks: Vec<CheckDocument>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckDocument {
    /// Name of the check.
    pub name: String,
    /// Result.
    pub condition: Condition,
    /// Result in words.
    pub detail: String,
}
