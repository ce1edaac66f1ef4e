//! An attempt as a row.

use jiff::Timestamp;

use super::badge::Badge;
use crate::api::document::AttemptDocument;
use crate::dashboard::format::{When, micros};
use crate::domain::attempt::Occupant;

/// One row of a table of attempts.
#[derive(Debug, Clone)]
pub struct AttemptRow {
    /// When it was made.
    pub at: When,
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The bind address.
    pub address: String,
    /// Its interface.
    pub interface: String,
    /// What came of it.
    pub outcome: Badge,
    /// The kernel's word for a refusal.
    pub errno: Option<String>,
    /// Who was in the way, with what their socket does.
    pub occupant: Option<OccupantCell>,
    /// The pool.
    pub pool: String,
    /// How long the system calls took.
    pub took: String,
}

/// Who was in the way.
#[derive(Debug, Clone)]
pub struct OccupantCell {
    /// The process as far as the kernel names it; anybody's text.
    pub who: String,
    /// What its socket does.
    pub state: &'static str,
}

impl AttemptRow {
    /// The row of an attempt.
    pub fn of(attempt: AttemptDocument, now: Timestamp) -> Self {
        Self {
            at: When::of(attempt.at, now),
            port: attempt.port,
            outcome: Badge::outcome(&attempt.outcome),
            errno: attempt.errno.map(in_words),
            occupant: attempt.occupant.as_ref().map(OccupantCell::from),
            pool: attempt.pool.unwrap_or_default(),
            took: micros(attempt.duration_us),
            protocol: attempt.protocol,
            address: attempt.address,
            interface: attempt.interface,
        }
    }
}

impl From<&Occupant> for OccupantCell {
    fn from(occupant: &Occupant) -> Self {
        Self {
            who: occupant.to_string(),
            state: occupant.state.as_str(),
        }
    }
}

fn in_words(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}
