//! The ledger: entries that are committed and not in the tables yet.
//!
//! A commit is one append to a file, on the thread of its caller. A named lease also waits until the disk
//! has it; one caller syncs for all that wait. The filler ([`super::fill`]) brings the rows into the
//! tables soon after, many in one transaction, and notes there how far it came. A start reads the files
//! that a crash left and fills from them first. A clean stop leaves no files.

mod frame;
mod order;
mod pages;
mod segment;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::sync::{OwnedRwLockWriteGuard, RwLock, watch};

pub(super) use self::frame::{Frame, Frames, Numbered};
pub(super) use self::order::{Order, Progress, Write};
pub(super) use self::pages::{FILES, Pages, Unfilled};
pub(super) use self::segment::{Part, RecordId, has_frames, id_of};
use super::StoreError;

/// The writing end of the ledger, and the way to its filler.
#[derive(Debug)]
pub(super) struct Ledger {
    pages: Arc<Pages>,
    orders: Sender<Order>,
    progress: watch::Receiver<Progress>,
    /// One caller at a time syncs the files, for all that wait.
    syncing: tokio::sync::Mutex<()>,
    /// Shared by commits. Whoever has it alone keeps the record as it is.
    commits: Arc<RwLock<()>>,
    /// Number of entries at which the tables are filled at once.
    round: u64,
    /// Folder of the files.
    folder: PathBuf,
}

impl Ledger {
    pub(super) fn new(
        pages: Arc<Pages>,
        orders: Sender<Order>,
        progress: watch::Receiver<Progress>,
        round: u64,
        folder: PathBuf,
    ) -> Self {
        Self {
            pages,
            orders,
            progress,
            syncing: tokio::sync::Mutex::default(),
            commits: Arc::default(),
            round,
            folder,
        }
    }

    /// Returns the failure of the last round of filling. `None` if it worked.
    pub(super) fn last_failure(&self) -> Option<StoreError> {
        self.progress.borrow().error.clone()
    }

    /// Appends an entry. Returns the number of entries that reached the disk with it; 1 if it need not.
    pub(super) async fn append(&self, mut frame: Frame, durable: bool) -> Result<u64, StoreError> {
        let _commit = self.commits.read().await;
        if self.pages.is_full() {
            // While the tables cannot be filled, their thread tries each second.
            self.last_failure().map_or(Ok(()), Err)?;
            self.settled().await?;
        }
        let appended = self.pages.append(&mut frame, durable)?;
        match appended.unfilled {
            1 => self.order(Order::Notice),
            unfilled if unfilled.is_multiple_of(self.round) => self.order(Order::Fill),
            _ => {}
        }
        if durable {
            self.sync(appended.number).await
        } else {
            Ok(1)
        }
    }

    /// Waits for the commits under way, and has later ones wait until the guard is dropped.
    pub(super) async fn pause(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.commits).write_owned().await
    }

    /// Leaves the files to another process, which has the record: nothing is written or deleted any more.
    pub(super) fn abandon(&self) {
        self.pages.abandon();
    }

    /// Reads the files again, after another process wrote to the record. The tables have the entries up to
    /// number `filled`.
    pub(super) fn reread(&self, filled: u64) -> Result<(), StoreError> {
        self.pages.reread(&self.folder, filled)?;
        self.order(Order::Forget);
        self.order(Order::Fill);
        Ok(())
    }

    /// Waits until the disk has an entry.
    async fn sync(&self, number: u64) -> Result<u64, StoreError> {
        let _turn = self.syncing.lock().await;
        // The caller before may have synced this entry too.
        let Some(unsynced) = self.pages.unsynced(number) else {
            return Ok(1);
        };
        let files = unsynced.files.clone();
        let sync = move || files.iter().try_for_each(|file| file.sync_data());
        let synced = tokio::task::spawn_blocking(sync).await;
        let synced = synced.map_err(|_| StoreError::Closed)?;
        synced.map_err(|error| StoreError::ledger(&self.folder.join(FILES[0]), &error))?;
        self.pages.sync(&unsynced);
        Ok(unsynced.count)
    }

    /// Waits until the tables have every entry that is committed by now.
    pub(super) async fn settled(&self) -> Result<(), StoreError> {
        let wanted = self.pages.last();
        if self.pages.filled() >= wanted {
            return Ok(());
        }
        let mut progress = self.progress.clone();
        progress.mark_unchanged();
        self.order(Order::Fill);
        while self.pages.filled() < wanted {
            progress.changed().await.map_err(|_| StoreError::Closed)?;
            if let Some(error) = &progress.borrow_and_update().error {
                return Err(error.clone());
            }
        }
        Ok(())
    }

    /// Looks whether the files are those that were opened, and have all that was written.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        self.pages.look()
    }

    /// Returns the entries that the tables do not have. `None` if they have all.
    pub(super) fn unfilled(&self) -> Option<Unfilled> {
        self.pages.unfilled()
    }

    /// Number of bytes in its files.
    pub(super) fn len(&self) -> u64 {
        self.pages.len()
    }

    /// Tells the filler something. Ignored once it has ended: commits are refused by then.
    pub(super) fn order(&self, order: Order) {
        drop(self.orders.send(order));
    }
}
