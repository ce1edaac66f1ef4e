//! Deleting what is older than its time, a few rows in each step, so that nobody who allocates
//! waits for it. What the rows add up to stays in the totals.
//!
//! What stays beyond its time: the newest attempt (its number must not be given twice), living
//! leases, the last lease of a name (it knows the name's port), and the allocations of these.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::day::DAY_MS;
use super::writer::{Chore, Job};
use super::{Reader, Store, StoreError};

/// What may be deleted, as found at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Attempts with a lower `seq` than this.
    pub attempts_below: i64,
    /// Allocations made and leases ended before this time.
    pub before_ms: i64,
    /// Totals of days before this time, and the last leases of names that ended before it.
    pub totals_before_ms: i64,
}

/// What is deleted in one go, in this order: an allocation goes after what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Attempts.
    Attempts,
    /// Ended leases.
    Leases,
    /// Allocations.
    Allocations,
    /// Snapshots, what they saw, and late conflicts.
    SnapshotLog,
    /// Totals.
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

/// How far one kind has been looked through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How many rows it deleted.
    pub deleted: u64,
    /// Where the next one begins; none where nothing is left.
    pub next: Option<Cursor>,
}

/// How many rows were deleted, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Attempts; what they add up to stays.
    pub attempts: u64,
    /// Ended leases.
    pub leases: u64,
    /// Allocations.
    pub allocations: u64,
    /// Snapshots, sightings and late conflicts; what was learned from them fades by itself.
    #[serde(default)]
    pub looks: u64,
    /// Sums of a day.
    pub totals: u64,
}

impl Removed {
    /// The count of a kind.
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

pub(super) struct Prune {
    kind: Kind,
    after: Cursor,
    rows: u32,
    bounds: Bounds,
}

/// An ended lease that nobody needs: ?1 and ?2 are the times of [`Bounds`].
const LEASE_MAY_GO: &str = "lease.ended_at_ms < ?1 and ( \
     lease.name is null or lease.ended_at_ms < ?2 or exists ( \
         select 1 from lease newer where newer.name = lease.name and newer.id > lease.id \
         and newer.uid = lease.uid and newer.scope_dir is lease.scope_dir \
         and newer.protocol = lease.protocol))";

/// A table of totals: its column of time, the length of that in milliseconds, and its key.
struct Total(&'static str, &'static str, i64, &'static str);

const TOTALS: [Total; 6] = [
    Total("place_day", "day", DAY_MS, "day, pool, interface, uid"),
    Total(
        "attempt_day",
        "day",
        DAY_MS,
        "day, pool, interface, protocol, port, uid",
    ),
    Total(
        "occupant_day",
        "day",
        DAY_MS,
        "day, pool, protocol, port, uid, command, occupant_uid",
    ),
    Total(
        "lease_day",
        "day",
        DAY_MS,
        "day, pool, uid, state, lifetime_ms",
    ),
    Total("attempt_hour", "hour", DAY_MS / 24, "hour, pool, uid"),
    Total("allocation_hour", "hour", DAY_MS / 24, "hour, pool, uid"),
];

/// A table of looks at the sockets of others, which of its rows are old (?1 is a time), and its key. A
/// sighting goes before the snapshots that tell its time.
struct Look(&'static str, &'static str, &'static str);

const LOOKS: [Look; 3] = [
    Look(
        "sighting",
        "last_seq < (select min(seq) from snapshot where at_ms >= ?1)",
        "protocol, port, address, scope, dual, first_seq",
    ),
    // The last one stays, since its number must not be given twice.
    Look(
        "snapshot",
        "at_ms < ?1 and seq < (select max(seq) from snapshot)",
        "seq",
    ),
    Look("late_conflict", "at_ms < ?1", "seq"),
];

impl Reader {
    /// What may go: attempts made before `before`, and all but the newest `keep`.
    pub async fn bounds(
        &self,
        before: Timestamp,
        keep: u64,
        totals_before: Timestamp,
    ) -> Result<Bounds, StoreError> {
        let before_ms = before.as_millisecond();
        let newest: Option<i64> = sqlx::query_scalar("select max(seq) from attempt")
            .fetch_one(&self.pool)
            .await?;
        let old: Option<i64> = sqlx::query_scalar(
            "select max(seq) from attempt indexed by attempt_at where at_ms < ?1",
        )
        .bind(before_ms)
        .fetch_one(&self.pool)
        .await?;
        let newest = newest.unwrap_or(0);
        let too_many = newest.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
        let last = old.unwrap_or(0).max(too_many).min(newest - 1);
        let first_kept: Option<i64> =
            sqlx::query_scalar("select at_ms from attempt where seq > ?1 order by seq limit 1")
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

    /// How many rows may go.
    pub async fn removable(&self, bounds: Bounds) -> Result<Removed, StoreError> {
        let attempts = "select count(*) from attempt where seq < ?3";
        let leases = format!("select count(*) from lease where {LEASE_MAY_GO}");
        let allocations = format!(
            "select count(*) from allocation where at_ms < ?1 \
             and not exists (select 1 from attempt where allocation = allocation.id and seq >= ?3) \
             and not exists (select 1 from lease where allocation = allocation.id \
                             and not coalesce({LEASE_MAY_GO}, false))"
        );
        let mut removed = Removed {
            attempts: self.count(attempts, bounds).await?,
            leases: self.count(&leases, bounds).await?,
            allocations: self.count(&allocations, bounds).await?,
            looks: 0,
            totals: 0,
        };
        for Look(table, old, _) in LOOKS {
            let old = format!("select count(*) from {table} where {old}");
            removed.looks += self.count(&old, bounds).await?;
        }
        for Total(table, column, ms, _) in TOTALS {
            let old = format!("select count(*) from {table} where {column} < ?2 / {ms}");
            removed.totals += self.count(&old, bounds).await?;
        }
        Ok(removed)
    }

    async fn count(&self, query: &str, bounds: Bounds) -> Result<u64, StoreError> {
        let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
            .bind(bounds.before_ms)
            .bind(bounds.totals_before_ms);
        query = query.bind(bounds.attempts_below);
        let count: i64 = query.fetch_one(&self.pool).await?;
        Ok(count.unsigned_abs())
    }
}

impl Store {
    /// Looks at so many rows of a kind after the cursor, and deletes those that may go.
    pub async fn prune(
        &self,
        kind: Kind,
        after: Cursor,
        rows: u32,
        bounds: Bounds,
    ) -> Result<Step, StoreError> {
        let (reply, done) = oneshot::channel();
        let prune = Prune {
            kind,
            after,
            rows,
            bounds,
        };
        let job = Job::Do(Chore::Prune(prune, reply));
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }
}

pub(super) async fn step(
    connection: &mut SqliteConnection,
    prune: Prune,
) -> Result<Step, StoreError> {
    match prune.kind {
        Kind::Attempts => attempts(connection, &prune).await,
        Kind::Leases => leases(connection, &prune).await,
        Kind::Allocations => allocations(connection, &prune).await,
        Kind::SnapshotLog => looks(connection, &prune).await,
        Kind::Totals => totals(connection, &prune).await,
    }
}

/// Only what has been counted and learned.
async fn attempts(connection: &mut SqliteConnection, prune: &Prune) -> Result<Step, StoreError> {
    let deleted = sqlx::query(
        "delete from attempt where seq in (select seq from attempt where seq < ?1 \
         and seq <= (select attempt_seq from counted) \
         and seq <= (select attempt_seq from history_state) order by seq limit ?2)",
    )
    .bind(prune.bounds.attempts_below)
    .bind(prune.rows)
    .execute(connection)
    .await?
    .rows_affected();
    let next = (deleted == u64::from(prune.rows)).then(Cursor::default);
    Ok(Step { deleted, next })
}

async fn leases(connection: &mut SqliteConnection, prune: &Prune) -> Result<Step, StoreError> {
    let Some(last) = last_of(connection, "lease", prune).await? else {
        return Ok(END);
    };
    let delete = format!("delete from lease where id > ?3 and id <= ?4 and {LEASE_MAY_GO}");
    let deleted = sqlx::query(sqlx::AssertSqlSafe(delete))
        .bind(prune.bounds.before_ms)
        .bind(prune.bounds.totals_before_ms)
        .bind(&prune.after.0)
        .bind(&last)
        .execute(connection)
        .await?
        .rows_affected();
    Ok(Step {
        deleted,
        next: Some(Cursor(last)),
    })
}

async fn allocations(connection: &mut SqliteConnection, prune: &Prune) -> Result<Step, StoreError> {
    let Some(last) = last_of(connection, "allocation", prune).await? else {
        return Ok(END);
    };
    let deleted = sqlx::query(
        "delete from allocation where id > ?1 and id <= ?2 and at_ms < ?3 \
         and not exists (select 1 from attempt where allocation = allocation.id) \
         and not exists (select 1 from lease where allocation = allocation.id)",
    )
    .bind(&prune.after.0)
    .bind(&last)
    .bind(prune.bounds.before_ms)
    .execute(connection)
    .await?
    .rows_affected();
    Ok(Step {
        deleted,
        next: Some(Cursor(last)),
    })
}

const END: Step = Step {
    deleted: 0,
    next: None,
};

/// The last of the next rows that are old enough, by the time in their ids.
async fn last_of(
    connection: &mut SqliteConnection,
    table: &'static str,
    prune: &Prune,
) -> Result<Option<Vec<u8>>, StoreError> {
    let query = format!(
        "select max(id) from (select id from {table} where id > ?1 and id < ?2 order by id limit ?3)"
    );
    let last = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .bind(&prune.after.0)
        .bind(first_id_of(prune.bounds.before_ms))
        .bind(prune.rows)
        .fetch_one(connection)
        .await?;
    Ok(last)
}

/// The lowest id of this millisecond: UUIDs of version 7 begin with the time (RFC 9562, 5.7).
fn first_id_of(ms: i64) -> Vec<u8> {
    let mut id = vec![0; 16];
    let bytes = ms.max(0).to_be_bytes();
    id[..6].copy_from_slice(&bytes[2..]);
    id
}

async fn looks(connection: &mut SqliteConnection, prune: &Prune) -> Result<Step, StoreError> {
    let mut deleted = 0;
    for Look(table, old, key) in LOOKS {
        let delete = format!(
            "delete from {table} where ({key}) in (select {key} from {table} where {old} limit ?2)"
        );
        let gone = sqlx::query(sqlx::AssertSqlSafe(delete))
            .bind(prune.bounds.before_ms)
            .bind(prune.rows)
            .execute(&mut *connection)
            .await?
            .rows_affected();
        deleted += gone;
        if gone == u64::from(prune.rows) {
            let next = Some(Cursor::default());
            return Ok(Step { deleted, next });
        }
    }
    Ok(Step {
        deleted,
        next: None,
    })
}

async fn totals(connection: &mut SqliteConnection, prune: &Prune) -> Result<Step, StoreError> {
    let mut deleted = 0;
    for Total(table, column, ms, key) in TOTALS {
        let delete = format!(
            "delete from {table} where ({key}) in \
             (select {key} from {table} where {column} < ?1 order by {key} limit ?2)"
        );
        let gone = sqlx::query(sqlx::AssertSqlSafe(delete))
            .bind(prune.bounds.totals_before_ms.div_euclid(ms))
            .bind(prune.rows)
            .execute(&mut *connection)
            .await?
            .rows_affected();
        deleted += gone;
        if gone == u64::from(prune.rows) {
            let next = Some(Cursor::default());
            return Ok(Step { deleted, next });
        }
    }
    Ok(Step {
        deleted,
        next: None,
    })
}
