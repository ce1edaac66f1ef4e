//! Living leases of a record whose tables take nothing, as on a full disk: the entries that wait in the
//! ledger are written into the view `lease` by a transaction that is taken back. SQLite keeps its pages
//! in memory until it commits.

use sqlx::Connection;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::entry::{self, LeaseRow};
use super::ledger::{Frames, Part};
use super::{Store, StoreError};

const LEASE: &str = "insert into lease ( \
     id, allocation, name, scope_dir, pool, protocol, port, addresses, uid, handover, guard, state, \
     granted_at_ms, ended_at_ms, boot_id, claim_by_boot_ms, expires_boot_ms, ttl_ms, owner, labels, \
     trace_id, revision, span_id, moved, forgotten, idle_since_ms, by_hand, scope_device) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
     ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)";

const LIVING: &str = "select * from lease where ended_at_ms is null order by id";

impl Store {
    /// Returns the frames that the tables do not have yet, as bytes.
    pub(super) fn waiting(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let unfilled = self.ledger().unfilled();
        let parts = unfilled.iter().flat_map(|unfilled| &unfilled.parts);
        let read = parts.map(Part::read);
        read.collect::<Result<_, _>>()
            .map_err(|error| StoreError::ledger(&self.file, &error))
    }
}

/// Reads the rows of living leases, as they are with the `waiting` frames.
pub(super) async fn living(
    connection: &mut SqliteConnection,
    waiting: &[Vec<u8>],
) -> Result<Vec<SqliteRow>, StoreError> {
    if waiting.is_empty() {
        return Ok(sqlx::query(LIVING).fetch_all(connection).await?);
    }
    // A page that does not fit into the cache would go to the disk.
    sqlx::query("pragma cache_spill = false")
        .execute(&mut *connection)
        .await?;
    let mut transaction = connection.begin_with("begin immediate").await?;
    for frame in waiting.iter().flat_map(|bytes| Frames::of(bytes)) {
        for row in entry::decode(frame.entry)?.leases {
            write(&mut transaction, &row).await?;
        }
    }
    let rows = sqlx::query(LIVING).fetch_all(&mut *transaction).await?;
    transaction.rollback().await?;
    sqlx::query("pragma cache_spill = true")
        .execute(connection)
        .await?;
    Ok(rows)
}

async fn write(connection: &mut SqliteConnection, row: &LeaseRow<'_>) -> sqlx::Result<()> {
    sqlx::query(LEASE)
        .bind(row.id.as_bytes().as_slice())
        .bind(row.allocation.as_bytes().as_slice())
        .bind(row.name.as_deref())
        .bind(row.scope_dir.as_deref())
        .bind(&*row.pool)
        .bind(&*row.protocol)
        .bind(row.port)
        .bind(&*row.addresses)
        .bind(row.uid)
        .bind(&*row.handover)
        .bind(&*row.guard)
        .bind(&*row.state)
        .bind(row.granted_at_ms)
        .bind(row.ended_at_ms)
        .bind(&*row.boot_id)
        .bind(row.claim_by_boot_ms)
        .bind(row.expires_boot_ms)
        .bind(row.ttl_ms)
        .bind(row.owner.as_deref())
        .bind(&*row.labels)
        .bind(row.trace_id.as_deref())
        .bind(row.revision)
        .bind(row.span_id.as_deref())
        .bind(row.moved.as_deref())
        .bind(row.forgotten)
        .bind(row.idle_since_ms)
        .bind(row.by_hand)
        .bind(row.scope_device)
        .execute(connection)
        .await?;
    Ok(())
}
