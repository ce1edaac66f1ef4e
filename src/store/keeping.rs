//! Keeping the record whole while a service runs.
//!
//! A fault is noted by the commit or the round of filling that met it. It lasts until a commit went the
//! whole way, into the ledger and from there into the tables: an entry that is small enough to fit
//! beside a full disk proves nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::{Store, StoreError};

/// The reason why the record takes nothing new, if there is one.
#[derive(Debug, Default)]
pub(super) struct Fault {
    is_known: AtomicBool,
    reason: Mutex<Option<StoreError>>,
    /// Whether the files are no longer those of the record: nothing may be written into them.
    is_lost: AtomicBool,
    noted: Notify,
    /// One caller at a time tries whether it is gone.
    trying: tokio::sync::Mutex<()>,
}

impl Fault {
    fn reason(&self) -> Option<StoreError> {
        if !self.is_known.load(Ordering::Acquire) {
            return None;
        }
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.clone()
    }

    /// Puts another reason, and returns the one before.
    fn set(&self, reason: Option<StoreError>) -> Option<StoreError> {
        let mut current = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_known.store(reason.is_some(), Ordering::Release);
        std::mem::replace(&mut *current, reason)
    }
}

impl Store {
    /// Returns the reason why the record takes nothing new. `None` if none is known.
    pub(super) fn fault(&self) -> Option<StoreError> {
        let reason = self.fault.reason();
        reason.or_else(|| self.ledger().last_failure().filter(StoreError::lasts))
    }

    /// Notes a failed commit. The first is logged.
    pub fn note_fault(&self, error: &StoreError) {
        if error.lasts() && self.fault.set(Some(error.clone())).is_none() {
            tracing::error!(%error, "could not commit to the record; grants are refused, leases stay");
            self.fault.noted.notify_one();
        }
    }

    /// Notes that the files are no longer those of the record. The first is logged.
    pub fn note_lost(&self, error: &StoreError) {
        let was_lost = self.fault.is_lost.swap(true, Ordering::AcqRel);
        self.fault.set(Some(error.clone()));
        if !was_lost {
            tracing::error!(%error, "the files of the record are not as they were; grants are refused, leases stay");
        }
    }

    /// Whether nothing may be written into the files.
    pub fn is_lost(&self) -> bool {
        self.fault.is_lost.load(Ordering::Acquire)
    }

    /// Returns the reason why nothing may be written into the files. `None` if they are those of the record.
    pub(super) fn lost(&self) -> Option<StoreError> {
        self.is_lost()
            .then(|| self.fault.reason().unwrap_or(StoreError::Closed))
    }

    /// Allows writing into the files again.
    pub(super) fn note_found(&self) {
        self.fault.is_lost.store(false, Ordering::Release);
    }

    /// Whether the record had a fault at its last use, or lacks changes.
    pub fn is_troubled(&self) -> bool {
        self.fault().is_some() || self.owed() > 0
    }

    /// Returns once a fault is noted.
    pub async fn faulted(&self) {
        self.fault.noted.notified().await;
    }

    /// Commits an empty batch, and waits until the tables have it too: the whole way of a commit works.
    pub async fn check(&self) -> Result<(), StoreError> {
        if self.serves
            && let Err(error) = self.look().await
        {
            // The record may be made anew at once.
            self.note_fault(&error);
            self.fault.noted.notify_one();
            return Err(error);
        }
        self.write(self.batch()).await?;
        self.ledger().settled().await?;
        if self.fault.set(None).is_some() {
            tracing::info!("the record takes commits again");
        }
        Ok(())
    }

    /// Tries whether a fault is gone, unless another caller does.
    pub(super) async fn try_again(&self, fault: StoreError) -> Result<(), StoreError> {
        match self.fault.trying.try_lock() {
            Ok(_turn) => self.check().await,
            Err(_) => Err(fault),
        }
    }

    /// Number of leases whose last change is in memory alone.
    pub fn owed(&self) -> usize {
        self.debts.count()
    }
}
