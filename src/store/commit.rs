//! Commits: a batch becomes an entry of the ledger, or, in a command, rows at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::batch::Batch;
use super::ledger::{Frame, Order, Write};
use super::{Store, StoreError};
use crate::domain::lease::Lease;
use crate::telemetry::Stopwatch;

/// Commit that a batch was part of.
#[derive(Debug, Clone, Copy)]
pub struct Committed {
    /// Number of requests that the commit carried.
    pub batch_size: usize,
    /// Time from the request until the commit began.
    pub queue_wait: Duration,
}

/// Counts a commit as under way until it is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Store {
    /// Number of commits under way.
    pub fn queue_depth(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Writes a batch and returns once it is committed: to the disk itself if the batch asks for it,
    /// otherwise to the page cache, which a crash of the process does not touch. Refused while the
    /// record is known to be unusable: the room that is left is for ends of leases.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        if let Some(fault) = self.fault() {
            self.try_again(fault).await?;
        }
        self.write(batch).await
    }

    /// Writes the changed form of a lease that is on record. A service goes on without the record:
    /// it keeps the form and writes it once the record takes commits again.
    pub async fn record(&self, lease: &Lease) -> Result<(), StoreError> {
        self.record_all(std::iter::once(lease)).await
    }

    /// Writes the changed forms of leases as [`Self::record`] does, in one commit.
    pub async fn record_all<'l>(
        &self,
        leases: impl Iterator<Item = &'l Lease> + Clone,
    ) -> Result<(), StoreError> {
        let batch = leases.clone().fold(self.batch(), Batch::lease);
        match self.write(batch).await {
            Err(error) if self.serves && (error.may_pass() || self.is_lost()) => {
                leases.for_each(|lease| self.debts.owe(lease));
                Ok(())
            }
            written => written.map(drop),
        }
    }

    /// Writes a batch, and with it every change that the record does not have yet.
    pub(super) async fn write(&self, batch: Batch) -> Result<Committed, StoreError> {
        match self.lost() {
            Some(lost) => Err(lost),
            None => self.write_into_files(batch).await,
        }
    }

    pub(super) async fn write_into_files(&self, batch: Batch) -> Result<Committed, StoreError> {
        let _under_way = UnderWay::begin(&self.under_way);
        let begun = Stopwatch::start();
        let owed = self.debts.all();
        let batch = owed.iter().fold(batch, |batch, lease| batch.lease(lease));
        let durable = batch.is_durable();
        let frame = batch.into_frame()?;
        let written = if self.serves {
            self.ledger().append(frame, durable).await
        } else {
            self.write_at_once(frame, durable).await.map(|()| 1)
        };
        if let Err(error) = &written {
            self.note_fault(error);
        }
        let batch_size = usize::try_from(written?).unwrap_or(usize::MAX);
        self.debts.pay(&owed);
        self.metrics.committed(begun.elapsed(), batch_size);
        self.metrics.waited(Duration::ZERO);
        Ok(Committed {
            batch_size,
            queue_wait: Duration::ZERO,
        })
    }

    /// Writes an entry into the tables at once.
    async fn write_at_once(&self, frame: Frame, durable: bool) -> Result<(), StoreError> {
        let (reply, written) = oneshot::channel();
        self.ledger().order(Order::Write(Write {
            frame,
            durable,
            reply,
        }));
        written.await.map_err(|_| StoreError::Closed)?
    }
}
