//! Read-only access: for questions that make no write wait.

use std::path::Path;

use sqlx::SqlitePool;

use super::open::{self, Access};
use super::{Store, StoreError};

/// A view of the record that cannot change it. Several processes may have one beside a service; those see what the tables have.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) pool: SqlitePool,
}

impl Reader {
    /// Opens a record that exists and is of this version.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        let pool = open::readers(file, Access::Shared, None);
        // Connections open at the first query, so one is made here.
        sqlx::query("select 1 from counted")
            .fetch_one(&pool)
            .await?;
        Ok(Self { pool })
    }

    /// Returns the `seq` of the latest attempt on record; 0 if there is none.
    pub async fn last_attempt(&self) -> Result<i64, StoreError> {
        let last = sqlx::query_scalar("select ifnull(max(seq), 0) from attempt_row");
        Ok(last.fetch_one(&self.pool).await?)
    }
}

impl Store {
    /// Returns a reader of this record.
    pub fn reader(&self) -> Reader {
        Reader {
            pool: self.readers(),
        }
    }
}
