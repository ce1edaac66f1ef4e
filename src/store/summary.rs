//! What the attempts of a filter add up to: over time, and by who was in the way. Only the latest
//! are looked at, so that no page takes long however long the past is.

use sqlx::{FromRow, QueryBuilder};

use super::filter::{self, AttemptFilter};
use super::{Reader, StoreError};
use crate::domain::attempt::Outcome;

/// How many attempts are added up at most: the latest ones.
pub const SUMMED: u32 = 10_000;

/// How many different processes in the way are told of at most.
const WAYS: u32 = 200;

/// When the attempts of a filter were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptSpan {
    /// The first of them, in milliseconds since 1970.
    pub first_ms: i64,
    /// The last of them.
    pub last_ms: i64,
    /// How many they are; [`SUMMED`] where there may be more.
    pub attempts: i64,
}

/// Attempts of one outcome within one stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AttemptBucket {
    /// Which stretch since 1970.
    pub bucket: i64,
    /// Their outcome.
    pub outcome: String,
    /// How many.
    pub attempts: i64,
}

/// Somebody who was in the way.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct InTheWay {
    /// The name of the process, where the kernel told.
    pub command: Option<String>,
    /// Its user, where the kernel told.
    pub uid: Option<u32>,
    /// How many attempts it refused.
    pub attempts: i64,
    /// When it refused the last of them.
    pub last_ms: i64,
}

impl Reader {
    /// From when to when there are attempts; none where there are none.
    pub async fn attempt_span(
        &self,
        filter: &AttemptFilter,
    ) -> Result<Option<AttemptSpan>, StoreError> {
        let mut query = QueryBuilder::new(
            "select min(at_ms), max(at_ms), count(*) from (select at_ms from attempt where true",
        );
        filter::narrowed(&mut query, &latest(filter));
        query.push(")");
        let (first, last, attempts): (Option<i64>, Option<i64>, i64) =
            query.build_query_as().fetch_one(&self.pool).await?;
        Ok(first.zip(last).map(|(first_ms, last_ms)| AttemptSpan {
            first_ms,
            last_ms,
            attempts,
        }))
    }

    /// Attempts by outcome in stretches of so many milliseconds, the earliest first.
    pub async fn attempt_buckets(
        &self,
        filter: &AttemptFilter,
        width_ms: i64,
    ) -> Result<Vec<AttemptBucket>, StoreError> {
        let mut query = QueryBuilder::new("select at_ms / ");
        query.push_bind(width_ms.max(1)).push(
            " as bucket, outcome, count(*) as attempts \
             from (select at_ms, outcome from attempt where true",
        );
        filter::narrowed(&mut query, &latest(filter));
        query.push(") group by bucket, outcome order by bucket, outcome");
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// Who was in the way, most often first.
    pub async fn in_the_way(&self, filter: &AttemptFilter) -> Result<Vec<InTheWay>, StoreError> {
        let outcome = filter.outcome.unwrap_or(Outcome::InUse);
        if outcome != Outcome::InUse {
            return Ok(Vec::new());
        }
        let filter = AttemptFilter {
            outcome: Some(outcome),
            ..latest(filter)
        };
        let mut query = QueryBuilder::new(
            "select occupant ->> '$.command' as command, occupant ->> '$.uid' as uid, \
             count(*) as attempts, max(at_ms) as last_ms \
             from (select occupant, at_ms from attempt where true",
        );
        filter::narrowed(&mut query, &filter);
        query
            .push(") group by 1, 2 order by attempts desc, command, uid limit ")
            .push_bind(WAYS);
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }
}

fn latest(filter: &AttemptFilter) -> AttemptFilter {
    AttemptFilter {
        limit: SUMMED,
        ..filter.clone()
    }
}
