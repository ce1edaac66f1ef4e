//! Totals of hours: attempts and allocations.

use sqlx::{FromRow, QueryBuilder};

use super::stats::{StatsFilter, narrow};
use super::{Reader, StoreError};

/// Attempts of one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct HourTotal {
    /// Hour, as a number of UTC hours since 1970.
    pub hour: i64,
    pub attempts: i64,
    /// Number of conflicts among them.
    pub in_use: i64,
}

/// Allocations of one hour.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct AllocationTotal {
    /// Hour, as a number of UTC hours since 1970.
    pub hour: i64,
    pub pool: String,
    pub granted: i64,
    pub refused: i64,
    /// Number of those whose explanation tells how many busy ports a random choice would have met.
    pub weighed: i64,
    /// Sum of these busy ports.
    pub random_would_meet: f64,
    /// Number of candidate ports that were refused to the weighed ones.
    pub met: i64,
}

/// Maximum number of attempts, not in the totals yet, that are added to them. A busy host counts the
/// others a moment later.
const UNCOUNTED: u32 = 1024;

impl Reader {
    /// Returns the totals of allocations by hour and pool.
    pub async fn allocation_totals(
        &self,
        filter: &StatsFilter,
    ) -> Result<Vec<AllocationTotal>, StoreError> {
        let mut query = QueryBuilder::new(
            "select hour, pool, sum(granted) as granted, sum(refused) as refused, \
             sum(weighed) as weighed, sum(random_would_meet) as random_would_meet, \
             sum(met) as met from allocation_hour",
        );
        narrow(&mut query, "hour", filter.first_day * 24, filter);
        query.push(" group by hour, pool order by hour, pool");
        Ok(query.build_query_as().fetch_all(&self.pool).await?)
    }

    /// Returns the attempts of each hour from `first_hour` on, with those that are not in the totals
    /// yet. It is one statement, so that no attempt is counted twice while the mark moves on.
    pub async fn hour_totals(
        &self,
        first_hour: i64,
        uid: Option<u32>,
    ) -> Result<Vec<HourTotal>, StoreError> {
        let totals = sqlx::query_as(
            "select hour, sum(attempts) as attempts, sum(in_use) as in_use from ( \
                 select hour, attempts, in_use from attempt_hour \
                 where hour >= ?1 and (?2 is null or uid = ?2) \
                 union all \
                 select at_ms / 3600000, 1, outcome = 'in_use' from ( \
                     select at_ms, outcome, uid from attempt \
                     where seq > (select attempt_seq from counted) order by seq limit ?3 \
                 ) \
                 where at_ms / 3600000 >= ?1 and (?2 is null or uid = ?2) \
             ) group by hour order by hour",
        )
        .bind(first_hour)
        .bind(uid)
        .bind(UNCOUNTED)
        .fetch_all(&self.pool)
        .await?;
        Ok(totals)
    }

    /// Returns a `seq` that no attempt made at or after a time is below. `None` if there is no such
    /// attempt. It is the first of that hour: there is no index by time.
    pub(super) async fn first_since(&self, at_ms: i64) -> Result<Option<i64>, StoreError> {
        let first = sqlx::query_scalar(
            "select min(seq) from ( \
                 select min(first_seq) as seq from attempt_hour where hour >= ?1 / 3600000 \
                 union all \
                 select min(seq) from attempt_row \
                 where seq > (select attempt_seq from counted) and at_ms >= ?1 \
             )",
        );
        Ok(first.bind(at_ms).fetch_one(&self.pool).await?)
    }

    /// Returns the `seq` of the last attempt made before a time, in the order of `seq`. `None` if there
    /// is none.
    pub(super) async fn last_before(&self, at_ms: i64) -> Result<Option<i64>, StoreError> {
        let last = sqlx::query_scalar(
            "select seq from attempt_row where +at_ms < ?1 and seq <= ( \
                 select max(seq) from ( \
                     select max(last_seq) as seq from attempt_hour where hour <= ?1 / 3600000 \
                     union all \
                     select max(seq) from attempt_row \
                     where seq > (select attempt_seq from counted) and at_ms < ?1 \
                 ) \
             ) order by seq desc limit 1",
        );
        Ok(last.bind(at_ms).fetch_optional(&self.pool).await?)
    }
}
