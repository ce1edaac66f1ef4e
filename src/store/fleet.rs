//! The tables `fleet_session` and `fleet_name`: this host in its fleet.

use serde_json::json;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row};

use super::{Store, StoreError};

/// Session of this host on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetRecord {
    /// Id of this data directory in the fleet.
    pub instance: String,
    /// Last session. `None` if it was ended.
    pub session: Option<String>,
    /// The engine's number of that session.
    pub engine_session: Option<u64>,
    /// Boot in which it began.
    pub boot: String,
    /// Highest revision that the engine has told.
    pub revision: u64,
}

impl FromRow<'_, SqliteRow> for FleetRecord {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let number: Option<i64> = row.try_get("engine_session")?;
        let revision: i64 = row.try_get("revision")?;
        Ok(Self {
            instance: row.try_get("instance")?,
            session: row.try_get("session")?,
            // The bits are kept: the engine's numbers are its own affair.
            engine_session: number.map(i64::cast_unsigned),
            boot: row.try_get("boot")?,
            revision: revision.unsigned_abs(),
        })
    }
}

async fn session(connection: &mut SqliteConnection) -> Result<Option<FleetRecord>, StoreError> {
    let found = sqlx::query_as("select * from fleet_session");
    Ok(found.fetch_optional(connection).await?)
}

async fn set_session(
    connection: &mut SqliteConnection,
    record: FleetRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert or replace into fleet_session (only, instance, session, engine_session, boot, revision) \
         values (1, ?1, ?2, ?3, ?4, ?5)",
    )
    .bind(record.instance)
    .bind(record.session)
    .bind(record.engine_session.map(u64::cast_signed))
    .bind(record.boot)
    .bind(record.revision.cast_signed())
    .execute(connection)
    .await?;
    Ok(())
}

async fn names(connection: &mut SqliteConnection) -> Result<Vec<String>, StoreError> {
    let keys = sqlx::query_scalar("select key from fleet_name order by key");
    Ok(keys.fetch_all(connection).await?)
}

async fn add_names(connection: &mut SqliteConnection, keys: Vec<String>) -> Result<(), StoreError> {
    sqlx::query("insert or ignore into fleet_name (key) select value from json_each(?1)")
        .bind(json!(keys).to_string())
        .execute(connection)
        .await?;
    Ok(())
}

async fn remove_names(
    connection: &mut SqliteConnection,
    keys: Vec<String>,
) -> Result<(), StoreError> {
    sqlx::query("delete from fleet_name where key in (select value from json_each(?1))")
        .bind(json!(keys).to_string())
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// Returns the session on record. `None` if this host was never in a fleet.
    pub async fn fleet_session(&self) -> Result<Option<FleetRecord>, StoreError> {
        self.ask(|connection| Box::pin(session(connection))).await
    }

    /// Notes the session; it is on the disk when this returns.
    pub async fn set_fleet_session(&self, record: FleetRecord) -> Result<(), StoreError> {
        self.chore(true, |connection| Box::pin(set_session(connection, record)))
            .await
    }

    /// Returns the keys of names that the engine may have from this host.
    pub async fn fleet_names(&self) -> Result<Vec<String>, StoreError> {
        self.ask(|connection| Box::pin(names(connection))).await
    }

    /// Notes keys before they are sent.
    pub async fn add_fleet_names(&self, keys: Vec<String>) -> Result<(), StoreError> {
        self.chore(false, |connection| Box::pin(add_names(connection, keys)))
            .await
    }

    /// Forgets keys that were deleted.
    pub async fn remove_fleet_names(&self, keys: Vec<String>) -> Result<(), StoreError> {
        self.chore(false, |connection| Box::pin(remove_names(connection, keys)))
            .await
    }
}
