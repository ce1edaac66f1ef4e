//! Rows of schema 16 on their way into the compact tables (migrations/0017): a few in each
//! transaction, so that a kill at any moment leaves every row in one place, and the next start goes on.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::explained;
use crate::domain::explanation::Explanation;

/// Migration that makes the compact tables. Later ones expect that all rows are in them.
pub(super) const TABLES: i64 = 17;

/// Number of allocations in a transaction: each has some kilobytes of JSON.
const ALLOCATIONS: u32 = 256;

/// Number of leases or attempts in a transaction.
const ROWS: u32 = 4096;

/// Number of rows between two log lines.
const ROWS_A_LINE: u64 = 100_000;

const MOVE_ALLOCATIONS: &str = "insert into allocation ( \
         id, at_ms, uid, pool, refusal, detail, attempt_count, duration_us, shared, explanation, \
         trace_id, span_id, retry_key \
     ) \
     select old_allocation.id, at_ms, uid, pool, refusal, detail, attempt_count, duration_us, \
         value ->> 'shared', unhex(value ->> 'explanation'), trace_id, span_id, retry_key \
     from json_each(?1) cross join old_allocation on old_allocation.id = unhex(value ->> 'id')";

const LEASE: Table = Table {
    name: "lease",
    key: "id",
    columns: "id, allocation, name, scope_dir, pool, protocol, port, addresses, uid, handover, guard, \
         state, granted_at_ms, ended_at_ms, boot_id, claim_by_boot_ms, expires_boot_ms, ttl_ms, owner, \
         labels, trace_id, revision, span_id, moved, forgotten, idle_since_ms, by_hand, scope_device",
};

const ATTEMPT: Table = Table {
    name: "attempt",
    key: "seq",
    columns: "seq, allocation, at_ms, pool, interface, address, protocol, port, outcome, errno, \
         duration_ns, occupant, span_id, strategy, uid",
};

/// A table whose rows go into the view of its name as they are.
struct Table {
    name: &'static str,
    key: &'static str,
    columns: &'static str,
}

/// Moves all rows that are left. A record that is converted has no tables of before.
pub(super) async fn rows(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let is_old: bool = sqlx::query_scalar(
        "select exists (select 1 from sqlite_schema where name = 'old_allocation')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !is_old {
        return Ok(());
    }
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from old_allocation) + (select count(*) from old_lease) \
         + (select count(*) from old_attempt)",
    )
    .fetch_one(&mut *connection)
    .await?;
    if left == 0 {
        return Ok(());
    }
    tracing::info!(rows = left, "converting the record to its compact form");
    let pages_of_log = log_limit(connection, 1000).await?;
    let mut progress = Progress::default();
    // Attempts come last: each is noted in its allocation.
    while progress.goes_on(allocations(connection).await?) {}
    for table in [LEASE, ATTEMPT] {
        while progress.goes_on(table.step(connection).await?) {}
    }
    log_limit(connection, pages_of_log).await?;
    Ok(())
}

/// Sets the length of the log at which a commit copies it into the file, in pages. Returns the length
/// before.
async fn log_limit(connection: &mut SqliteConnection, pages: i64) -> sqlx::Result<i64> {
    let before: i64 = sqlx::query_scalar("pragma wal_autocheckpoint")
        .fetch_one(&mut *connection)
        .await?;
    let set = format!("pragma wal_autocheckpoint = {pages}");
    sqlx::query(AssertSqlSafe(set)).execute(connection).await?;
    Ok(before)
}

/// Number of rows moved, told in the log.
#[derive(Default)]
struct Progress {
    moved: u64,
    told: u64,
}

impl Progress {
    /// Adds a step. Returns whether there may be more of its kind.
    fn goes_on(&mut self, moved: u64) -> bool {
        self.moved += moved;
        if self.moved - self.told >= ROWS_A_LINE {
            self.told = self.moved;
            tracing::info!(rows = self.moved, "rows of the record converted");
        }
        moved > 0
    }
}

/// Moves the next allocations, with their explanations packed.
async fn allocations(connection: &mut SqliteConnection) -> sqlx::Result<u64> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    let rows: Vec<(Vec<u8>, String)> =
        sqlx::query_as("select id, explanation from old_allocation order by id limit ?1")
            .bind(ALLOCATIONS)
            .fetch_all(&mut *transaction)
            .await?;
    let Some((last, _)) = rows.last() else {
        return Ok(0);
    };
    let packed: Vec<Value> = rows.iter().map(|(id, text)| packed(id, text)).collect();
    sqlx::query(MOVE_ALLOCATIONS)
        .bind(Value::from(packed).to_string())
        .execute(&mut *transaction)
        .await?;
    let deleted = sqlx::query("delete from old_allocation where id <= ?1")
        .bind(last)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    transaction.commit().await?;
    Ok(deleted)
}

/// An explanation as the columns of the compact table. One that cannot be read stays as it is.
fn packed(id: &[u8], text: &str) -> Value {
    let id = hex::encode(id);
    match serde_json::from_str::<Explanation>(text) {
        Ok(explanation) => {
            let packed = explained::pack(&explanation);
            json!({"id": id, "shared": packed.shared, "explanation": hex::encode(packed.own)})
        }
        Err(_) => json!({"id": id, "explanation": hex::encode(text)}),
    }
}

impl Table {
    /// Moves the next rows.
    async fn step(&self, connection: &mut SqliteConnection) -> sqlx::Result<u64> {
        let Self { name, key, columns } = self;
        let next = format!("from old_{name} order by {key} limit ?1");
        let copy = format!("insert into {name} ({columns}) select {columns} {next}");
        let delete = format!("delete from old_{name} where {key} in (select {key} {next})");
        let mut transaction = connection.begin_with("begin immediate").await?;
        sqlx::query(AssertSqlSafe(copy))
            .bind(ROWS)
            .execute(&mut *transaction)
            .await?;
        let deleted = sqlx::query(AssertSqlSafe(delete))
            .bind(ROWS)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        transaction.commit().await?;
        Ok(deleted)
    }
}
