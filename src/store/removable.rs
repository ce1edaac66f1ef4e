//! The rows that may be deleted, counted.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::old::{LEASE_MAY_GO, SNAPSHOT_LOG, TOTALS, Table};
use super::{Reader, StoreError};

/// Bounds of a pruning, as found at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Lowest `seq` of the attempts that stay.
    pub attempts_below: i64,
    /// Time before which an allocation was made or a lease ended, in milliseconds since 1970.
    pub before_ms: i64,
    /// Time before which the totals of days go, and the last leases of names that ended.
    pub totals_before_ms: i64,
}

/// Rows that are deleted in one go. An allocation goes after the rows that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Attempts,
    /// Ended leases.
    Leases,
    Allocations,
    /// Snapshots, their sightings, and late conflicts.
    SnapshotLog,
    Totals,
}

impl Kind {
    /// Every kind, in the order of deletion.
    pub const ALL: [Self; 5] = [
        Self::Attempts,
        Self::Leases,
        Self::Allocations,
        Self::SnapshotLog,
        Self::Totals,
    ];
}

/// Numbers of rows that were deleted, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Attempts; their sums stay.
    pub attempts: u64,
    /// Ended leases.
    pub leases: u64,
    /// Allocations.
    pub allocations: u64,
    /// Snapshots, sightings and late conflicts; the counts learned from them fade by themselves.
    #[serde(default)]
    pub looks: u64,
    /// Sums of a day.
    pub totals: u64,
}

impl Removed {
    /// Returns the number of a kind.
    pub const fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Attempts => &mut self.attempts,
            Kind::Leases => &mut self.leases,
            Kind::Allocations => &mut self.allocations,
            Kind::SnapshotLog => &mut self.looks,
            Kind::Totals => &mut self.totals,
        }
    }
}

impl Reader {
    /// Returns the bounds by which attempts go that were made before `before`, and all but the newest
    /// `keep`.
    pub async fn bounds(
        &self,
        before: Timestamp,
        keep: u64,
        totals_before: Timestamp,
    ) -> Result<Bounds, StoreError> {
        let before_ms = before.as_millisecond();
        let newest = self.last_attempt().await?;
        let old = self.last_before(before_ms).await?;
        let too_many = newest.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
        let last = old.unwrap_or(0).max(too_many).min(newest - 1);
        let first_kept: Option<i64> =
            sqlx::query_scalar("select at_ms from attempt_row where seq > ?1 order by seq limit 1")
                .bind(last)
                .fetch_optional(&self.pool)
                .await?;
        // Allocations and leases go no further back than attempts do.
        let by_count = first_kept.filter(|_| too_many > old.unwrap_or(0));
        Ok(Bounds {
            attempts_below: last.saturating_add(1),
            before_ms: by_count.map_or(before_ms, |at| at.max(before_ms)),
            totals_before_ms: totals_before.as_millisecond(),
        })
    }

    /// Counts the rows that may go.
    pub async fn removable(&self, bounds: Bounds) -> Result<Removed, StoreError> {
        let allocations = format!(
            "at_ms < ?1 \
             and coalesce(last_attempt, 0) < ?3 \
             and not exists (select 1 from lease_row where allocation = allocation_row.id \
                             and not coalesce({LEASE_MAY_GO}, false))"
        );
        let mut removed = Removed {
            attempts: self.count("attempt_row", "seq < ?3", bounds).await?,
            leases: self.count("lease_row", LEASE_MAY_GO, bounds).await?,
            allocations: self.count("allocation_row", &allocations, bounds).await?,
            looks: 0,
            totals: 0,
        };
        for Table(name, is_old, _) in SNAPSHOT_LOG {
            removed.looks += self.count(name, is_old, bounds).await?;
        }
        for Table(name, is_old, _) in TOTALS {
            removed.totals += self.count(name, is_old, bounds).await?;
        }
        Ok(removed)
    }

    async fn count(&self, table: &str, may_go: &str, bounds: Bounds) -> Result<u64, StoreError> {
        let query = format!("select count(*) from {table} where {may_go}");
        let count = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(bounds.before_ms)
            .bind(bounds.totals_before_ms)
            .bind(bounds.attempts_below);
        Ok(count.fetch_one(&self.pool).await?)
    }
}
