//! The table `allocation_row`, read through the view `allocation`: requests answered, with their explanation.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::attempt::AttemptRecord;
use super::column::Millis;
use super::{Store, StoreError};
use crate::domain::explanation::Explanation;
use crate::domain::lease::AllocationId;

/// One allocation with its reasons, as it is stored and answered.
#[derive(Debug, Clone, PartialEq, FromRow, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AllocationRecordDocument")]
pub struct AllocationRecord {
    /// Id of the allocation.
    pub id: AllocationId,
    /// Time of the answer.
    #[sqlx(rename = "at_ms", try_from = "Millis")]
    pub at: Timestamp,
    /// User who asked.
    pub uid: u32,
    /// Pool that was asked for.
    pub pool: String,
    /// Code of the refusal. `None` if ports were granted.
    pub refusal: Option<String>,
    /// The refusal in words.
    pub detail: Option<String>,
    /// Number of candidate ports that were tried.
    pub attempt_count: u32,
    /// Number of them that no bind was refused on. Kept in totals alone.
    #[serde(skip)]
    #[sqlx(skip)]
    pub free_count: u32,
    /// Time from the request to the commit, in microseconds.
    pub duration_us: u64,
    /// Trace of the request. `None` if it was not sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Span of the allocation in that trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// The explanation in a few sentences. Not stored: added to an answer.
    #[serde(default)]
    #[sqlx(skip)]
    pub story: String,
    /// Reasons of the result.
    #[sqlx(flatten)]
    pub explanation: Explanation,
    /// Attempts in the order made. Stored in a table of their own: added to an answer.
    #[sqlx(skip)]
    pub attempts: Vec<AttemptRecord>,
    /// Key with which the client repeats the request. Never answered.
    #[serde(skip)]
    pub retry_key: Option<String>,
}

impl Store {
    /// Returns one allocation, without its attempts.
    pub async fn allocation(
        &self,
        id: AllocationId,
    ) -> Result<Option<AllocationRecord>, StoreError> {
        let record = sqlx::query_as("select * from allocation where id = ?1")
            .bind(id.0.as_bytes().as_slice())
            .fetch_optional(&self.readers())
            .await?;
        Ok(record)
    }

    /// Returns the last allocation of this user that was granted under this key.
    pub async fn granted_by_key(
        &self,
        uid: u32,
        retry_key: &str,
    ) -> Result<Option<AllocationId>, StoreError> {
        let id = sqlx::query_scalar(
            "select id from allocation_row where uid = ?1 and retry_key = ?2 and refusal is null \
             order by id desc limit 1",
        )
        .bind(uid)
        .bind(retry_key)
        .fetch_optional(&self.readers())
        .await?;
        Ok(id)
    }
}
