//! Orders to the filler, and its news.

use tokio::sync::oneshot;

use super::super::StoreError;
use super::frame::Frame;

/// Order to the filler.
#[derive(Debug)]
pub(in crate::store) enum Order {
    /// An entry came after a time without any.
    Notice,
    /// Fills the tables at once.
    Fill,
    /// Writes an entry into the tables at once, past the ledger.
    Write(Write),
    /// Forgets what it knows of the tables: another process wrote to them.
    Forget,
    /// Fills the tables, deletes the ledger's files, and ends.
    Close,
}

/// Entry that is written at once, for a command: a ledger would cost it more than it saves.
#[derive(Debug)]
pub(in crate::store) struct Write {
    pub(in crate::store) frame: Frame,
    pub(in crate::store) durable: bool,
    pub(in crate::store) reply: oneshot::Sender<Result<(), StoreError>>,
}

/// Result of the last round.
#[derive(Debug, Default)]
pub(in crate::store) struct Progress {
    /// Reason that it failed. The entries are tried again.
    pub(in crate::store) error: Option<StoreError>,
}
