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
