//! Details of a process on a port. Its command line is never shown: it may hold secrets.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::process::Details;

/// Details of a process; each is left out if it cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProcessDocument {
    /// File of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<PathBuf>,
    /// Working directory.
    #[serde(rename = "working_directory", skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Name of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Id of its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the container for which it listens, if its engine tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// Its systemd unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl From<Details> for ProcessDocument {
    fn from(details: Details) -> Self {
        Self {
            executable: details.executable,
            directory: details.directory,
            user: details.user,
            container: details.container,
            container_name: None,
            unit: details.unit,
        }
    }
}
