//! How the service is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::health::Condition;

/// How the service is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusDocument {
    /// The program's version.
    pub version: String,
    /// The service's process.
    pub pid: u32,
    /// The user it runs as.
    pub uid: u32,
    /// Where the console landed.
    pub console: Option<String>,
    /// The API socket.
    pub socket: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Living leases.
    pub leases: usize,
    /// Descriptors kept open by holds.
    pub held_descriptors: usize,
    /// Descriptors that holds may keep open.
    #[serde(default)]
    pub descriptor_budget: usize,
    /// What the repair loop has mended since the start, by kind; nothing is as it should be.
    #[serde(default)]
    pub repairs: BTreeMap<String, u64>,
    /// Whether no check failed.
    pub ready: bool,
    /// What was looked at to say so, and how it is.
    #[serde(default)]
    pub checks: Vec<CheckDocument>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckDocument {
    /// What.
    pub name: String,
    /// How it is.
    pub condition: Condition,
    /// The same in words.
    pub detail: String,
}
