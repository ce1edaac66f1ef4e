//! The record on disk: one SQLite file, one writer, a few readers. No rule lives here; rows go
//! in as they are told and come out as they went in.

mod allocation;
mod attempt;
mod count;
mod day;
pub mod directory;
mod error;
mod exclusion;
mod filter;
mod history;
mod lease;
mod ledger;
mod open;
mod past;
mod prune;
mod reader;
mod stats;
mod summary;
#[cfg(test)]
mod tests;
mod writer;

pub use allocation::AllocationRecord;
pub use attempt::AttemptRecord;
pub use day::{DayFilter, DayKey, DayRecord};
pub use error::StoreError;
pub use filter::AttemptFilter;
pub use lease::{LeaseFilter, StoredLease};
pub use ledger::{ExportTable, LedgerFilter};
pub use past::Seen;
pub use prune::{Bounds, Cursor, Kind, Removed};
pub use reader::Reader;
#[cfg(test)]
pub use stats::LateConflict;
pub use stats::{
    AllocationTotal, AttemptTotal, HourTotal, LateRecord, LateTotal, LeaseTotal, OccupantTotal,
    Outcomes, StatsFilter,
};
pub use summary::{InTheWay, SUMMED, Times};
pub use writer::{Batch, Committed};

use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use tokio::sync::mpsc;

use crate::telemetry::Stopwatch;
use crate::telemetry::metrics::StoreMetrics;

/// A handle on the record. Clones share one writer and one pool of readers.
#[derive(Debug, Clone)]
pub struct Store {
    jobs: mpsc::Sender<writer::Job>,
    readers: SqlitePool,
    boot_id: std::sync::Arc<str>,
    metrics: StoreMetrics,
    file: std::sync::Arc<Path>,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The kernel's id of this boot; deadlines and owners of another boot mean nothing.
    pub boot_id: String,
    /// This host's id, where it has one: another host's record is refused.
    pub machine_id: Option<String>,
    /// How many requests one commit may carry.
    pub batch_max: usize,
    /// How often the write-ahead log is copied into the file. Absent for commands that open the
    /// store for a moment: their commits do it, now and then.
    pub checkpoint_interval: Option<Duration>,
}

impl Store {
    /// Opens or makes the record under `file` and starts its writer on the current runtime.
    ///
    /// The writer ends when the last handle is dropped; await the task to know that all is
    /// written.
    pub async fn open(
        file: &Path,
        options: StoreOptions,
    ) -> Result<(Self, tokio::task::JoinHandle<()>), StoreError> {
        let timer = options.checkpoint_interval.is_some();
        let (connection, readers) = open::open(file, options.machine_id.as_deref(), timer).await?;
        let (jobs, queue) = mpsc::channel(options.batch_max.max(1) * 4);
        let mut checkpoints = None;
        if let Some(interval) = options.checkpoint_interval {
            checkpoints = Some((open::checkpointer(file).await?, interval));
        }
        let metrics = StoreMetrics::default();
        let task = tokio::spawn(writer::run(
            connection,
            queue,
            options.batch_max,
            metrics.clone(),
            checkpoints,
        ));
        let store = Self {
            jobs,
            readers,
            boot_id: options.boot_id.into(),
            metrics,
            file: file.into(),
        };
        Ok((store, task))
    }

    /// An empty batch that notes this boot's id in its leases.
    pub fn batch(&self) -> Batch {
        Batch::new(std::sync::Arc::clone(&self.boot_id))
    }

    /// The boot that this store was opened in.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// What its writer measures.
    pub const fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    /// How many requests wait for the writer.
    pub fn queue_depth(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// The size of the record in bytes, its write-ahead log included.
    pub fn size_bytes(&self) -> u64 {
        let mut log = self.file.as_os_str().to_owned();
        log.push("-wal");
        let size = |file: &Path| std::fs::metadata(file).map_or(0, |data| data.len());
        size(&self.file) + size(Path::new(&log))
    }

    /// Writes a batch and returns once it is committed: to the disk itself if the batch asks for
    /// it, else to where a crash of the process cannot reach it.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let (reply, committed) = tokio::sync::oneshot::channel();
        let job = writer::Write {
            batch,
            reply,
            waiting: Stopwatch::start(),
        };
        self.jobs
            .send(writer::Job::Write(job))
            .await
            .map_err(|_| StoreError::Closed)?;
        committed.await.map_err(|_| StoreError::Closed)?
    }

    /// Ends the writer once everything that waits is written. Later commits are refused; await
    /// the task that [`Store::open`] gave to know that it is done.
    pub async fn close(&self) {
        // Readers first: the last connection to close folds the log into the file.
        self.readers.close().await;
        // Refused only if the writer has ended already.
        let _ = self.jobs.send(writer::Job::Close).await;
    }
}
