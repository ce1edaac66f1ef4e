//! The tables of history: counts written behind in batches, and read once at the start.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, FromRow};
use tokio::sync::oneshot;

use super::lease::{json, timestamp};
use super::writer::{Chore, Job, Question};
use super::{Store, StoreError};
use crate::domain::address::BindAddress;
use crate::domain::attempt::{Attempt, Occupant, SocketState};
use crate::domain::candidate::Totals;
use crate::domain::history::{Learned, PageRow, PortRow, Remembered};
use crate::domain::port::{Port, Protocol};

/// So many attempts are replayed at most: a service writes what it learned every few seconds, and
/// what a crash lost beyond them is not worth a slow start.
const REPLAYED: i64 = 20_000;

impl Store {
    /// Writes what was learned.
    pub async fn write_learned(&self, learned: Learned) -> Result<(), StoreError> {
        let (reply, written) = oneshot::channel();
        let job = Job::Do(Chore::Learn(Box::new(learned), reply));
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        written.await.map_err(|_| StoreError::Closed)?
    }

    /// Reads what was learned. Nobody takes snapshots meanwhile: sightings left open by whoever
    /// took them last are closed with its last snapshot.
    pub async fn remembered(&self) -> Result<Remembered, StoreError> {
        let (reply, remembered) = oneshot::channel();
        let job = Job::Ask(Question::Remembered(reply));
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        remembered.await.map_err(|_| StoreError::Closed)?
    }
}

fn rows<T: Serialize>(rows: impl Iterator<Item = T>) -> Result<String, StoreError> {
    let rows: Vec<T> = rows.collect();
    serde_json::to_string(&rows).map_err(|error| StoreError::unreadable("history", error))
}

/// Writes all of it or nothing.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    learned: &Learned,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    drop_pages(&mut transaction, learned).await?;
    write_pages(&mut transaction, learned).await?;
    write_ports(&mut transaction, learned).await?;
    write_snapshots(&mut transaction, learned).await?;
    write_sightings(&mut transaction, learned).await?;
    write_late(&mut transaction, learned).await?;
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
    learned: &Learned,
) -> Result<(), StoreError> {
    for page in &learned.changes.dropped {
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

async fn write_pages(
    connection: &mut SqliteConnection,
    learned: &Learned,
) -> Result<(), StoreError> {
    let pages = rows(learned.changes.pages.iter().map(|page| {
        (
            page.id,
            &page.addresses,
            page.protocol,
            page.at_ms,
            page.checks,
            page.checks_total,
        )
    }))?;
    sqlx::query(
        "insert into history_page (id, addresses, protocol, at_ms, checks, checks_total) \
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 \
         from json_each(?1) where true \
         on conflict (id) do update set at_ms = excluded.at_ms, checks = excluded.checks, \
         checks_total = excluded.checks_total",
    )
    .bind(pages)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_ports(
    connection: &mut SqliteConnection,
    learned: &Learned,
) -> Result<(), StoreError> {
    let ports = rows(learned.changes.ports.iter().map(|row| {
        (
            (row.page, row.port, row.at_ms, row.good, row.failed),
            (row.busy, row.late, row.released_at_ms),
            (row.totals.good, row.totals.failed),
            (row.totals.busy, row.totals.late),
            &row.occupant,
        )
    }))?;
    sqlx::query(
        "insert or replace into history_port (page, port, at_ms, good, failed, busy, late, \
         released_at_ms, good_total, failed_total, busy_total, late_total, occupant) \
         select value ->> '$[0][0]', value ->> '$[0][1]', value ->> '$[0][2]', \
         value ->> '$[0][3]', value ->> '$[0][4]', value ->> '$[1][0]', value ->> '$[1][1]', \
         value ->> '$[1][2]', value ->> '$[2][0]', value ->> '$[2][1]', value ->> '$[3][0]', \
         value ->> '$[3][1]', value ->> '$[4]' from json_each(?1)",
    )
    .bind(ports)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_snapshots(
    connection: &mut SqliteConnection,
    learned: &Learned,
) -> Result<(), StoreError> {
    let taken = rows(learned.snapshots.iter().map(|row| (row.seq, row.at_ms)))?;
    sqlx::query(
        "insert into snapshot (seq, at_ms) select value ->> 0, value ->> 1 from json_each(?1)",
    )
    .bind(taken)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_sightings(
    connection: &mut SqliteConnection,
    learned: &Learned,
) -> Result<(), StoreError> {
    let seen = rows(learned.sightings.iter().map(|row| {
        let sighting = row.sighting;
        (
            sighting.protocol,
            sighting.port,
            sighting.local,
            sighting.scope,
            u8::from(sighting.dual),
            row.first_seq,
            row.last_seq,
            row.visitor.uid,
            &row.visitor.command,
        )
    }))?;
    sqlx::query(
        "insert into sighting (protocol, port, address, scope, dual, first_seq, last_seq, uid, \
         command) \
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
         value ->> 6, value ->> 7, value ->> 8 from json_each(?1) where true \
         on conflict (protocol, port, address, scope, dual, first_seq) \
         do update set last_seq = excluded.last_seq",
    )
    .bind(seen)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_late(
    connection: &mut SqliteConnection,
    learned: &Learned,
) -> Result<(), StoreError> {
    let late = rows(learned.late.iter().map(|row| {
        (
            row.at_ms,
            row.lease.0.simple(),
            row.protocol,
            row.port,
            &row.addresses,
            &row.occupant,
            row.occupant_uid,
        )
    }))?;
    sqlx::query(
        "insert into late_conflict (at_ms, lease, protocol, port, addresses, occupant, \
         occupant_uid) \
         select value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, \
         value ->> 5, value ->> 6 from json_each(?1)",
    )
    .bind(late)
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct Page {
    id: i64,
    addresses: String,
    protocol: String,
    at_ms: i64,
    checks: f64,
    checks_total: i64,
}

/// The columns that [`remember`] asks for, in its order.
#[derive(Deserialize)]
struct Known {
    page: i64,
    port: u16,
    at_ms: i64,
    good: f64,
    failed: f64,
    busy: f64,
    late: f64,
    released_at_ms: Option<i64>,
    good_total: i64,
    failed_total: i64,
    busy_total: i64,
    late_total: i64,
    occupant: Option<String>,
}

#[derive(FromRow)]
struct Tried {
    at_ms: i64,
    interface: String,
    address: String,
    protocol: String,
    port: u16,
    outcome: String,
    command: Option<String>,
}

fn port(number: u16) -> Result<Port, StoreError> {
    Port::new(number).ok_or_else(|| StoreError::unreadable("a port", number))
}

fn protocol(text: &str) -> Result<Protocol, StoreError> {
    text.parse()
        .map_err(|_| StoreError::unreadable("a protocol", text))
}

impl TryFrom<Page> for PageRow {
    type Error = StoreError;

    fn try_from(row: Page) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            addresses: json("addresses", &row.addresses)?,
            protocol: protocol(&row.protocol)?,
            at_ms: row.at_ms,
            checks: row.checks,
            checks_total: row.checks_total.unsigned_abs(),
        })
    }
}

impl TryFrom<Known> for PortRow {
    type Error = StoreError;

    fn try_from(row: Known) -> Result<Self, StoreError> {
        Ok(Self {
            page: row.page,
            port: port(row.port)?,
            at_ms: row.at_ms,
            good: row.good,
            failed: row.failed,
            busy: row.busy,
            late: row.late,
            released_at_ms: row.released_at_ms,
            totals: Totals {
                good: row.good_total.unsigned_abs(),
                failed: row.failed_total.unsigned_abs(),
                busy: row.busy_total.unsigned_abs(),
                checks: 0,
                late: row.late_total.unsigned_abs(),
            },
            occupant: row.occupant.map(Into::into),
        })
    }
}

impl TryFrom<Tried> for Attempt {
    type Error = StoreError;

    fn try_from(row: Tried) -> Result<Self, StoreError> {
        let outcome = row.outcome.parse();
        let outcome = outcome.map_err(|_| StoreError::unreadable("an outcome", &row.outcome))?;
        // A zone is written by its interface's name, which means nothing after a restart.
        let ip = row.address.split('%').next().unwrap_or_default();
        Ok(Self {
            at: timestamp(row.at_ms)?,
            address: BindAddress {
                interface: row.interface.into(),
                ip: ip
                    .parse()
                    .map_err(|error| StoreError::unreadable("an address", error))?,
                scope: 0,
            },
            protocol: protocol(&row.protocol)?,
            port: port(row.port)?,
            outcome,
            errno: None,
            duration: Duration::ZERO,
            occupant: row.command.map(|command| Occupant {
                command: Some(command),
                state: SocketState::Unknown,
                ..Occupant::default()
            }),
            span_id: None,
        })
    }
}

/// What can be read; a row that cannot is logged and left out, since history is worth less than a
/// start.
fn readable<R, T: TryFrom<R, Error = StoreError>>(rows: Vec<R>) -> Vec<T> {
    let mut read = Vec::with_capacity(rows.len());
    for row in rows {
        match row.try_into() {
            Ok(row) => read.push(row),
            Err(error) => tracing::warn!(%error, "a row of history is left out"),
        }
    }
    read
}

/// All ports, a page as one JSON text: one by one their rows would be most of a start.
async fn known(connection: &mut SqliteConnection) -> Result<Vec<Known>, StoreError> {
    let pages: Vec<String> = sqlx::query_scalar(
        "select json_group_array(json_array(page, port, at_ms, good, failed, busy, late, \
         released_at_ms, good_total, failed_total, busy_total, late_total, occupant)) \
         from history_port group by page",
    )
    .fetch_all(connection)
    .await?;
    let mut ports = Vec::new();
    for page in pages {
        match serde_json::from_str::<Vec<Known>>(&page) {
            Ok(known) => ports.extend(known),
            Err(error) => tracing::warn!(%error, "a page of history is left out"),
        }
    }
    Ok(ports)
}

pub(super) async fn remember(connection: &mut SqliteConnection) -> Result<Remembered, StoreError> {
    let last_snapshot: i64 = sqlx::query_scalar("select ifnull(max(seq), 0) from snapshot")
        .fetch_one(&mut *connection)
        .await?;
    sqlx::query("update sighting set last_seq = max(first_seq, ?1) where last_seq is null")
        .bind(last_snapshot)
        .execute(&mut *connection)
        .await?;
    let pages: Vec<Page> = sqlx::query_as("select * from history_page")
        .fetch_all(&mut *connection)
        .await?;
    let ports = known(connection).await?;
    let tried: Vec<Tried> = sqlx::query_as(
        "select at_ms, interface, address, protocol, port, outcome, \
         occupant ->> 'command' as command from attempt \
         where seq > (select attempt_seq from history_state) \
         and seq > (select ifnull(max(seq), 0) from attempt) - ?1 order by seq",
    )
    .bind(REPLAYED)
    .fetch_all(connection)
    .await?;
    Ok(Remembered {
        pages: readable(pages),
        ports: readable(ports),
        attempts: readable(tried),
        last_snapshot,
    })
}
