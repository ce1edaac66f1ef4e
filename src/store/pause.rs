//! Pauses: times in which a service leaves its record to another process, and may take it back.

use std::sync::Arc;

use tokio::sync::{OwnedMutexGuard, OwnedRwLockWriteGuard};

use super::ledger::Ledger;
use super::{Store, StoreError};

/// A pause of a store. Until it is dropped nothing is written: commits and chores wait.
#[derive(Debug)]
pub struct Paused {
    ledger: Arc<Ledger>,
    _commits: OwnedRwLockWriteGuard<()>,
    _turn: OwnedMutexGuard<()>,
    _mending: OwnedMutexGuard<()>,
}

impl Paused {
    /// Lets the pause last until this process ends: the other process has the record.
    pub fn keep(self) {
        self.ledger.abandon();
        std::mem::forget(self);
    }
}

impl Store {
    /// Finishes the commits under way, brings all of them into the tables, and writes nothing more. An
    /// error if the record does not have everything.
    pub async fn pause(&self) -> Result<Paused, StoreError> {
        let mending = self.mending().await;
        let parts = self.parts();
        let commits = parts.ledger.pause().await;
        parts.ledger.settled().await?;
        if self.owed() > 0 {
            // What is in memory alone would be lost to the other process.
            return Err(self.fault().unwrap_or(StoreError::Closed));
        }
        Ok(Paused {
            _commits: commits,
            _turn: parts.chores.turn().await,
            ledger: parts.ledger,
            _mending: mending,
        })
    }

    /// Takes the record back after another process, which has ended, may have written to it. The pause is
    /// over even if that fails: later commits tell then.
    pub async fn resume(&self, paused: Paused) -> Result<(), StoreError> {
        let parts = self.parts();
        let filled: i64 = sqlx::query_scalar("select filled from ledger")
            .fetch_one(&parts.readers)
            .await?;
        parts.ledger.reread(filled.unsigned_abs())?;
        drop(paused);
        parts.ledger.settled().await
    }

    /// Waits until no process but this one may change the files, and none mends them.
    pub async fn mending(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.mending).lock_owned().await
    }
}
