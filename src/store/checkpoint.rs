//! Checkpoints: SQLite's write-ahead log copied into the file, on a connection of their own, so that
//! no commit waits for one.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::{StoreError, open};

/// Length from which the log starts over at the next checkpoint, in pages (64 MB).
const LONG_LOG_PAGES: i64 = 16 * 1024;

/// Task that makes checkpoints.
pub(super) struct Checkpoints {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Checkpoints {
    /// Starts a task that makes a checkpoint at each interval.
    pub(super) async fn start(file: &Path, every: Duration) -> Result<Self, StoreError> {
        let connection = open::checkpointer(file).await?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(connection, every, stopped));
        Ok(Self { stop, task })
    }

    /// Ends the task and waits until its connection is closed.
    pub(super) async fn stop(self) {
        drop(self.stop);
        drop(self.task.await);
    }
}

async fn run(
    mut connection: SqliteConnection,
    every: Duration,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if let Err(error) = checkpoint(&mut connection).await {
                    tracing::warn!(%error, "could not make a checkpoint; trying again at the next interval");
                }
            }
            _ = &mut stopped => break,
        }
    }
    open::close(connection).await;
}

/// Copies the log into the file without making commits wait. Under steady load the log never starts
/// over by itself; once it is long, commits are held up for the moment that this takes.
async fn checkpoint(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    // Whether it was blocked, pages in the log, pages of them copied.
    let (_, pages, _): (i64, i64, i64) = sqlx::query_as("pragma wal_checkpoint(passive)")
        .fetch_one(&mut *connection)
        .await?;
    if pages > LONG_LOG_PAGES {
        sqlx::query("pragma wal_checkpoint(restart)")
            .execute(connection)
            .await?;
    }
    Ok(())
}
