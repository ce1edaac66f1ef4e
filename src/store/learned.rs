//! The tables of history, written behind in batches: counts a port, snapshots with their sightings, and
//! late conflicts. `remembered.rs` reads them at a start.

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::rows::Rows;
use super::{Store, StoreError};
use crate::domain::history::{Changes, LateRow, Learned, SightingRow, SnapshotRow};

impl Store {
    /// Writes what was learned, all or nothing.
    pub async fn write_learned(&self, learned: Learned) -> Result<(), StoreError> {
        self.chore(false, |connection| Box::pin(write(connection, learned)))
            .await
    }
}

async fn write(connection: &mut SqliteConnection, learned: Learned) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    drop_pages(&mut transaction, &learned.changes).await?;
    write_pages(&mut transaction, &learned.changes).await?;
    write_ports(&mut transaction, &learned.changes).await?;
    write_snapshots(&mut transaction, &learned.snapshots).await?;
    write_sightings(&mut transaction, &learned.sightings).await?;
    write_late(&mut transaction, &learned.late).await?;
    if let Some(covers) = learned.covers {
        end_round(&mut transaction, covers).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn end_round(connection: &mut SqliteConnection, covers: i64) -> Result<(), StoreError> {
    sqlx::query("update history_state set attempt_seq = ?1")
        .bind(covers)
        .execute(connection)
        .await?;
    Ok(())
}

async fn drop_pages(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<(), StoreError> {
    for page in &changes.dropped {
        sqlx::query("delete from history_port where page = ?1")
            .bind(page)
            .execute(&mut *connection)
            .await?;
        sqlx::query("delete from history_page where id = ?1")
            .bind(page)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Runs a statement that takes its rows as JSON.
async fn insert(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: &Rows,
) -> Result<(), StoreError> {
    sqlx::query(statement)
        .bind(rows.array())
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_pages(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<(), StoreError> {
    let rows = Rows::of(&changes.pages, |row, page| {
        row.set("id", page.id)
            .set("addresses", &page.addresses)
            .set("protocol", page.protocol)
            .set("at_ms", page.at_ms)
            .set("checks", page.checks)
            .set("checks_total", page.checks_total);
    });
    let statement = "insert into history_page (id, addresses, protocol, at_ms, checks, checks_total) \
         select value ->> 'id', value ->> 'addresses', value ->> 'protocol', value ->> 'at_ms', \
         value ->> 'checks', value ->> 'checks_total' from json_each(?1) where true \
         on conflict (id) do update set at_ms = excluded.at_ms, checks = excluded.checks, \
         checks_total = excluded.checks_total";
    insert(connection, statement, &rows).await
}

async fn write_ports(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<(), StoreError> {
    let rows = Rows::of(&changes.ports, |row, port| {
        row.set("page", port.page)
            .set("port", port.port)
            .set("at_ms", port.at_ms)
            .set("good", port.good)
            .set("failed", port.failed)
            .set("busy", port.busy)
            .set("late", port.late)
            .set("tried_ms", port.tried_ms)
            .set("released_at_ms", port.released_at_ms)
            .set("good_total", port.totals.good)
            .set("failed_total", port.totals.failed)
            .set("busy_total", port.totals.busy)
            .set("late_total", port.totals.late)
            .set("occupant", &port.occupant);
    });
    let statement = "insert or replace into history_port (page, port, at_ms, good, failed, busy, late, \
         tried_ms, released_at_ms, good_total, failed_total, busy_total, late_total, occupant) \
         select value ->> 'page', value ->> 'port', value ->> 'at_ms', value ->> 'good', \
         value ->> 'failed', value ->> 'busy', value ->> 'late', value ->> 'tried_ms', \
         value ->> 'released_at_ms', \
         value ->> 'good_total', value ->> 'failed_total', value ->> 'busy_total', \
         value ->> 'late_total', value ->> 'occupant' from json_each(?1)";
    insert(connection, statement, &rows).await
}

async fn write_snapshots(
    connection: &mut SqliteConnection,
    snapshots: &[SnapshotRow],
) -> Result<(), StoreError> {
    let rows = Rows::of(snapshots, |row, snapshot| {
        row.set("seq", snapshot.seq).set("at_ms", snapshot.at_ms);
    });
    let statement = "insert into snapshot (seq, at_ms) \
         select value ->> 'seq', value ->> 'at_ms' from json_each(?1)";
    insert(connection, statement, &rows).await
}

async fn write_sightings(
    connection: &mut SqliteConnection,
    sightings: &[SightingRow],
) -> Result<(), StoreError> {
    let rows = Rows::of(sightings, |row, seen| {
        row.set("protocol", seen.sighting.protocol)
            .set("port", seen.sighting.port)
            .set("address", seen.sighting.local)
            .set("scope", seen.sighting.scope)
            .set("dual", u8::from(seen.sighting.dual))
            .set("first_seq", seen.first_seq)
            .set("last_seq", seen.last_seq)
            .set("uid", seen.visitor.uid)
            .set("command", &seen.visitor.command);
    });
    let statement = "insert into sighting \
         (protocol, port, address, scope, dual, first_seq, last_seq, uid, command) \
         select value ->> 'protocol', value ->> 'port', value ->> 'address', value ->> 'scope', \
         value ->> 'dual', value ->> 'first_seq', value ->> 'last_seq', value ->> 'uid', \
         value ->> 'command' from json_each(?1) where true \
         on conflict (protocol, port, address, scope, dual, first_seq) \
         do update set last_seq = excluded.last_seq";
    insert(connection, statement, &rows).await
}

async fn write_late(connection: &mut SqliteConnection, late: &[LateRow]) -> Result<(), StoreError> {
    let rows = Rows::of(late, |row, conflict| {
        row.set("at_ms", conflict.at_ms)
            .set("lease", conflict.lease.0.simple())
            .set("protocol", conflict.protocol)
            .set("port", conflict.port)
            .set("addresses", &conflict.addresses)
            .set("occupant", &conflict.occupant)
            .set("occupant_uid", conflict.occupant_uid);
    });
    let statement = "insert into late_conflict \
         (at_ms, lease, protocol, port, addresses, occupant, occupant_uid) \
         select value ->> 'at_ms', unhex(value ->> 'lease'), value ->> 'protocol', \
         value ->> 'port', value ->> 'addresses', value ->> 'occupant', value ->> 'occupant_uid' \
         from json_each(?1)";
    insert(connection, statement, &rows).await
}
