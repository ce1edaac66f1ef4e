//! Identifiers of allocations and leases, and the clock of their deadlines.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifier of an allocation: a UUID of version 7 (RFC 9562), so that order by id is order in time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct AllocationId(pub Uuid);

/// Identifier of a lease: a UUID of version 7 (RFC 9562), so that order by id is order in time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct LeaseId(pub Uuid);

macro_rules! id_as_text {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $id {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}
id_as_text!(AllocationId, LeaseId);

/// A point on the boot-time clock (`CLOCK_BOOTTIME`): time since the kernel started, sleep
/// included. Changes of the wall clock do not move it. It means nothing after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// Returns the point that lies `wait` later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// Time from `now` until this point; zero if it has passed.
    pub fn since(self, now: Self) -> Duration {
        self.0.saturating_sub(now.0)
    }
}
