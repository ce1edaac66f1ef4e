//! The table `attempt`: every single try to bind. Rows are added and never changed.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{FromRow, QueryBuilder};

use super::allocation::AllocationRecord;
use super::filter::{self, AttemptFilter};
use super::{Reader, Store, StoreError};
use crate::domain::attempt::{Attempt, Occupant};
use crate::domain::lease::AllocationId;

/// One attempt as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptRecord {
    /// Counts up; the key for paging.
    pub seq: i64,
    /// The allocation it belongs to.
    pub allocation: AllocationId,
    /// When it was made.
    pub at: Timestamp,
    /// For which pool.
    pub pool: String,
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
    /// How long the system calls took, in nanoseconds.
    pub duration_ns: u64,
    /// Who was in the way.
    pub occupant: Option<Occupant>,
    /// The allocation's trace, when that was sampled.
    pub trace_id: Option<String>,
    /// The attempt's own span there.
    pub span_id: Option<String>,
}

pub(super) fn row<'a>(
    allocation: &'a AllocationRecord,
    attempt: &'a Attempt,
) -> impl Serialize + 'a {
    (
        allocation.id.0.simple(),
        attempt.at.as_millisecond(),
        &allocation.pool,
        &*attempt.address.interface,
        attempt.address.to_string(),
        attempt.protocol,
        attempt.port,
        attempt.outcome,
        attempt.errno,
        u64::try_from(attempt.duration.as_nanos()).unwrap_or(u64::MAX),
        &attempt.occupant,
        &allocation.trace_id,
        &attempt.span_id,
        &allocation.explanation.strategy,
        allocation.uid,
    )
}

#[derive(FromRow)]
struct Row {
    seq: i64,
    allocation: Vec<u8>,
    at_ms: i64,
    pool: String,
    interface: String,
    address: String,
    protocol: String,
    port: u16,
    outcome: String,
    errno: Option<i32>,
    duration_ns: i64,
    occupant: Option<String>,
    trace_id: Option<String>,
    span_id: Option<String>,
}

impl TryFrom<Row> for AttemptRecord {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let occupant = row.occupant.as_deref();
        Ok(Self {
            seq: row.seq,
            allocation: AllocationId(super::lease::uuid(&row.allocation)?),
            at: super::lease::timestamp(row.at_ms)?,
            pool: row.pool,
            interface: row.interface,
            address: row.address,
            protocol: row.protocol,
            port: row.port,
            outcome: row.outcome,
            errno: row.errno,
            duration_ns: row.duration_ns.unsigned_abs(),
            occupant: occupant
                .map(|text| super::lease::json("an occupant", text))
                .transpose()?,
            trace_id: row.trace_id,
            span_id: row.span_id,
        })
    }
}

impl Reader {
    /// Attempts, newest first.
    pub async fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<AttemptRecord>, StoreError> {
        let mut query = QueryBuilder::new("select * from attempt where true");
        filter::narrowed(&mut query, filter);
        let rows: Vec<Row> = query.build_query_as().fetch_all(&self.pool).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

impl Reader {
    /// The last of the first `limit` attempts, if there are more than these.
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
        filter::narrowed(&mut query, &both);
        query.push(" offset ").push_bind(limit.saturating_sub(1));
        let seqs: Vec<i64> = query.build_query_scalar().fetch_all(&self.pool).await?;
        Ok(seqs.first().copied().filter(|_| seqs.len() > 1))
    }
}

impl Store {
    /// Attempts, newest first.
    pub async fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<AttemptRecord>, StoreError> {
        self.reader().attempts(filter).await
    }
}
