//! A second reader of the SQLite file: what it sees is committed.

use std::cell::RefCell;
use std::path::Path;

use anyhow::Result;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::Runtime;

/// The file, and a connection of its own to it.
pub struct Record {
    runtime: Runtime,
    connection: RefCell<SqliteConnection>,
}

impl Record {
    /// Opens a record that a service has made.
    pub fn open(file: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let options = SqliteConnectOptions::new().filename(file);
        let connection = RefCell::new(runtime.block_on(options.connect())?);
        Ok(Self {
            runtime,
            connection,
        })
    }

    /// Whether a lease is on record.
    pub fn has_lease(&self, id: &str) -> Result<bool> {
        let query =
            sqlx::query_scalar("select exists (select 1 from lease where id = unhex(?1, '-'))");
        let mut connection = self.connection.borrow_mut();
        let found = query.bind(id).fetch_one(&mut *connection);
        Ok(self.runtime.block_on(found)?)
    }

    /// Number of granted leases, and number of ended ones among them.
    pub fn counts(&self) -> Result<(u64, u64)> {
        let query =
            sqlx::query_as("select count(*), count(ended_at_ms) from lease where name is null");
        let mut connection = self.connection.borrow_mut();
        let counts: (i64, i64) = self.runtime.block_on(query.fetch_one(&mut *connection))?;
        Ok((counts.0.unsigned_abs(), counts.1.unsigned_abs()))
    }

    /// Adds this number of attempts in the last twenty days, as the service would have made it.
    pub fn add_history(&self, attempts: u32) -> Result<()> {
        let now = std::time::UNIX_EPOCH.elapsed()?.as_millis();
        let mut connection = self.connection.borrow_mut();
        let past = sqlx::query(include_str!("history.sql"))
            .bind(attempts)
            .bind(i64::try_from(now)?);
        self.runtime.block_on(past.execute(&mut *connection))?;
        Ok(())
    }

    /// Number of attempts on record.
    pub fn attempts(&self) -> Result<u64> {
        let query = sqlx::query_scalar("select count(*) from attempt");
        let mut connection = self.connection.borrow_mut();
        let count: i64 = self.runtime.block_on(query.fetch_one(&mut *connection))?;
        Ok(count.unsigned_abs())
    }

    /// Closes the connection in an orderly way.
    pub fn close(self) -> Result<()> {
        Ok(self
            .runtime
            .block_on(self.connection.into_inner().close())?)
    }
}
