//! The table `allocation`: requests answered, with their explanation.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::FromRow;

use super::{Store, StoreError};
use crate::domain::explanation::Explanation;
use crate::domain::lease::AllocationId;

/// One request answered.
#[derive(Debug, Clone, PartialEq)]
pub struct AllocationRecord {
    /// Its id.
    pub id: AllocationId,
    /// When it was answered.
    pub at: Timestamp,
    /// Who asked.
    pub uid: u32,
    /// Of which pool.
    pub pool: String,
    /// The code of the refusal; none if it was granted.
    pub refusal: Option<String>,
    /// The refusal in words.
    pub detail: Option<String>,
    /// How many candidate ports were tried.
    pub attempt_count: u32,
    /// From the request to the commit, in microseconds.
    pub duration_us: u64,
    /// Why it came out as it did.
    pub explanation: Explanation,
    /// Its trace, when that was sampled.
    pub trace_id: Option<String>,
    /// Its span there.
    pub span_id: Option<String>,
    /// By what its client asks again.
    pub retry_key: Option<String>,
}

pub(super) fn row(record: &AllocationRecord) -> impl Serialize + '_ {
    (
        record.id.0.simple(),
        record.at.as_millisecond(),
        record.uid,
        &record.pool,
        &record.refusal,
        &record.detail,
        record.attempt_count,
        record.duration_us,
        &record.explanation,
        &record.trace_id,
        &record.span_id,
        &record.retry_key,
    )
}

#[derive(FromRow)]
struct Row {
    id: Vec<u8>,
    at_ms: i64,
    uid: u32,
    pool: String,
    refusal: Option<String>,
    detail: Option<String>,
    attempt_count: u32,
    duration_us: i64,
    explanation: String,
    trace_id: Option<String>,
    span_id: Option<String>,
    retry_key: Option<String>,
}

impl TryFrom<Row> for AllocationRecord {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: AllocationId(super::lease::uuid(&row.id)?),
            at: super::lease::timestamp(row.at_ms)?,
            uid: row.uid,
            pool: row.pool,
            refusal: row.refusal,
            detail: row.detail,
            attempt_count: row.attempt_count,
            duration_us: row.duration_us.unsigned_abs(),
            explanation: super::lease::json("an explanation", &row.explanation)?,
            trace_id: row.trace_id,
            span_id: row.span_id,
            retry_key: row.retry_key,
        })
    }
}

impl Store {
    /// One allocation.
    pub async fn allocation(
        &self,
        id: AllocationId,
    ) -> Result<Option<AllocationRecord>, StoreError> {
        let row: Option<Row> = sqlx::query_as("select * from allocation where id = ?1")
            .bind(id.0.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        row.map(TryInto::try_into).transpose()
    }

    /// The last allocation of this user that was granted under this key.
    pub async fn granted_by_key(
        &self,
        uid: u32,
        retry_key: &str,
    ) -> Result<Option<AllocationId>, StoreError> {
        let id: Option<Vec<u8>> = sqlx::query_scalar(
            "select id from allocation where uid = ?1 and retry_key = ?2 and refusal is null \
             order by id desc limit 1",
        )
        .bind(uid)
        .bind(retry_key)
        .fetch_optional(&self.readers)
        .await?;
        id.map(|id| super::lease::uuid(&id).map(AllocationId))
            .transpose()
    }
}
