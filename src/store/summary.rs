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

/// When attempts of one outcome were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// Their outcome.
    pub outcome: String,
    /// Each of them, in milliseconds since 1970 and in no particular order.
    pub at_ms: Vec<i64>,
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
    /// When the attempts of each outcome were made.
    ///
    /// All times of an outcome come in one row: whoever draws them needs the first and the last before
    /// the rest can be counted, and looking at each attempt twice, or fetching each as a row of its
    /// own, costs more than the text between.
    pub async fn attempt_times(&self, filter: &AttemptFilter) -> Result<Vec<Times>, StoreError> {
        let mut query = QueryBuilder::new(
            "select outcome, json_group_array(at_ms) \
             from (select at_ms, outcome from attempt where true",
        );
        filter::narrow(&mut query, &latest(filter));
        query.push(") group by outcome");
        let rows: Vec<(String, String)> = query.build_query_as().fetch_all(&self.pool).await?;
        let times = rows.into_iter().map(|(outcome, times)| {
            let at_ms = serde_json::from_str(&times)
                .map_err(|error| StoreError::unreadable("the times of attempts", error))?;
            Ok(Times { outcome, at_ms })
        });
        times.collect()
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
        filter::narrow(&mut query, &filter);
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
