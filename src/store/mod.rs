//! The record on disk: one SQLite file, one writer, a few readers. No rule lives here; rows come out
//! as they went in.

mod allocation;
mod attempt;
mod batch;
mod checkpoint;
mod column;
mod condition;
mod count;
pub mod directory;
mod error;
mod exclusion;
mod export;
mod filter;
mod hours;
mod late;
mod learned;
mod lease;
mod old;
mod open;
mod past;
mod prune;
mod reader;
mod remembered;
mod removable;
mod rows;
mod stats;
mod summary;
#[cfg(test)]
mod tests;
mod writer;

pub use allocation::AllocationRecord;
pub use attempt::AttemptRecord;
pub use batch::Batch;
pub use error::StoreError;
pub use export::{ExportFilter, ExportRow, ExportTable};
pub use filter::AttemptFilter;
pub use hours::{AllocationTotal, HourTotal};
#[cfg(test)]
pub use late::LateConflict;
pub use late::{LateRecord, LateTotal};
pub use lease::{LeaseFilter, StoredLease};
pub use past::Seen;
pub use prune::Cursor;
pub use reader::Reader;
pub use removable::{Bounds, Kind, Removed};
pub use stats::{AttemptTotal, LeaseTotal, OccupantTotal, Outcomes, StatsFilter};
pub use summary::{InTheWay, SUMMED, Times};
pub use writer::Committed;

use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use tokio::sync::mpsc;

use self::checkpoint::Checkpoints;
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

/// Options of [`Store::open`].
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The kernel's id of this boot; deadlines and owners of another boot mean nothing.
    pub boot_id: String,
    /// This host's id: the record of another host is refused. `None` if the host has no id.
    pub machine_id: Option<String>,
    /// Maximum number of requests in one commit.
    pub batch_max: usize,
    /// Interval at which the write-ahead log is copied into the file. `None` for commands that open the
    /// store for a moment: some of their commits do it.
    pub checkpoint_interval: Option<Duration>,
}

impl Store {
    /// Opens or makes the record in `file` and starts its writer on the current runtime.
    ///
    /// The writer ends when the last handle is dropped; await the task to know that all is written.
    pub async fn open(
        file: &Path,
        options: StoreOptions,
    ) -> Result<(Self, tokio::task::JoinHandle<()>), StoreError> {
        let timer = options.checkpoint_interval.is_some();
        let (connection, readers) = open::open(file, options.machine_id.as_deref(), timer).await?;
        let (jobs, queue) = mpsc::channel(options.batch_max.max(1) * 4);
        let checkpoints = match options.checkpoint_interval {
            Some(interval) => Some(Checkpoints::start(file, interval).await?),
            None => None,
        };
        let metrics = StoreMetrics::default();
        let writer = writer::run(
            connection,
            queue,
            options.batch_max,
            metrics.clone(),
            checkpoints,
        );
        let task = tokio::spawn(writer);
        let store = Self {
            jobs,
            readers,
            boot_id: options.boot_id.into(),
            metrics,
            file: file.into(),
        };
        Ok((store, task))
    }

    /// Returns an empty batch, which notes this boot's id in its leases.
    pub fn batch(&self) -> Batch {
        Batch::new(std::sync::Arc::clone(&self.boot_id))
    }

    /// Id of the boot in which this store was opened.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Measurements of the writer.
    pub const fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    /// Number of requests that wait for the writer.
    pub fn queue_depth(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Size of the record in bytes, with its write-ahead log.
    pub fn size_bytes(&self) -> u64 {
        let mut log = self.file.as_os_str().to_owned();
        log.push("-wal");
        let size = |file: &Path| std::fs::metadata(file).map_or(0, |data| data.len());
        size(&self.file) + size(Path::new(&log))
    }

    /// Writes a batch and returns once it is committed: to the disk itself if the batch asks for it,
    /// otherwise to the page cache, which a crash of the process does not touch.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let (reply, committed) = tokio::sync::oneshot::channel();
        let job = writer::Write {
            batch,
            reply,
            waiting: Stopwatch::start(),
        };
        self.send(writer::Job::Write(job)).await?;
        committed.await.map_err(|_| StoreError::Closed)?
    }

    /// Ends the writer once everything that waits is written. Later commits are refused; await the task
    /// that [`Store::open`] returned to know that it is done.
    pub async fn close(&self) {
        // Readers first: the last connection to close copies the log into the file.
        self.readers.close().await;
        // Refused only if the writer has ended already.
        let _ = self.send(writer::Job::Close).await;
    }
}
