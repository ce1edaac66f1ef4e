//! Relation of a socket on a port to the lease of the port.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use super::words::as_str;

/// Relation of a socket to the lease on its port and address.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// The socket of a lease's owner, or of a process that descends from it.
    Owner,
    /// A socket of portbook itself, such as its console's.
    Portbook,
    /// Anything else, on a leased port or not.
    #[default]
    Stranger,
}

impl Relation {}

as_str!(Relation);
