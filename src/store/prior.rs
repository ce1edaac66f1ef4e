//! The table `fleet_prior`: what hosts of the fleet know of their ports, as they wrote it.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, FromRow};

use super::{Store, StoreError};

/// Document of one host.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct PriorRecord {
    /// Name of the host.
    pub host: String,
    /// Document as the host wrote it.
    pub document: Vec<u8>,
    /// Time at which this host read it, or wrote it if it is its own, in milliseconds of Unix time.
    pub at_ms: i64,
}

async fn all(connection: &mut SqliteConnection) -> Result<Vec<PriorRecord>, StoreError> {
    let rows = sqlx::query_as("select host, document, at_ms from fleet_prior order by host");
    Ok(rows.fetch_all(connection).await?)
}

async fn put(connection: &mut SqliteConnection, record: PriorRecord) -> Result<(), StoreError> {
    sqlx::query("insert or replace into fleet_prior (host, document, at_ms) values (?1, ?2, ?3)")
        .bind(record.host)
        .bind(record.document)
        .bind(record.at_ms)
        .execute(connection)
        .await?;
    Ok(())
}

async fn remove(connection: &mut SqliteConnection, host: String) -> Result<(), StoreError> {
    sqlx::query("delete from fleet_prior where host = ?1")
        .bind(host)
        .execute(connection)
        .await?;
    Ok(())
}

/// Replaces the documents of all hosts but one.
async fn replace(
    connection: &mut SqliteConnection,
    own: String,
    records: Vec<PriorRecord>,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    sqlx::query("delete from fleet_prior where host <> ?1")
        .bind(own)
        .execute(&mut *transaction)
        .await?;
    for record in records {
        put(&mut transaction, record).await?;
    }
    Ok(transaction.commit().await?)
}

impl Store {
    /// Returns the documents on record.
    pub async fn fleet_priors(&self) -> Result<Vec<PriorRecord>, StoreError> {
        self.ask(|connection| Box::pin(all(connection))).await
    }

    /// Notes what this host has told the others.
    pub async fn note_told_prior(&self, record: PriorRecord) -> Result<(), StoreError> {
        self.chore(false, |connection| Box::pin(put(connection, record)))
            .await
    }

    /// Forgets what this host has told the others.
    pub async fn forget_told_prior(&self, own: String) -> Result<(), StoreError> {
        self.chore(false, |connection| Box::pin(remove(connection, own)))
            .await
    }

    /// Notes the documents of other hosts, in place of those on record.
    pub async fn set_fleet_priors(
        &self,
        own: String,
        records: Vec<PriorRecord>,
    ) -> Result<(), StoreError> {
        self.chore(false, |connection| {
            Box::pin(replace(connection, own, records))
        })
        .await
    }
}
