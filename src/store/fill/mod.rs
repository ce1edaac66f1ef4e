//! The filler: a thread that brings the ledger's entries into the tables.
//!
//! It has the only connection that writes allocations, leases and attempts. Readers see what they wrote
//! themselves: before a query they let the filler finish ([`super::ledger::Ledger::settled`]). Its commits also
//! copy SQLite's log into the file once the log is long, so that no request waits for that either.

mod round;
mod tables;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::{Mutex, watch};

use self::round::Failure;
pub(super) use self::words::Words;
use super::StoreError;
use super::ledger::{Frames, Numbered, Order, Pages, Progress, Unfilled, Write};
use super::lost::MainFile;
use super::open::{self, Access};

/// Longest time that an entry waits for the tables, and pause after a failure.
const LINGER: Duration = Duration::from_secs(1);

/// State of the filler's thread.
pub(super) struct Filler {
    pub(super) file: PathBuf,
    pub(super) access: Access,
    pub(super) pages: Arc<Pages>,
    /// Held by the one that writes: the filler or a chore.
    pub(super) turn: Arc<Mutex<()>>,
    pub(super) progress: watch::Sender<Progress>,
    /// Time between two checkpoints of an idle record. `None` for a command.
    pub(super) checkpoint_interval: Option<Duration>,
    /// Opened at the first write: many commands write nothing.
    pub(super) connection: Option<Connection>,
    pub(super) words: Words,
    /// Whether the last round failed: a failure is logged once.
    pub(super) has_failed: bool,
    /// Stays open until the connection is closed.
    pub(super) _main: Option<Arc<MainFile>>,
}

impl Filler {
    /// Runs until it is told to close, or every sender of orders is gone.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        loop {
            match self.next(orders) {
                Ok(Order::Notice) => {}
                Ok(Order::Fill) => self.fill_and_tell(),
                Ok(Order::Forget) => self.words.forget(),
                Ok(Order::Write(write)) => self.write_and_tell(write),
                Err(RecvTimeoutError::Timeout) => self.look_after(),
                Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.pages.close();
        self.fill_and_tell();
        if let Some(connection) = self.connection.take() {
            open::close_filler(connection);
        }
        self.pages.remove();
    }

    fn next(&self, orders: &Receiver<Order>) -> Result<Order, RecvTimeoutError> {
        let patience = match self.checkpoint_interval {
            _ if self.pages.unfilled().is_some() => LINGER,
            Some(interval) => interval,
            None => return orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        orders.recv_timeout(patience)
    }

    /// Fills the tables if entries wait; otherwise copies the log into the file.
    fn look_after(&mut self) {
        if self.pages.unfilled().is_some() {
            return self.fill_and_tell();
        }
        let Some(connection) = &self.connection else {
            return;
        };
        let _turn = self.turn.blocking_lock();
        if let Err(error) = open::checkpoint(connection) {
            tracing::warn!(%error, "could not make a checkpoint; trying again at the next interval");
        }
    }

    fn fill_and_tell(&mut self) {
        let error = self.fill().err().map(|error| error.at(&self.file));
        match &error {
            Some(error) if !self.has_failed => {
                tracing::error!(%error, "could not fill the tables from the ledger; trying again each second");
            }
            None if self.has_failed => {
                tracing::info!("the tables are filled from the ledger again");
            }
            _ => {}
        }
        self.has_failed = error.is_some();
        self.progress.send_replace(Progress { error });
    }

    /// Writes all entries of the ledger that the tables do not have.
    fn fill(&mut self) -> Result<(), StoreError> {
        let Some(unfilled) = self.pages.unfilled() else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(unfilled.parts.len());
        for part in &unfilled.parts {
            let read = part.read();
            bytes.push(read.map_err(|error| StoreError::ledger(&self.file, &error))?);
        }
        let entries = entries(&bytes, &unfilled)?;
        let turn = Arc::clone(&self.turn);
        let _turn = turn.blocking_lock();
        let last = i64::try_from(unfilled.last).unwrap_or(i64::MAX);
        let note = |transaction: &Transaction<'_>| -> Result<(), Failure> {
            transaction.execute("update ledger set filled = ?1", params![last])?;
            Ok(())
        };
        let together = self.in_transaction(unfilled.must_sync, |transaction, words| {
            round::write(transaction, words, &entries)?;
            note(transaction)
        });
        let written = match together {
            Err(Failure::Entry(_)) => {
                self.in_transaction(unfilled.must_sync, |transaction, words| {
                    round::write_each(transaction, words, &entries)?;
                    note(transaction)
                })
            }
            other => other,
        };
        written.map_err(|failure| match failure {
            Failure::Record(error) => error,
            Failure::Entry(reason) => StoreError::unwritable("the ledger's progress", reason),
        })?;
        self.pages.fill(&unfilled);
        Ok(())
    }

    fn write_and_tell(&mut self, write: Write) {
        let entry = Numbered {
            number: 0,
            entry: write.frame.entry(),
        };
        let turn = Arc::clone(&self.turn);
        let _turn = turn.blocking_lock();
        let written = self.in_transaction(write.durable, |transaction, words| {
            round::write_one(transaction, words, entry)
        });
        let written = written.map_err(|error| error.at(&self.file));
        // The caller may have gone.
        drop(write.reply.send(written));
    }

    /// Commits the work in one transaction; `durable`: the disk has it then.
    fn in_transaction<E: From<StoreError>>(
        &mut self,
        durable: bool,
        work: impl FnOnce(&mut Transaction<'_>, &mut Words) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open()?;
        let Some(connection) = &mut self.connection else {
            return Err(StoreError::Closed.into());
        };
        let synchronous = if durable { "full" } else { "normal" };
        connection
            .pragma_update(None, "synchronous", synchronous)
            .map_err(StoreError::from)?;
        let mut transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::from)?;
        let done = work(&mut transaction, &mut self.words)
            .and_then(|()| Ok(transaction.commit().map_err(StoreError::from)?));
        if done.is_err() {
            self.words.forget();
        }
        done
    }

    fn open(&mut self) -> Result<(), StoreError> {
        if self.connection.is_none() {
            let connection =
                open::filler(&self.file, self.access, self.checkpoint_interval.is_some())?;
            self.connection = Some(connection);
        }
        Ok(())
    }
}

/// Reads the frames back. The files were written by this process, or checked when it opened them.
fn entries<'a>(bytes: &'a [Vec<u8>], unfilled: &Unfilled) -> Result<Vec<Numbered<'a>>, StoreError> {
    let entries: Vec<Numbered<'a>> = bytes.iter().flat_map(|bytes| Frames::of(bytes)).collect();
    match entries.last() {
        Some(last) if last.number == unfilled.last => Ok(entries),
        _ => Err(StoreError::unreadable(
            "the ledger",
            format!("entry {} is not as it was written", unfilled.last),
        )),
    }
}
