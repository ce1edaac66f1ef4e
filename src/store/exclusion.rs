//! The table `exclusion`: ports excluded by hand.

use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;

use super::lease::timestamp;
use super::writer::{Chore, Job, Question};
use super::{Store, StoreError};
use crate::domain::exclusion::Exclusion;
use crate::domain::port::{Port, Protocol};

#[derive(FromRow)]
struct Found {
    protocol: String,
    port: u16,
    reason: Option<String>,
    uid: u32,
    at_ms: i64,
}

impl TryFrom<Found> for Exclusion {
    type Error = StoreError;

    fn try_from(row: Found) -> Result<Self, StoreError> {
        let protocol = row.protocol.parse();
        Ok(Self {
            protocol: protocol.map_err(|error| StoreError::unreadable("a protocol", error))?,
            port: Port::new(row.port).ok_or_else(|| StoreError::unreadable("a port", row.port))?,
            reason: row.reason,
            uid: row.uid,
            at: timestamp(row.at_ms)?,
        })
    }
}

pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Exclusion>, StoreError> {
    let rows: Vec<Found> = sqlx::query_as("select * from exclusion")
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Writes all of these in one statement, so that a range is excluded whole or not at all.
pub(super) async fn add(
    connection: &mut SqliteConnection,
    exclusions: &[Exclusion],
) -> Result<(), StoreError> {
    let rows = exclusions.iter().map(|exclusion| {
        let protocol = exclusion.protocol.as_str();
        let at_ms = exclusion.at.as_millisecond();
        (
            protocol,
            exclusion.port,
            &exclusion.reason,
            exclusion.uid,
            at_ms,
        )
    });
    let rows: Vec<_> = rows.collect();
    let rows = serde_json::to_string(&rows)
        .map_err(|error| StoreError::unreadable("exclusions", error))?;
    sqlx::query(
        "insert or replace into exclusion \
         select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 from json_each(?1)",
    )
    .bind(rows)
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes all of these in one statement.
pub(super) async fn remove(
    connection: &mut SqliteConnection,
    ports: &[(Protocol, Port)],
) -> Result<(), StoreError> {
    let ports = serde_json::to_string(ports)
        .map_err(|error| StoreError::unreadable("exclusions", error))?;
    sqlx::query(
        "delete from exclusion where (protocol, port) in \
         (select value ->> 0, value ->> 1 from json_each(?1))",
    )
    .bind(ports)
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Every port that was excluded by hand.
    pub async fn exclusions(&self) -> Result<Vec<Exclusion>, StoreError> {
        let (reply, all) = oneshot::channel();
        self.job(Job::Ask(Question::Excluded(reply))).await?;
        all.await.map_err(|_| StoreError::Closed)?
    }

    /// Excludes ports, all or none; they are on the disk when this returns.
    pub async fn exclude(&self, exclusions: Vec<Exclusion>) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        self.job(Job::Do(Chore::Exclude(exclusions, reply))).await?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    /// Includes ports again, all or none.
    pub async fn include(&self, ports: Vec<(Protocol, Port)>) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        self.job(Job::Do(Chore::Include(ports, reply))).await?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    async fn job(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)
    }
}
