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

pub(super) async fn add(
    connection: &mut SqliteConnection,
    exclusion: &Exclusion,
) -> Result<(), StoreError> {
    sqlx::query("insert or replace into exclusion values (?1, ?2, ?3, ?4, ?5)")
        .bind(exclusion.protocol.as_str())
        .bind(exclusion.port.get())
        .bind(exclusion.reason.as_deref())
        .bind(exclusion.uid)
        .bind(exclusion.at.as_millisecond())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn remove(
    connection: &mut SqliteConnection,
    protocol: Protocol,
    port: Port,
) -> Result<(), StoreError> {
    sqlx::query("delete from exclusion where protocol = ?1 and port = ?2")
        .bind(protocol.as_str())
        .bind(port.get())
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

    /// Excludes a port; it is on the disk when this returns.
    pub async fn exclude(&self, exclusion: Exclusion) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        self.job(Job::Do(Chore::Exclude(exclusion, reply))).await?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    /// Includes a port again.
    pub async fn include(&self, protocol: Protocol, port: Port) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        self.job(Job::Do(Chore::Include(protocol, port, reply)))
            .await?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    async fn job(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)
    }
}
