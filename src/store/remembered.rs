//! History as it is read once at a start, with the attempts that are not in its counts yet.

use std::time::Duration;

use serde::Deserialize;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};

use super::column::time;
use super::{Store, StoreError};
use crate::domain::address::BindAddress;
use crate::domain::attempt::{Attempt, Occupant, SocketState};
use crate::domain::candidate::Totals;
use crate::domain::history::{PageRow, PortRow, Remembered};
use crate::domain::port::Port;

/// Maximum number of attempts that are replayed. A service writes what it learned every few seconds;
/// what a crash lost beyond this is not worth a slow start.
const REPLAYED: i64 = 20_000;

impl Store {
    /// Reads what was learned. The caller takes no snapshots meanwhile: sightings that the last service
    /// left open are closed with its last snapshot.
    pub async fn remembered(&self) -> Result<Remembered, StoreError> {
        self.ask(|connection| Box::pin(remembered(connection)))
            .await
    }
}

async fn remembered(connection: &mut SqliteConnection) -> Result<Remembered, StoreError> {
    let last_snapshot: i64 = sqlx::query_scalar("select ifnull(max(seq), 0) from snapshot")
        .fetch_one(&mut *connection)
        .await?;
    let closed =
        sqlx::query("update sighting set last_seq = max(first_seq, ?1) where last_seq is null")
            .bind(last_snapshot)
            .execute(&mut *connection)
            .await;
    if let Err(error) = closed {
        // On a full disk a start reads what there is.
        tracing::warn!(%error, "could not close the sightings of the last service; they last until now");
    }
    let pages = sqlx::query("select * from history_page")
        .fetch_all(&mut *connection)
        .await;
    let pages = rows(pages.map_err(StoreError::from));
    let ports = rows(ports(connection).await);
    let attempts = sqlx::query(
        "select at_ms, interface, address, protocol, port, outcome, \
         occupant ->> 'command' as command from attempt \
         where seq > (select attempt_seq from history_state) \
         and seq > (select ifnull(max(seq), 0) from attempt) - ?1 order by seq",
    )
    .bind(REPLAYED)
    .fetch_all(connection)
    .await;
    let attempts = rows(attempts.map_err(StoreError::from));
    Ok(Remembered {
        pages: readable(&pages),
        ports,
        attempts: readable(&attempts),
        last_snapshot,
    })
}

/// The rows of a table. A damaged table has none: history is worth less than a start.
fn rows<T>(read: Result<Vec<T>, StoreError>) -> Vec<T> {
    read.unwrap_or_else(|error| {
        tracing::error!(%error, "could not read a table of history; the service starts without it");
        Vec::new()
    })
}

/// Reads rows. One that cannot be read is logged and left out: history is worth less than a start.
fn readable<T: for<'r> FromRow<'r, SqliteRow>>(rows: &[SqliteRow]) -> Vec<T> {
    let mut read = Vec::with_capacity(rows.len());
    for row in rows {
        match T::from_row(row) {
            Ok(row) => read.push(row),
            Err(error) => {
                let error = StoreError::from(error);
                tracing::warn!(%error, "could not read a row of history; it is left out");
            }
        }
    }
    read
}

/// Reads the ports of all pages, each page as one JSON text: row by row they would be most of the time
/// of a start.
async fn ports(connection: &mut SqliteConnection) -> Result<Vec<PortRow>, StoreError> {
    let pages: Vec<String> = sqlx::query_scalar(
        "select json_group_array(json_array(page, port, at_ms, good, failed, busy, late, \
         tried_ms, released_at_ms, good_total, failed_total, busy_total, late_total, occupant)) \
         from history_port group by page",
    )
    .fetch_all(connection)
    .await?;
    let mut ports = Vec::new();
    for page in pages {
        match serde_json::from_str::<Vec<PortColumns>>(&page) {
            Ok(page) => ports.extend(page.into_iter().map(PortRow::from)),
            Err(error) => {
                tracing::warn!(%error, "could not read a page of history; it is left out");
            }
        }
    }
    Ok(ports)
}

/// Columns in the order that [`ports`] selects.
#[derive(Deserialize)]
struct PortColumns {
    page: i64,
    port: Port,
    at_ms: i64,
    good: f64,
    failed: f64,
    busy: f64,
    late: f64,
    tried_ms: Option<i64>,
    released_at_ms: Option<i64>,
    good_total: u64,
    failed_total: u64,
    busy_total: u64,
    late_total: u64,
    occupant: Option<String>,
}

impl From<PortColumns> for PortRow {
    fn from(row: PortColumns) -> Self {
        Self {
            page: row.page,
            port: row.port,
            at_ms: row.at_ms,
            good: row.good,
            failed: row.failed,
            busy: row.busy,
            late: row.late,
            tried_ms: row.tried_ms,
            released_at_ms: row.released_at_ms,
            totals: Totals {
                good: row.good_total,
                failed: row.failed_total,
                busy: row.busy_total,
                checks: 0,
                late: row.late_total,
            },
            occupant: row.occupant.map(Into::into),
        }
    }
}

impl FromRow<'_, SqliteRow> for PageRow {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            addresses: row.try_get("addresses")?,
            protocol: row.try_get("protocol")?,
            at_ms: row.try_get("at_ms")?,
            checks: row.try_get("checks")?,
            checks_total: row.try_get("checks_total")?,
        })
    }
}

/// An attempt as far as history learns from it.
impl FromRow<'_, SqliteRow> for Attempt {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let address: String = row.try_get("address")?;
        // A zone is written as its interface's name, which means nothing after a restart.
        let ip = address.split('%').next().unwrap_or_default();
        let command: Option<String> = row.try_get("command")?;
        Ok(Self {
            at: time(row, "at_ms")?,
            address: BindAddress {
                interface: row.try_get::<String, _>("interface")?.into(),
                ip: ip
                    .parse()
                    .map_err(|error: std::net::AddrParseError| sqlx::Error::Decode(error.into()))?,
                scope: 0,
            },
            protocol: row.try_get("protocol")?,
            port: row.try_get("port")?,
            outcome: row.try_get("outcome")?,
            errno: None,
            duration: Duration::ZERO,
            occupant: command.map(|command| Occupant {
                command: Some(command),
                state: SocketState::Unknown,
                ..Occupant::default()
            }),
            span_id: None,
        })
    }
}
