//! Deleting rows that are older than their time, a few in each step, so that no allocation waits for
//! it. The sums of deleted rows stay in the totals.
//!
//! Some rows stay beyond their time: the newest attempt and the last snapshot (their numbers must not
//! be given twice), living leases, the last lease of a name (it knows the name's port), and the
//! allocations of these.

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::old::{ALLOCATION_MAY_GO, FORGET_WORDS, LEASE_MAY_GO, SNAPSHOT_LOG, TOTALS, Table};
use super::removable::{Bounds, Kind};
use super::{Store, StoreError, space};

/// Position up to which the rows of one kind have been looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

/// Result of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Number of rows deleted.
    pub deleted: u64,
    /// Start of the next step. `None` if nothing is left.
    pub next: Option<Cursor>,
}

struct Prune {
    kind: Kind,
    after: Cursor,
    rows: u32,
    bounds: Bounds,
}

impl Store {
    /// Looks at the next `rows` rows of a kind after the cursor, and deletes those that may go.
    pub async fn prune(
        &self,
        kind: Kind,
        after: Cursor,
        rows: u32,
        bounds: Bounds,
    ) -> Result<Step, StoreError> {
        let prune = Prune {
            kind,
            after,
            rows,
            bounds,
        };
        self.chore(false, |connection| Box::pin(step(connection, prune)))
            .await
    }
}

async fn step(connection: &mut SqliteConnection, prune: Prune) -> Result<Step, StoreError> {
    match prune.kind {
        Kind::Attempts => attempts(connection, &prune).await,
        Kind::Leases => by_id(connection, "lease_row", LEASE_MAY_GO, &prune).await,
        Kind::Allocations => by_id(connection, "allocation_row", ALLOCATION_MAY_GO, &prune).await,
        Kind::SnapshotLog => by_table(connection, &SNAPSHOT_LOG, &prune).await,
        Kind::Totals => totals(connection, &prune).await,
    }
}

/// Deletes old attempts, if they have been counted and learned from.
async fn attempts(connection: &mut SqliteConnection, prune: &Prune) -> Result<Step, StoreError> {
    let deleted = sqlx::query(
        "delete from attempt_row where seq in (select seq from attempt_row where seq < ?1 \
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

/// Deletes from the next rows that are old by the time in their ids.
async fn by_id(
    connection: &mut SqliteConnection,
    table: &str,
    may_go: &str,
    prune: &Prune,
) -> Result<Step, StoreError> {
    let last = format!(
        "select max(id) from (select id from {table} where id > ?1 and id < ?2 order by id limit ?3)"
    );
    let last: Option<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(last))
        .bind(&prune.after.0)
        .bind(first_id_of(prune.bounds.before_ms))
        .bind(prune.rows)
        .fetch_one(&mut *connection)
        .await?;
    let mut deleted = 0;
    if let Some(last) = &last {
        let delete = format!("delete from {table} where id > ?3 and id <= ?4 and {may_go}");
        deleted = sqlx::query(AssertSqlSafe(delete))
            .bind(prune.bounds.before_ms)
            .bind(prune.bounds.totals_before_ms)
            .bind(&prune.after.0)
            .bind(last)
            .execute(connection)
            .await?
            .rows_affected();
    }
    let next = last.map(Cursor);
    Ok(Step { deleted, next })
}

/// Returns the lowest id of a millisecond: UUIDs of version 7 begin with the time (RFC 9562, 5.7).
fn first_id_of(ms: i64) -> Vec<u8> {
    let mut id = vec![0; 16];
    let bytes = ms.max(0).to_be_bytes();
    id[..6].copy_from_slice(&bytes[2..]);
    id
}

/// Deletes old totals, at the end the words that no row uses any more, and gives free space back.
async fn totals(connection: &mut SqliteConnection, prune: &Prune) -> Result<Step, StoreError> {
    let mut step = by_table(connection, &TOTALS, prune).await?;
    if step.next.is_none() {
        sqlx::query(FORGET_WORDS).execute(&mut *connection).await?;
        let more = space::give_back(connection, prune.rows).await?;
        step.next = more.then(Cursor::default);
    }
    Ok(step)
}

/// Deletes old rows table by table, until a table has more than one step may delete.
async fn by_table(
    connection: &mut SqliteConnection,
    tables: &[Table],
    prune: &Prune,
) -> Result<Step, StoreError> {
    let mut deleted = 0;
    for Table(name, is_old, key) in tables {
        let delete = format!(
            "delete from {name} where ({key}) in \
             (select {key} from {name} where {is_old} order by {key} limit ?3)"
        );
        let gone = sqlx::query(AssertSqlSafe(delete))
            .bind(prune.bounds.before_ms)
            .bind(prune.bounds.totals_before_ms)
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
