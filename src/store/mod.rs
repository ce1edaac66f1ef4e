//! The record on disk: one SQLite file, and a ledger of what is committed and not in its tables yet. No
//! rule lives here; rows come out as they went in.

mod allocation;
mod attempt;
mod batch;
mod begin;
mod cause;
mod chore;
mod claim;
mod column;
mod commit;
mod condition;
mod convert;
mod count;
mod damage;
mod debt;
pub mod directory;
mod entry;
mod error;
mod exclusion;
mod explained;
mod export;
#[cfg(feature = "fleet")]
mod fence_table;
mod fill;
mod filter;
#[cfg(feature = "fleet")]
mod fleet;
mod hours;
mod keeping;
mod late;
mod learned;
mod lease;
mod ledger;
mod log;
mod lost;
mod old;
mod open;
mod overlay;
mod past;
mod pause;
#[cfg(feature = "fleet")]
mod prior;
mod probe;
mod prune;
mod reader;
mod remembered;
mod removable;
pub mod rescue;
mod rows;
mod salvage;
mod seal;
mod space;
mod stats;
mod summary;
#[cfg(test)]
mod tests;

pub use allocation::AllocationRecord;
pub use attempt::AttemptRecord;
pub use batch::Batch;
pub use error::StoreError;
pub use export::{ExportFilter, ExportRow, ExportTable};
#[cfg(feature = "fleet")]
pub use fence_table::FenceTable;
pub use filter::AttemptFilter;
#[cfg(feature = "fleet")]
pub use fleet::FleetRecord;
pub use hours::{AllocationTotal, HourTotal};
#[cfg(test)]
pub use late::LateConflict;
pub use late::{LateRecord, LateTotal};
pub use lease::{LeaseFilter, StoredLease};
pub use past::Seen;
pub use pause::Paused;
#[cfg(feature = "fleet")]
pub use prior::PriorRecord;
pub use prune::Cursor;
pub use reader::Reader;
pub use removable::{Bounds, Kind, Removed};
pub use stats::{AttemptTotal, LeaseTotal, OccupantTotal, Outcomes, StatsFilter};
pub use summary::{InTheWay, SUMMED, Times};

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::SqlitePool;
use tokio::sync::{Mutex, watch};

use self::chore::Chores;
use self::debt::Debts;
use self::fill::{Filler, Words};
use self::keeping::Fault;
use self::ledger::{Ledger, Order, Pages, Progress};
use self::lost::MainFile;
use self::open::Access;
use crate::telemetry::metrics::StoreMetrics;

/// A handle on the record. Clones share the ledger, the filler and a pool of readers.
#[derive(Debug, Clone)]
pub struct Store {
    /// Replaced if the files are lost and made anew.
    parts: Arc<RwLock<Parts>>,
    options: Arc<StoreOptions>,
    boot_id: Arc<str>,
    metrics: StoreMetrics,
    file: Arc<Path>,
    /// Whether commits go through the ledger. A command writes into the tables at once.
    serves: bool,
    under_way: Arc<AtomicUsize>,
    debts: Arc<Debts>,
    /// Damage of the tables, found by [`Store::look_for_damage`].
    damage: Arc<std::sync::OnceLock<String>>,
    fault: Arc<Fault>,
    /// Held while the files are mended, or left to another process.
    mending: Arc<Mutex<()>>,
}

/// What is open of the record.
#[derive(Debug, Clone)]
struct Parts {
    ledger: Arc<Ledger>,
    chores: Arc<Chores>,
    readers: SqlitePool,
    access: Access,
    /// The SQLite file that is open. `None` for a command, which does not look at it.
    main: Option<Arc<MainFile>>,
    /// Number of commits in the ledger that were damaged.
    damaged_commits: u64,
    /// Closed once the filler has ended.
    filling: watch::Receiver<()>,
}

/// Options of [`Store::open`].
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The kernel's id of this boot; deadlines and owners of another boot mean nothing.
    pub boot_id: String,
    /// This host's id: the record of another host is refused. `None` if the host has no id.
    pub machine_id: Option<String>,
    /// Number of commits at which the tables are filled; fewer wait for a second at most.
    pub batch_max: usize,
    /// Interval at which SQLite's write-ahead log is copied into the file while nothing is written. `None`
    /// for commands that open the store for a moment: they have no ledger either.
    pub checkpoint_interval: Option<Duration>,
}

impl Store {
    /// Opens or makes the record in `file` and starts its filler. Entries that a crash left in the
    /// ledger are in the tables when this returns; of a service whose disk is full they stay where they
    /// are.
    ///
    /// The filler ends when the last handle is dropped; await the task to know that all is written.
    pub async fn open(
        file: &Path,
        options: StoreOptions,
    ) -> Result<(Self, tokio::task::JoinHandle<()>), StoreError> {
        let serves = options.checkpoint_interval.is_some();
        let parts = Parts::open(file, &options, None).await?;
        let mut filling = parts.filling.clone();
        let store = Self {
            parts: Arc::new(RwLock::new(parts)),
            boot_id: options.boot_id.as_str().into(),
            options: Arc::new(options),
            metrics: StoreMetrics::default(),
            file: file.into(),
            serves,
            under_way: Arc::default(),
            debts: Arc::default(),
            damage: Arc::default(),
            fault: Arc::default(),
            mending: Arc::default(),
        };
        match store.ledger().settled().await {
            // To lose every hold is worse than to grant nothing new: the service starts with what it can
            // read, also from the ledger.
            Err(error) if serves && error.may_pass() => store.note_fault(&error),
            settled => settled?,
        }
        let task = tokio::spawn(async move { while filling.changed().await.is_ok() {} });
        Ok((store, task))
    }

    fn parts(&self) -> Parts {
        // No change of the parts can panic halfway.
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        parts.clone()
    }

    fn ledger(&self) -> Arc<Ledger> {
        let parts = self.parts.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&parts.ledger)
    }

    fn readers(&self) -> SqlitePool {
        self.parts().readers
    }

    /// Returns an empty batch, which notes this boot's id in its leases.
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.boot_id))
    }

    /// Id of the boot in which this store was opened.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Measurements of commits.
    pub const fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    /// Size of the record in bytes, with its ledger and SQLite's write-ahead log.
    pub fn size_bytes(&self) -> u64 {
        let mut log = self.file.as_os_str().to_owned();
        log.push("-wal");
        let size = |file: &Path| std::fs::metadata(file).map_or(0, |data| data.len());
        size(&self.file) + size(Path::new(&log)) + self.ledger().len()
    }

    /// Closes the record once everything that is committed is in the tables. Later commits are refused;
    /// await the task that [`Store::open`] returned to know that it is done.
    pub async fn close(&self) {
        if self.owed() > 0 {
            drop(self.check().await);
        }
        if self.owed() > 0 {
            let (leases, file) = (self.owed(), self.file.display());
            tracing::error!(leases, %file, "changes of leases are lost, as the record took none to the end; the next start finds these leases as they were");
        }
        self.parts().close().await;
    }
}

impl Parts {
    /// Opens the files of a record, and starts the filler.
    async fn open(
        file: &Path,
        options: &StoreOptions,
        before: Option<Arc<MainFile>>,
    ) -> Result<Self, StoreError> {
        let serves = options.checkpoint_interval.is_some();
        let (opened, access) = probe::opened(file, options, serves).await?;
        let main = serves.then(|| MainFile::open(file, before)).transpose()?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let pages = Arc::new(Pages::open(folder, opened.id, opened.filled)?);
        damage::tell_of_ledger(folder, pages.damaged());
        let damaged_commits = pages.damaged();
        let turn = Arc::new(Mutex::new(()));
        let (orders, queue) = std::sync::mpsc::channel();
        let (progress, rounds) = watch::channel(Progress::default());
        let filler = Filler {
            file: file.to_owned(),
            access,
            _main: main.clone(),
            pages: Arc::clone(&pages),
            turn: Arc::clone(&turn),
            progress,
            checkpoint_interval: options.checkpoint_interval,
            connection: None,
            words: Words::default(),
            has_failed: false,
        };
        let filling = start(filler, queue)?;
        let round = options.batch_max.max(1) as u64;
        let ledger = Ledger::new(pages, orders, rounds, round, folder.to_owned());
        let ledger = Arc::new(ledger);
        Ok(Self {
            readers: open::readers(file, access, Some(Arc::clone(&ledger))),
            chores: Arc::new(Chores::new(opened.chores, turn)),
            ledger,
            access,
            main,
            damaged_commits,
            filling,
        })
    }

    async fn close(&self) {
        // The filler's connection is the last to close: that copies the log into the file.
        self.readers.close().await;
        self.chores.close().await;
        self.ledger.order(Order::Close);
    }

    /// Waits until the filler has ended, after [`Self::close`].
    async fn ended(mut self) {
        while self.filling.changed().await.is_ok() {}
    }
}

/// Starts the filler's thread. The channel closes when it ends.
fn start(
    filler: Filler,
    queue: std::sync::mpsc::Receiver<Order>,
) -> Result<watch::Receiver<()>, StoreError> {
    let file = filler.file.clone();
    let (end, filling) = watch::channel(());
    let thread = std::thread::Builder::new().name("portbook-filler".into());
    let run = move || {
        filler.run(&queue);
        drop(end);
    };
    thread
        .spawn(run)
        .map_err(|error| StoreError::ledger(&file, &error))?;
    Ok(filling)
}
