//! The table `attempt_row`, read through the view `attempt`: single tries to bind. Rows are added and never changed.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, QueryBuilder};

use super::column::{Millis, Nanos};
use super::filter::{self, AttemptFilter};
use super::{Reader, Store, StoreError};
use crate::domain::attempt::{Attempt, Occupant};
use crate::domain::lease::AllocationId;

/// One attempt, as it is stored, answered and exported.
#[derive(Debug, Clone, Default, PartialEq, FromRow, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AttemptDocument")]
pub struct AttemptRecord {
    /// Paging key: counts up. `None` in the answer to a request for ports, whose attempts are not
    /// stored yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// Allocation that made the attempt. `None` as for `seq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<AllocationId>,
    /// Pool of the allocation. `None` as for `seq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Time of the attempt.
    #[sqlx(rename = "at_ms", try_from = "Millis")]
    pub at: Timestamp,
    /// Interface of the bind address; `any` for a wildcard address.
    pub interface: String,
    /// Bind address.
    pub address: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Port number.
    pub port: u16,
    /// Outcome: `bound`, `lingering`, `in_use`, `redirected`, `claimed`, `not_permitted`, `address_not_available` or
    /// `failed`.
    pub outcome: String,
    /// Error number of the kernel (`errno(3)`). `None` if the port was bound.
    pub errno: Option<i32>,
    /// Duration of the system calls, in microseconds.
    #[sqlx(rename = "duration_ns", try_from = "Nanos")]
    pub duration_us: f64,
    /// Occupant of the port. `None` if there was none, or if it was not looked for.
    pub occupant: Option<Occupant>,
    /// Trace of the allocation. `None` if it was not sampled, and in the answer to a request for ports,
    /// which has it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Span of the attempt in that trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
}

impl From<&Attempt> for AttemptRecord {
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
            duration_us: Nanos::from(attempt.duration).into(),
            occupant: attempt.occupant.clone(),
            trace_id: None,
            span_id: attempt.span_id.clone(),
        }
    }
}

impl Reader {
    /// Lists attempts, newest first.
    pub async fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<AttemptRecord>, StoreError> {
        let mut query = QueryBuilder::new("select * from attempt where true");
        filter::narrow(&mut query, filter);
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// Returns the last of the first `limit` attempts, if more follow it.
    pub async fn last_before_more(
        &self,
        filter: &AttemptFilter,
        limit: u32,
    ) -> Result<Option<i64>, StoreError> {
        let mut query = QueryBuilder::new("select seq from attempt where true");
        let both = AttemptFilter {
            limit: 2,
            ..filter.clone()
        };
        filter::narrow(&mut query, &both);
        query.push(" offset ").push_bind(limit.saturating_sub(1));
        let seqs: Vec<i64> = query.build_query_scalar().fetch_all(&self.pool).await?;
        Ok(seqs.first().copied().filter(|_| seqs.len() > 1))
    }
}

impl Store {
    /// Lists attempts, newest first.
    pub async fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<AttemptRecord>, StoreError> {
        self.reader().attempts(filter).await
    }
}
