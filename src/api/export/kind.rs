//! Kinds and formats of exports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::domain::words::as_str;
use crate::store::ExportTable;

/// Format of an export.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated values (RFC 4180).
    #[default]
    Csv,
    /// One JSON document a line.
    Jsonl,
}

impl Format {
    /// Media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/jsonl",
        }
    }
}

/// Kind of exported rows.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    clap::ValueEnum,
    JsonSchema,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Attempts, newest first.
    #[default]
    Attempts,
    /// Sums of attempts for each day, pool, interface, protocol, port and user, latest day first.
    Days,
    /// Snapshots of the sockets of others, oldest first.
    Snapshots,
    /// Sockets of others, from one snapshot to another without a gap, oldest first.
    Sightings,
    /// Outsiders found on leased ports, oldest first.
    Conflicts,
    /// Leases that have ended, oldest first.
    Endings,
}

as_str!(Kind);

impl Kind {
    /// Table of the rows. `None` for attempts, which have a list of their own.
    pub(in crate::api) const fn table(self) -> Option<ExportTable> {
        match self {
            Self::Attempts => None,
            Self::Days => Some(ExportTable::Days),
            Self::Snapshots => Some(ExportTable::Snapshots),
            Self::Sightings => Some(ExportTable::Sightings),
            Self::Conflicts => Some(ExportTable::Conflicts),
            Self::Endings => Some(ExportTable::Endings),
        }
    }
}
