//! What is told of a process that is on a port: where it comes from, never its command line.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::process::Details;

/// More about a process, as far as it can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProcessDocument {
    /// The program's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<PathBuf>,
    /// Its working directory.
    #[serde(rename = "working_directory", skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// The name of its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The id of the container that it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The systemd unit that it belongs to.
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
            unit: details.unit,
        }
    }
}
