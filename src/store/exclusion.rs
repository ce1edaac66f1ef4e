//! The table `exclusion`: ports excluded by hand.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};

use super::column::time;
use super::rows::Rows;
use super::{Store, StoreError};
use crate::domain::exclusion::Exclusion;
use crate::domain::port::{Port, Protocol};

impl FromRow<'_, SqliteRow> for Exclusion {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            protocol: row.try_get("protocol")?,
            port: row.try_get("port")?,
            reason: row.try_get("reason")?,
            uid: row.try_get("uid")?,
            at: time(row, "at_ms")?,
        })
    }
}

async fn all(connection: &mut SqliteConnection) -> Result<Vec<Exclusion>, StoreError> {
    let exclusions = sqlx::query_as("select * from exclusion");
    Ok(exclusions.fetch_all(connection).await?)
}

/// Writes all exclusions in one statement, so that a range is excluded whole or not at all.
async fn add(
    connection: &mut SqliteConnection,
    exclusions: Vec<Exclusion>,
) -> Result<(), StoreError> {
    let rows = Rows::of(&exclusions, |row, exclusion| {
        row.set("protocol", exclusion.protocol)
            .set("port", exclusion.port)
            .set("reason", &exclusion.reason)
            .set("uid", exclusion.uid)
            .set("at_ms", exclusion.at.as_millisecond());
    });
    sqlx::query(
        "insert or replace into exclusion (protocol, port, reason, uid, at_ms) \
         select value ->> 'protocol', value ->> 'port', value ->> 'reason', value ->> 'uid', \
         value ->> 'at_ms' from json_each(?1)",
    )
    .bind(rows.array())
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes all exclusions of these ports in one statement.
async fn remove(
    connection: &mut SqliteConnection,
    ports: Vec<(Protocol, Port)>,
) -> Result<(), StoreError> {
    let rows = Rows::of(ports, |row, (protocol, port)| {
        row.set("protocol", protocol).set("port", port);
    });
    sqlx::query(
        "delete from exclusion where (protocol, port) in \
         (select value ->> 'protocol', value ->> 'port' from json_each(?1))",
    )
    .bind(rows.array())
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Returns every port that was excluded by hand.
    pub async fn exclusions(&self) -> Result<Vec<Exclusion>, StoreError> {
        self.ask(|connection| Box::pin(all(connection))).await
    }

    /// Excludes ports, all or none; they are on the disk when this returns.
    pub async fn exclude(&self, exclusions: Vec<Exclusion>) -> Result<(), StoreError> {
        self.chore(true, |connection| Box::pin(add(connection, exclusions)))
            .await
    }

    /// Includes ports again, all or none; this is on the disk when it returns.
    pub async fn include(&self, ports: Vec<(Protocol, Port)>) -> Result<(), StoreError> {
        self.chore(true, |connection| Box::pin(remove(connection, ports)))
            .await
    }
}
