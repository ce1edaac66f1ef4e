//! The one writer: takes what waits, commits it together, then answers everybody.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};

use super::count::{self, Counts};
use super::exclusion;
use super::history;
use super::lease::{self, StoredLease};
use super::prune::{self, Prune, Step};
use super::{AllocationRecord, StoreError, open};
use crate::domain::attempt::Attempt;
use crate::domain::exclusion::Exclusion;
use crate::domain::history::{Learned, Remembered};
use crate::domain::lease::Lease;
use crate::domain::port::{Port, Protocol};
use crate::telemetry::Stopwatch;
use crate::telemetry::metrics::StoreMetrics;

/// Rows to be written together. They are put into JSON by whoever asks, so that this work is
/// spread over the callers' threads.
#[derive(Debug)]
pub struct Batch {
    boot_id: Arc<str>,
    allocations: Vec<u8>,
    leases: Vec<u8>,
    attempts: Vec<u8>,
    durable: bool,
}

impl Batch {
    pub(super) const fn new(boot_id: Arc<str>) -> Self {
        Self {
            boot_id,
            allocations: Vec::new(),
            leases: Vec::new(),
            attempts: Vec::new(),
            durable: false,
        }
    }

    /// Adds an allocation.
    #[must_use]
    pub fn allocation(mut self, record: &AllocationRecord) -> Self {
        push(&mut self.allocations, &super::allocation::row(record));
        self
    }

    /// Adds a lease, or its changed form. A named lease must outlive a power cut.
    #[must_use]
    pub fn lease(mut self, lease: &Lease) -> Self {
        self.durable |= lease.name.is_some();
        let boot_id = Arc::clone(&self.boot_id);
        push(&mut self.leases, &super::lease::row(lease, &boot_id));
        self
    }

    /// Adds the attempts of one allocation.
    #[must_use]
    pub fn attempts(mut self, allocation: &AllocationRecord, attempts: &[Attempt]) -> Self {
        for attempt in attempts {
            let row = super::attempt::row(allocation, attempt);
            push(&mut self.attempts, &row);
        }
        self
    }

    fn absorb(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.allocations, &other.allocations),
            (&mut self.leases, &other.leases),
            (&mut self.attempts, &other.attempts),
        ] {
            if !mine.is_empty() && !theirs.is_empty() {
                mine.push(b',');
            }
            mine.extend_from_slice(theirs);
        }
        self.durable |= other.durable;
    }
}

fn push(rows: &mut Vec<u8>, row: &impl serde::Serialize) {
    if !rows.is_empty() {
        rows.push(b',');
    }
    // Plain values into memory: neither can fail.
    if let Err(error) = serde_json::to_writer(&mut *rows, row) {
        tracing::error!(%error, "a row could not be written down");
    }
}

fn array(rows: &[u8]) -> String {
    format!("[{}]", String::from_utf8_lossy(rows))
}

/// What became of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    /// How many requests the commit carried.
    pub batch_size: usize,
    /// How long this one waited until the commit began.
    pub queue_wait: Duration,
}

/// What the writer is asked to do.
pub(super) enum Job {
    /// Commit this.
    Write(Write),
    /// Read this.
    Ask(Question),
    /// Write this after whoever waits, in a transaction of its own.
    Do(Chore),
    /// Take nothing new, finish what waits, and end.
    Close,
}

/// What is read at a start. No other connection is open yet then, and to open one costs a command
/// that ends soon more than the question.
pub(super) enum Question {
    /// The leases that have not ended.
    Living(oneshot::Sender<Result<Vec<StoredLease>, StoreError>>),
    /// The ports that were excluded by hand.
    Excluded(oneshot::Sender<Result<Vec<Exclusion>, StoreError>>),
    /// What was learned.
    Remembered(oneshot::Sender<Result<Remembered, StoreError>>),
}

/// What can wait for a moment, and be done again if it is lost.
pub(super) enum Chore {
    /// Add these sums to the totals.
    Count(Counts, oneshot::Sender<Result<(), StoreError>>),
    /// Delete a few old rows.
    Prune(Prune, oneshot::Sender<Result<Step, StoreError>>),
    /// Write what was learned.
    Learn(Box<Learned>, oneshot::Sender<Result<(), StoreError>>),
    /// Exclude ports.
    Exclude(Vec<Exclusion>, oneshot::Sender<Result<(), StoreError>>),
    /// Include ports again.
    Include(
        Vec<(Protocol, Port)>,
        oneshot::Sender<Result<(), StoreError>>,
    ),
}

impl Chore {
    /// Whether somebody relies on it once it is answered.
    const fn is_durable(&self) -> bool {
        matches!(self, Self::Exclude(..) | Self::Include(..))
    }
}

pub(super) struct Write {
    pub(super) batch: Batch,
    pub(super) reply: oneshot::Sender<Result<Committed, StoreError>>,
    /// Runs since it was sent.
    pub(super) waiting: Stopwatch,
}

impl Write {
    fn answer(self, result: Result<(), StoreError>, batch_size: usize, queue_wait: Duration) {
        let committed = Committed {
            batch_size,
            queue_wait,
        };
        // Whoever asked may have gone.
        drop(self.reply.send(result.map(|()| committed)));
    }
}

/// Runs until it is told to close or every handle is dropped, and everything is written.
pub(super) async fn run(
    mut connection: SqliteConnection,
    mut queue: mpsc::Receiver<Job>,
    batch_max: usize,
    metrics: StoreMetrics,
    checkpoints: Option<(SqliteConnection, Duration)>,
) {
    let checkpointer = checkpoints.map(|(connection, every)| {
        let (stop, stopped) = oneshot::channel();
        (
            stop,
            tokio::spawn(keep_log_short(connection, every, stopped)),
        )
    });
    let mut durable = false;
    let mut jobs = Vec::with_capacity(batch_max);
    let mut writes = Vec::with_capacity(batch_max);
    let mut chores = Vec::new();
    while queue.recv_many(&mut jobs, batch_max.max(1)).await > 0 {
        for job in jobs.drain(..) {
            match job {
                Job::Write(write) => writes.push(write),
                Job::Ask(question) => answer(&mut connection, question).await,
                Job::Do(chore) => chores.push(chore),
                Job::Close => queue.close(),
            }
        }
        if !writes.is_empty() {
            write_all(&mut connection, &mut writes, &mut durable, &metrics).await;
        }
        // After whoever waits, and a small step each.
        for chore in chores.drain(..) {
            do_chore(&mut connection, chore, &mut durable).await;
        }
    }
    if let Some((stop, task)) = checkpointer {
        drop(stop);
        drop(task.await);
    }
    open::close(connection).await;
}

/// Commits all jobs at once. If that fails each is tried alone, so that one bad row harms only
/// the request that brought it.
async fn write_all(
    connection: &mut SqliteConnection,
    jobs: &mut Vec<Write>,
    durable: &mut bool,
    metrics: &StoreMetrics,
) {
    let batch_size = jobs.len();
    let mut whole = Batch::new(Arc::from(""));
    for job in jobs.iter() {
        whole.absorb(&job.batch);
    }
    let begun = Stopwatch::start();
    let result = write(connection, &whole, durable).await;
    let took = begun.elapsed();
    metrics.committed(took, batch_size);
    let alone = result.is_err() && batch_size > 1;
    for job in jobs.drain(..) {
        let queue_wait = job.waiting.elapsed().saturating_sub(took);
        metrics.waited(queue_wait);
        if alone {
            let result = write(connection, &job.batch, durable).await;
            job.answer(result, 1, queue_wait);
        } else {
            job.answer(result.clone(), batch_size, queue_wait);
        }
    }
}

async fn answer(connection: &mut SqliteConnection, question: Question) {
    match question {
        Question::Living(reply) => drop(reply.send(lease::living(connection).await)),
        Question::Excluded(reply) => drop(reply.send(exclusion::all(connection).await)),
        Question::Remembered(reply) => drop(reply.send(history::remember(connection).await)),
    }
}

/// What can be done again if it is lost is not waited for until it is on the disk; the rest is.
async fn do_chore(connection: &mut SqliteConnection, chore: Chore, durable: &mut bool) {
    if let Err(error) = set_durable(connection, chore.is_durable(), durable).await {
        tracing::warn!(%error, "a chore is written as what came before it");
    }
    match chore {
        Chore::Count(counts, reply) => drop(reply.send(count::add(connection, counts).await)),
        Chore::Prune(prune, reply) => drop(reply.send(prune::step(connection, prune).await)),
        Chore::Learn(learned, reply) => {
            drop(reply.send(history::write(connection, &learned).await));
        }
        Chore::Exclude(excluded, reply) => {
            drop(reply.send(exclusion::add(connection, &excluded).await));
        }
        Chore::Include(ports, reply) => {
            drop(reply.send(exclusion::remove(connection, &ports).await));
        }
    }
}

async fn set_durable(
    connection: &mut SqliteConnection,
    wanted: bool,
    durable: &mut bool,
) -> Result<(), StoreError> {
    if wanted != *durable {
        // Allowed between transactions only, which is where this is.
        let pragma = if wanted {
            "pragma synchronous = full"
        } else {
            "pragma synchronous = normal"
        };
        sqlx::query(pragma).execute(connection).await?;
        *durable = wanted;
    }
    Ok(())
}

async fn write(
    connection: &mut SqliteConnection,
    batch: &Batch,
    durable: &mut bool,
) -> Result<(), StoreError> {
    set_durable(connection, batch.durable, durable).await?;
    let written = sqlx::query("insert into batch values (?1, ?2, ?3)")
        .bind(array(&batch.allocations))
        .bind(array(&batch.leases))
        .bind(array(&batch.attempts))
        .execute(connection)
        .await;
    if let Err(error) = written {
        tracing::error!(%error, "a commit failed");
        return Err(error.into());
    }
    Ok(())
}

/// Copies the log into the file from time to time, beside the writer and never in its way.
async fn keep_log_short(
    mut connection: SqliteConnection,
    every: Duration,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if let Err(error) = open::checkpoint(&mut connection).await {
                    tracing::warn!(%error, "a checkpoint failed");
                }
            }
            _ = &mut stopped => break,
        }
    }
    open::close(connection).await;
}
