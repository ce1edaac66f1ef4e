//! One attempt, of an answer or of the record.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::attempt::{Attempt, Occupant};
use crate::domain::lease::AllocationId;
use crate::store::AttemptRecord;

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptDocument {
    /// The key for paging; none inside an answer, where nothing is on record yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// The allocation it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<AllocationId>,
    /// The pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// When it was made.
    pub at: Timestamp,
    /// The interface of the bind address.
    pub interface: String,
    /// The bind address.
    pub address: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// What came of it.
    pub outcome: String,
    /// The kernel's error number.
    pub errno: Option<i32>,
    /// How long the system calls took.
    pub duration_us: f64,
    /// Who was in the way.
    pub occupant: Option<Occupant>,
    /// The allocation's trace, when it was sampled; inside an answer, that of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The attempt's own span there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one system call")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

impl From<&Attempt> for AttemptDocument {
    fn from(attempt: &Attempt) -> Self {
        Self {
            seq: None,
            allocation: None,
            pool: None,
            at: attempt.at,
            interface: attempt.address.interface.to_string(),
            address: attempt.address.to_string(),
            protocol: attempt.protocol.as_str().to_owned(),
            port: attempt.port.get(),
            outcome: attempt.outcome.as_str().to_owned(),
            errno: attempt.errno,
            duration_us: micros(u64::try_from(attempt.duration.as_nanos()).unwrap_or(u64::MAX)),
            occupant: attempt.occupant.clone(),
            trace_id: None,
            span_id: attempt.span_id.clone(),
        }
    }
}

impl From<AttemptRecord> for AttemptDocument {
    fn from(record: AttemptRecord) -> Self {
        Self {
            seq: Some(record.seq),
            allocation: Some(record.allocation),
            pool: Some(record.pool),
            at: record.at,
            interface: record.interface,
            address: record.address,
            protocol: record.protocol,
            port: record.port,
            outcome: record.outcome,
            errno: record.errno,
            duration_us: micros(record.duration_ns),
            occupant: record.occupant,
            trace_id: record.trace_id,
            span_id: record.span_id,
        }
    }
}
