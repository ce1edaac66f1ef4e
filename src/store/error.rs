//! What can go wrong with the record, and the way out.

use std::path::PathBuf;
use std::sync::Arc;

/// Why the record cannot be used. Cloned to every request of a batch that failed together.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be made or entered.
    #[error(
        "data directory {path}: {source}; give another with --data-dir or mend its permissions"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: Arc<std::io::Error>,
    },
    /// SQLite's locks and shared memory do not work there.
    #[error(
        "data directory {path} is on a network filesystem, where SQLite's locks cannot be trusted; give a local one with --data-dir"
    )]
    NetworkFilesystem {
        /// The directory.
        path: PathBuf,
    },
    /// Anybody could put files in the place of portbook's.
    #[error(
        "data directory {path} may be written by everybody, who could swap the record or the token; chmod o-w it or give another with --data-dir"
    )]
    Exposed {
        /// The directory.
        path: PathBuf,
    },
    /// Another service has it.
    #[error(
        "data directory {path} is in use by another portbook service (pid {pid}); talk to that one, stop it, or give another --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The service's process id, as it wrote it.
        pid: String,
    },
    /// Commands had it one after the other for as long as there was patience.
    #[error(
        "data directory {path} is busy with other portbook commands: try again, or start `portbook serve`, which answers many at once"
    )]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// Copied from another machine, or shared with one.
    #[error(
        "{file} belongs to another host (machine id {found}); its ports say nothing about this one: move it aside or give another --data-dir"
    )]
    OtherHost {
        /// The file.
        file: PathBuf,
        /// The id that it was made under.
        found: String,
    },
    /// Written by a later version.
    #[error(
        "{file} was written by a newer portbook (schema {found}, this one knows {known}); upgrade portbook or give another --data-dir"
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// The schema found.
        found: i64,
        /// The newest schema known.
        known: i64,
    },
    /// Not a database, or a damaged one. Left as it is.
    #[error(
        "{file} is damaged or no portbook record ({source}); nothing was changed: restore it from a backup, or move it aside to begin a new one"
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What SQLite said.
        source: Arc<sqlx::Error>,
    },
    /// A database, but not of portbook's making. Left as it is.
    #[error(
        "{file} is the database of another program; nothing was changed: move it aside or give another --data-dir"
    )]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// A read or write failed.
    #[error("the record cannot be used right now: {0}")]
    Database(#[from] Arc<sqlx::Error>),
    /// A row does not mean anything to this version.
    #[error("the record holds {what} that cannot be read: {text}")]
    Unreadable {
        /// Which field.
        what: &'static str,
        /// What it held.
        text: String,
    },
    /// The writer has stopped.
    #[error("the record is closed: portbook is shutting down")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

impl StoreError {
    pub(super) fn unreadable(what: &'static str, text: impl std::fmt::Display) -> Self {
        Self::Unreadable {
            what,
            text: text.to_string(),
        }
    }
}
