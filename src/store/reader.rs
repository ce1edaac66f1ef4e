//! Reading alone: for questions that must not wait for the writer, nor make it wait.

use std::path::Path;

use sqlx::SqlitePool;

use super::{Store, StoreError, open};

/// A view of the record that cannot change it. Several processes may have one, beside the one that
/// writes.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(super) pool: SqlitePool,
}

impl Reader {
    /// A view of a record that exists and is of this version.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        let pool = open::readers(file);
        // Nothing is opened before the first question, so one is asked here.
        sqlx::query("select 1 from counted")
            .fetch_one(&pool)
            .await?;
        Ok(Self { pool })
    }

    /// The `seq` of the latest attempt on record; 0 where there is none.
    pub async fn last_attempt(&self) -> Result<i64, StoreError> {
        let last = sqlx::query_scalar("select ifnull(max(seq), 0) from attempt");
        Ok(last.fetch_one(&self.pool).await?)
    }
}

impl Store {
    /// The record as a reader sees it.
    pub fn reader(&self) -> Reader {
        Reader {
            pool: self.readers.clone(),
        }
    }
}
