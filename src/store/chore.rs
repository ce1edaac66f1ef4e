//! Chores: work on the tables beside the filler's, such as counting, pruning and learned history.
//!
//! A chore is a closure over a connection of its own, which the file of its table brings. Filler and
//! chores write in turn, so that neither waits for SQLite's lock.

use std::pin::Pin;
use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;
use tokio::sync::Mutex;

use super::{Store, StoreError, open};

/// Future of a work on the connection for chores.
pub(super) type Working<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// Connection for chores, and the turn to write.
#[derive(Debug)]
pub(super) struct Chores {
    /// `None` once the store is closed.
    connection: Mutex<Option<SqliteConnection>>,
    turn: Arc<Mutex<()>>,
}

impl Chores {
    pub(super) fn new(connection: SqliteConnection, turn: Arc<Mutex<()>>) -> Self {
        Self {
            connection: Mutex::new(Some(connection)),
            turn,
        }
    }

    /// Waits for the chore at work, and refuses later ones.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            open::close(connection).await;
        }
    }

    /// Waits until neither filler nor chore is at work on the files, and keeps them from it.
    pub(super) async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    async fn work<T>(
        &self,
        durable: bool,
        chore: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.lock().await;
        let connection = connection.as_mut().ok_or(StoreError::Closed)?;
        let _turn = self.turn.lock().await;
        if durable {
            set_synchronous(connection, "pragma synchronous = full").await?;
        }
        let done = chore(connection).await;
        if durable {
            set_synchronous(connection, "pragma synchronous = normal").await?;
        }
        done
    }
}

async fn set_synchronous(
    connection: &mut SqliteConnection,
    pragma: &'static str,
) -> Result<(), StoreError> {
    sqlx::query(pragma).execute(connection).await?;
    Ok(())
}

impl Store {
    /// Reads on the connection for chores, what the tables have. For questions at a start: no other
    /// connection is open yet, and to open one costs a short command more than the question.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        self.work(false, question).await
    }

    /// Writes on the connection for chores, in its turn, after everything that is committed by now.
    /// `durable`: it must reach the disk before it is answered. A caller that goes away does not stop it.
    pub(super) async fn chore<T: Send + 'static>(
        &self,
        durable: bool,
        chore: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        self.ledger().settled().await?;
        self.work(durable, chore).await
    }

    /// Works on the connection for chores, in its turn, whatever of the commits the tables have by now.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        durable: bool,
        chore: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let chores = self.parts().chores;
        let task = tokio::spawn(async move { chores.work(durable, chore).await });
        let done = task.await.map_err(|_| StoreError::Closed)?;
        done.map_err(|error| error.at(&self.file))
    }
}
