//! Opening the file: pragmas, migrations, and the refusals that protect it.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use super::StoreError;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Longest wait for another process that writes at the same moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// SQLite's codes for a damaged file (11) and for a file that is no database (26).
const CORRUPT_CODES: [&str; 2] = ["11", "26"];

/// Length of the log at which a commit copies it into the file itself, in pages, if no timer does. Each
/// command reads the log that it finds, so it is kept short.
const PAGES_OF_LOG: &str = "100";

/// Opens the file, brings its schema to this version, and returns the writer's connection and the
/// readers. `timer`: whether checkpoints come from a timer.
pub(super) async fn open(
    file: &Path,
    machine_id: Option<&str>,
    timer: bool,
) -> Result<(SqliteConnection, SqlitePool), StoreError> {
    let pages_of_log = if timer { "0" } else { PAGES_OF_LOG };
    let mut writer = connect(file, pages_of_log)
        .await
        .map_err(|error| named(file, error))?;
    migrate(&mut writer, file).await?;
    check_host(&mut writer, file, machine_id).await?;
    for views in [include_str!("batch.sql"), include_str!("count.sql")] {
        sqlx::raw_sql(views).execute(&mut writer).await?;
    }
    Ok((writer, readers(file)))
}

/// Returns connections that only read, opened when they are first needed.
pub(super) fn readers(file: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(2)
        .min_connections(0)
        .connect_lazy_with(options(file).read_only(true))
}

/// Opens a second connection, for checkpoints.
pub(super) async fn checkpointer(file: &Path) -> Result<SqliteConnection, StoreError> {
    Ok(connect(file, "0").await?)
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false)
        .disable_statement_logging()
}

/// Opens the file for writing. In a service `pages_of_log` is 0: a timer makes its checkpoints.
async fn connect(file: &Path, pages_of_log: &'static str) -> Result<SqliteConnection, sqlx::Error> {
    options(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .pragma("wal_autocheckpoint", pages_of_log)
        .connect()
        .await
}

async fn migrate(connection: &mut SqliteConnection, file: &Path) -> Result<(), StoreError> {
    let known = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
    let found = schema_version(connection).await;
    match found {
        Some(found) if found == known => return Ok(()),
        Some(found) if found > known => {
            let file = file.to_owned();
            return Err(StoreError::Newer { file, found, known });
        }
        Some(_) => {}
        None => check_new(connection, file).await?,
    }
    MIGRATIONS
        .run(connection)
        .await
        .map_err(|error| match error {
            MigrateError::Execute(error) => named(file, error),
            other => named(file, sqlx::Error::Migrate(Box::new(other))),
        })
}

/// Refuses the database of another program.
async fn check_new(connection: &mut SqliteConnection, file: &Path) -> Result<(), StoreError> {
    let tables: i64 = sqlx::query_scalar(
        "select count(*) from sqlite_schema where name not like '\\_sqlx\\_%' escape '\\'",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| named(file, error))?;
    if tables == 0 {
        return Ok(());
    }
    Err(StoreError::Foreign {
        file: file.to_owned(),
    })
}

/// Version of the newest migration applied. `None` if the file is new.
async fn schema_version(connection: &mut SqliteConnection) -> Option<i64> {
    sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
        .fetch_one(connection)
        .await
        .ok()
        .flatten()
}

async fn check_host(
    connection: &mut SqliteConnection,
    file: &Path,
    machine_id: Option<&str>,
) -> Result<(), StoreError> {
    let row: Option<(Option<String>,)> = sqlx::query_as("select machine_id from host")
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| named(file, error))?;
    match (row, machine_id) {
        (Some((Some(found),)), Some(mine)) if found != mine => Err(StoreError::OtherHost {
            file: file.to_owned(),
            found,
        }),
        (None, _) => {
            sqlx::query("insert into host (only, machine_id) values (1, ?1)")
                .bind(machine_id)
                .execute(&mut *connection)
                .await
                .map_err(|error| named(file, error))?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// An error of SQLite with the file's name, and with the way out if the file itself is bad.
fn named(file: &Path, error: sqlx::Error) -> StoreError {
    let damaged = match &error {
        sqlx::Error::Database(inner) => inner
            .code()
            .is_some_and(|code| CORRUPT_CODES.contains(&&*code)),
        // Another program made the schema.
        sqlx::Error::Migrate(_) => true,
        _ => false,
    };
    if damaged {
        return StoreError::Corrupt {
            file: file.to_owned(),
            source: error.into(),
        };
    }
    StoreError::directory(file, std::io::Error::other(error))
}

/// Closes a connection in order; the last one to close copies the log into the file.
pub(super) async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "could not close the record in order; its log stays beside it");
    }
}
