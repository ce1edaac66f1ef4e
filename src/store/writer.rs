//! The one writer: takes what waits, commits it together, then answers every request.
//!
//! It knows batches and the order of work. Questions and chores are closures over its connection,
//! which the files of their tables bring.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use super::batch::Batch;
use super::checkpoint::Checkpoints;
use super::{Store, StoreError, open};
use crate::telemetry::Stopwatch;
use crate::telemetry::metrics::StoreMetrics;

/// Commit that a batch was part of.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    /// Number of requests that the commit carried.
    pub batch_size: usize,
    /// Time from the request until the commit began.
    pub queue_wait: Duration,
}

/// Job of the writer.
pub(super) enum Job {
    /// Commits a batch together with the others that wait.
    Write(Write),
    /// Reads something at once.
    Ask(Work),
    /// Writes something after the batches that wait, in a transaction of its own.
    Do(Chore),
    /// Takes nothing new, finishes what waits, and ends.
    Close,
}

/// Future of a work on the writer's connection.
pub(super) type Working<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

type Work = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, ()> + Send>;

/// Work that can wait for a moment: a small step each.
pub(super) struct Chore {
    /// Whether it must reach the disk before it is answered. Otherwise it can be done again if it is
    /// lost.
    durable: bool,
    work: Work,
}

pub(super) struct Write {
    pub(super) batch: Batch,
    pub(super) reply: oneshot::Sender<Result<Committed, StoreError>>,
    /// Runs since the request was sent.
    pub(super) waiting: Stopwatch,
}

impl Write {
    fn answer(self, result: Result<(), StoreError>, batch_size: usize, queue_wait: Duration) {
        let committed = Committed {
            batch_size,
            queue_wait,
        };
        // The caller may have gone.
        drop(self.reply.send(result.map(|()| committed)));
    }
}

impl Store {
    /// Reads on the writer's connection, ahead of the batches that wait. For questions at a start: no
    /// other connection is open yet, and to open one costs a short command more than the question.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (work, answer) = answered(question);
        self.send(Job::Ask(work)).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Writes on the writer's connection, after the batches that wait.
    pub(super) async fn chore<T: Send + 'static>(
        &self,
        durable: bool,
        chore: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (work, answer) = answered(chore);
        self.send(Job::Do(Chore { durable, work })).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) async fn send(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)
    }
}

/// Work that sends its result, and the place to wait for it.
fn answered<T: Send + 'static>(
    work: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Working<'c, T> + Send + 'static,
) -> (Work, oneshot::Receiver<T>) {
    let (reply, answer) = oneshot::channel();
    let work: Work = Box::new(move |connection| {
        Box::pin(async move { drop(reply.send(work(connection).await)) })
    });
    (work, answer)
}

/// Writer's connection, and whether its commits wait for the disk (`pragma synchronous`).
struct Writer {
    connection: SqliteConnection,
    durable: bool,
    metrics: StoreMetrics,
}

/// Runs until it is told to close or every handle is dropped, and everything is written.
pub(super) async fn run(
    connection: SqliteConnection,
    mut queue: mpsc::Receiver<Job>,
    batch_max: usize,
    metrics: StoreMetrics,
    checkpoints: Option<Checkpoints>,
) {
    let mut writer = Writer {
        connection,
        durable: false,
        metrics,
    };
    let mut jobs = Vec::with_capacity(batch_max);
    let mut waiting = Vec::with_capacity(batch_max);
    let mut chores = Vec::new();
    while queue.recv_many(&mut jobs, batch_max.max(1)).await > 0 {
        for job in jobs.drain(..) {
            match job {
                Job::Write(write) => waiting.push(write),
                Job::Ask(question) => question(&mut writer.connection).await,
                Job::Do(chore) => chores.push(chore),
                Job::Close => queue.close(),
            }
        }
        if !waiting.is_empty() {
            writer.write_all(&mut waiting).await;
        }
        for chore in chores.drain(..) {
            writer.work(chore).await;
        }
    }
    if let Some(checkpoints) = checkpoints {
        checkpoints.stop().await;
    }
    open::close(writer.connection).await;
}

impl Writer {
    /// Commits all batches at once. If that fails each is tried alone, so that one bad row harms only
    /// the request that brought it.
    async fn write_all(&mut self, writes: &mut Vec<Write>) {
        let batch_size = writes.len();
        let mut whole = Batch::new(Arc::from(""));
        for write in writes.iter() {
            whole.absorb(&write.batch);
        }
        let begun = Stopwatch::start();
        let result = self.write(&whole).await;
        let took = begun.elapsed();
        self.metrics.committed(took, batch_size);
        let alone = result.is_err() && batch_size > 1;
        for write in writes.drain(..) {
            let queue_wait = write.waiting.elapsed().saturating_sub(took);
            self.metrics.waited(queue_wait);
            if alone {
                let result = self.write(&write.batch).await;
                write.answer(result, 1, queue_wait);
            } else {
                write.answer(result.clone(), batch_size, queue_wait);
            }
        }
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.set_durable(batch.is_durable()).await?;
        let written = batch.write(&mut self.connection).await;
        if let Err(error) = &written {
            tracing::error!(%error, "could not commit to the record; the requests are refused");
        }
        written
    }

    async fn work(&mut self, chore: Chore) {
        if let Err(error) = self.set_durable(chore.durable).await {
            tracing::warn!(%error, "could not switch synchronous mode; the job keeps the previous one");
        }
        (chore.work)(&mut self.connection).await;
    }

    async fn set_durable(&mut self, durable: bool) -> Result<(), StoreError> {
        if durable != self.durable {
            // Allowed between transactions only, as here.
            let pragma = if durable {
                "pragma synchronous = full"
            } else {
                "pragma synchronous = normal"
            };
            sqlx::query(pragma).execute(&mut self.connection).await?;
            self.durable = durable;
        }
        Ok(())
    }
}
