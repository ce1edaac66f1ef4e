//! Opening the file: pragmas, migrations, and the refusals that protect it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use super::ledger::{Ledger, RecordId};
use super::{StoreError, convert, space};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Longest wait for another process that writes at the same moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// SQLite's codes for a damaged file (11) and for a file that is no database (26).
const CORRUPT_CODES: [&str; 2] = ["11", "26"];

/// Number of tables or views, of those that every version has, in a record.
const OWN: i64 = 3;

/// Length of SQLite's log at which a commit copies it into the file, in pages of 4 KB. A service does so
/// off the path of its requests.
const PAGES_OF_LOG: &str = "1000";

/// The same for a command: each command reads the log that it finds, so it is kept short.
const PAGES_OF_LOG_OF_A_COMMAND: &str = "100";

/// Length in bytes to which the log's file is cut when the log begins anew.
const LOG_BYTES: &str = "1048576";

/// A record that was opened and is of this version.
pub(super) struct Opened {
    /// Connection for chores.
    pub(super) chores: SqliteConnection,
    pub(super) id: RecordId,
    /// Number of the last entry of the ledger that the tables have.
    pub(super) filled: u64,
}

/// Way in which SQLite opens the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// With an index of its log in a file, which other processes may use too.
    Shared,
    /// With that index in memory: a full disk has no room for it.
    Alone,
}

impl Access {
    /// SQLite's name of the way. `None` is its default.
    const fn vfs(self) -> Option<&'static str> {
        match self {
            Self::Shared => None,
            Self::Alone => Some("unix-excl"),
        }
    }
}

/// Opens the file and brings its schema to this version. `serves`: not for a short command.
pub(super) async fn open(
    file: &Path,
    machine_id: Option<&str>,
    serves: bool,
    access: Access,
) -> Result<Opened, StoreError> {
    let mut chores = connect(file, access, pages_of_log(serves))
        .await
        .map_err(|error| named(file, error))?;
    let is_new = migrate(&mut chores, file).await?;
    // Before anything is written: the record of another host stays as it is.
    check_host(&mut chores, file, machine_id).await?;
    if serves || is_new {
        space::prepare(&mut chores, is_new).await;
    }
    let (id, filled): (Vec<u8>, i64) = sqlx::query_as("select id, filled from ledger")
        .fetch_one(&mut chores)
        .await?;
    Ok(Opened {
        chores,
        id: RecordId::try_from(id.as_slice())
            .map_err(|error| StoreError::unreadable("the id", error))?,
        filled: filled.unsigned_abs(),
    })
}

const fn pages_of_log(serves: bool) -> &'static str {
    if serves {
        PAGES_OF_LOG
    } else {
        PAGES_OF_LOG_OF_A_COMMAND
    }
}

/// Returns connections that only read, opened when they are first needed. With a ledger each query
/// first lets the tables take what is committed, so that it sees it.
pub(super) fn readers(file: &Path, access: Access, ledger: Option<Arc<Ledger>>) -> SqlitePool {
    let mut pool = SqlitePoolOptions::new()
        .max_connections(2)
        .min_connections(0);
    if let Some(ledger) = ledger {
        let again = Arc::clone(&ledger);
        pool = pool
            .after_connect(move |_, _| {
                let ledger = Arc::clone(&ledger);
                Box::pin(async move {
                    settle(&ledger).await;
                    Ok(())
                })
            })
            .before_acquire(move |_, _| {
                let ledger = Arc::clone(&again);
                Box::pin(async move {
                    settle(&ledger).await;
                    Ok(true)
                })
            });
    }
    pool.connect_lazy_with(options(file, access).read_only(true))
}

/// Lets the tables take what is committed. If they cannot, a query reads what they have: the failure is
/// in the log and in the health of the service.
async fn settle(ledger: &Ledger) {
    if let Err(error) = ledger.settled().await {
        // The filler tells of its failure once.
        tracing::debug!(%error, "could not fill the tables before a query; it may miss the latest rows");
    }
}

/// Opens a connection for a task of this process, beside the filler's.
pub(super) fn beside(file: &Path, access: Access) -> Result<rusqlite::Connection, StoreError> {
    // A file that was deleted meanwhile is made anew elsewhere.
    let flags = rusqlite::OpenFlags::default() & !rusqlite::OpenFlags::SQLITE_OPEN_CREATE;
    let connection = match access.vfs() {
        Some(vfs) => rusqlite::Connection::open_with_flags_and_vfs(file, flags, vfs)?,
        None => rusqlite::Connection::open_with_flags(file, flags)?,
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Opens the filler's connection to a file that is of this version.
pub(super) fn filler(
    file: &Path,
    access: Access,
    serves: bool,
) -> Result<rusqlite::Connection, StoreError> {
    let connection = beside(file, access)?;
    connection.pragma_update(None, "wal_autocheckpoint", pages_of_log(serves))?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    Ok(connection)
}

/// Copies the log into the file, and cuts the log's file if no reader needs it.
pub(super) fn checkpoint(connection: &rusqlite::Connection) -> Result<(), StoreError> {
    // Whether it was blocked, pages in the log, pages of them copied.
    let (pages, copied): (i64, i64) =
        connection.query_row("pragma wal_checkpoint(passive)", [], |row| {
            Ok((row.get(1)?, row.get(2)?))
        })?;
    if pages > 0 && pages == copied {
        // A reader would be waited for, and all writes would wait with it.
        connection.busy_timeout(Duration::ZERO)?;
        let cut = connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
        connection.busy_timeout(BUSY_TIMEOUT)?;
        cut?;
    }
    Ok(())
}

/// Closes the filler's connection; the last connection to close copies the log into the file.
pub(super) fn close_filler(connection: rusqlite::Connection) {
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "could not close the record in order; its log stays beside it");
    }
}

fn options(file: &Path, access: Access) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(false)
        .disable_statement_logging();
    match access.vfs() {
        Some(vfs) => options.vfs(vfs),
        None => options,
    }
}

/// Opens the file for writing.
async fn connect(
    file: &Path,
    access: Access,
    pages_of_log: &'static str,
) -> Result<SqliteConnection, sqlx::Error> {
    options(file, access)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .pragma("wal_autocheckpoint", pages_of_log)
        .pragma("journal_size_limit", LOG_BYTES)
        .connect()
        .await
}

/// Brings the schema to this version. Returns whether there was none.
async fn migrate(connection: &mut SqliteConnection, file: &Path) -> Result<bool, StoreError> {
    let known = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
    let found = schema_version(connection)
        .await
        .map_err(|error| named(file, error))?;
    match found {
        Some(found) if found == known => return Ok(false),
        Some(found) if found > known => {
            let file = file.to_owned();
            return Err(StoreError::Newer { file, found, known });
        }
        Some(_) => {}
        None => check_new(connection, file).await?,
    }
    run_migrations(connection)
        .await
        .map_err(|error| match error {
            MigrateError::Execute(error) => named(file, error),
            other => named(file, sqlx::Error::Migrate(Box::new(other))),
        })?;
    Ok(found.is_none())
}

async fn run_migrations(connection: &mut SqliteConnection) -> Result<(), MigrateError> {
    MIGRATIONS.run_to(convert::TABLES, &mut *connection).await?;
    convert::rows(connection).await?;
    MIGRATIONS.run(connection).await
}

/// Refuses the database of another program, and a record whose version was lost.
async fn check_new(connection: &mut SqliteConnection, file: &Path) -> Result<(), StoreError> {
    let (tables, own): (i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where name in ('allocation', 'attempt', 'lease')) \
         from sqlite_schema where name not like '\\_sqlx\\_%' escape '\\'",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| named(file, error))?;
    match (tables, own) {
        (0, _) => Ok(()),
        (_, OWN) => Err(StoreError::Corrupt {
            file: file.to_owned(),
            source: sqlx::Error::Protocol("its version cannot be read".to_owned()).into(),
        }),
        _ => Err(StoreError::Foreign {
            file: file.to_owned(),
        }),
    }
}

/// Version of the newest migration applied. `None` if the file is new.
async fn schema_version(connection: &mut SqliteConnection) -> sqlx::Result<Option<i64>> {
    let is_there: bool = sqlx::query_scalar(
        "select exists (select 1 from sqlite_schema where name = '_sqlx_migrations')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !is_there {
        return Ok(None);
    }
    sqlx::query_scalar("select max(version) from _sqlx_migrations where success")
        .fetch_one(connection)
        .await
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
    StoreError::from(error).at(file)
}

/// Closes a connection in order; the last one to close copies the log into the file.
pub(super) async fn close(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "could not close the record in order; its log stays beside it");
    }
}
