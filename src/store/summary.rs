//! Attempts of a filter, summed up over time and by occupant. Only the latest are read, so that no page
//! takes long, however long the past is.

use sqlx::{FromRow, QueryBuilder};

use super::filter::{self, AttemptFilter};
use super::{Reader, StoreError};
use crate::domain::attempt::Outcome;

/// Maximum number of attempts that are summed up: the latest.
pub const SUMMED: u32 = 10_000;

/// Maximum number of different occupants listed.
const WAYS: u32 = 200;

/// Times of the attempts with one outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    pub outcome: String,
    /// Time of each attempt, in milliseconds since 1970, in no particular order.
    pub at_ms: Vec<i64>,
}

/// An occupant, and the attempts that it refused.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct InTheWay {
    /// Name of the process. `None` if the kernel did not tell.
    pub command: Option<String>,
    /// User of the socket. `None` if the kernel did not tell.
    pub uid: Option<u32>,
    pub attempts: i64,
    /// Time of the last of them, in milliseconds since 1970.
    pub last_ms: i64,
}

impl Reader {
    /// Returns the times of the attempts with each outcome.
    ///
    /// All times of an outcome come in one row. A chart needs the first and the last before it can count
    /// the rest; reading each attempt twice, or as a row of its own, costs more than this text.
    pub async fn attempt_times(&self, filter: &AttemptFilter) -> Result<Vec<Times>, StoreError> {
        let mut query = QueryBuilder::new(
            "select (select text from word where id = outcome_word), json_group_array(at_ms) \
             from (select at_ms, outcome_word from attempt where true",
        );
        filter::narrow(&mut query, &latest(filter));
        query.push(") group by outcome_word");
        let rows: Vec<(String, String)> = query.build_query_as().fetch_all(&self.pool).await?;
        let times = rows.into_iter().map(|(outcome, times)| {
            let at_ms = serde_json::from_str(&times)
                .map_err(|error| StoreError::unreadable("the times of attempts", error))?;
            Ok(Times { outcome, at_ms })
        });
        times.collect()
    }

    /// Lists occupants, most attempts first.
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
