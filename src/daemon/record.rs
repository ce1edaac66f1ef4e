//! The record's folder and files: watched, locked, and made anew if they are lost.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::service::Service;
use crate::host::deletion;
use crate::store::StoreError;
use crate::store::directory::{DataDirectory, Lock};

/// Interval of looks. Most faults have an event; a file that is cut has none.
const ROUND: Duration = Duration::from_secs(1);

/// Lock of the data directory, until it is dropped at the end of the service.
#[derive(Debug, Clone)]
pub(super) struct SharedLock(Arc<Mutex<Lock>>);

impl SharedLock {
    pub(super) fn new(lock: Lock) -> Self {
        Self(Arc::new(Mutex::new(lock)))
    }

    /// Copies of its descriptors, for a successor.
    pub(super) fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        Ok(self.with(|lock| lock.copies())?.into_iter().collect())
    }

    /// Writes into the lock that this process is the service.
    pub(super) fn sign(&self, socket: &Path) {
        let signed = self.with(|lock| lock.sign(socket));
        if let Err(error) = signed {
            tracing::warn!(%error, "could not sign the lock of the data directory, as on a full disk; commands find the service by its socket alone");
        }
    }

    /// Writes into the lock that this service ends, since other processes wait for the record.
    pub(super) fn mark_ending(&self) {
        let marked = self.with(|lock| lock.mark_ending());
        if let Err(error) = marked {
            tracing::debug!(%error, "could not mark the lock of a service that ends");
        }
    }

    fn with<R>(&self, act: impl FnOnce(&mut Lock) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A record that is kept while its service runs.
pub(super) struct Record {
    pub(super) service: Service,
    pub(super) directory: DataDirectory,
    pub(super) lock: SharedLock,
    /// API socket, which other processes find in the lock.
    pub(super) socket: PathBuf,
}

impl Record {
    /// Looks at folder and files for as long as it is polled.
    pub(super) async fn keep(self) {
        let store = self.service.store().clone();
        loop {
            // Before the look, so that no change falls between the two.
            let watch = deletion::watch(self.directory.path());
            match self.follow() {
                Ok(()) => self.service.mend_record().await,
                Err(error) => store.note_lost(&error),
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                () = deletion::changed(watch) => {}
                () = store.faulted() => {}
            }
        }
    }

    /// Locks the folder that is at the path now.
    fn follow(&self) -> Result<(), StoreError> {
        self.lock
            .with(|lock| lock.follow(&self.directory, &self.socket))
    }
}
