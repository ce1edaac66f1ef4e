//! Errors of the record, each with the way out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reason that the record cannot be used. Cloned to every request of a batch that failed together.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The data directory cannot be made or entered.
    #[error(
        "data directory {path}: {source}; give another with --data-dir or mend its permissions"
    )]
    Directory {
        path: PathBuf,
        source: Arc<std::io::Error>,
    },
    /// SQLite's locks and shared memory do not work there.
    #[error(
        "data directory {path} is on a network filesystem, where SQLite's locks cannot be trusted; give a local one with --data-dir"
    )]
    NetworkFilesystem { path: PathBuf },
    /// Every user could put files in the place of portbook's.
    #[error(
        "data directory {path} may be written by every user, who could swap the record or the token; chmod o-w it or give another with --data-dir"
    )]
    Exposed { path: PathBuf },
    /// Another service uses the directory.
    #[error(
        "data directory {path} is in use by another portbook service (pid {pid}); talk to that one, stop it, or give another --data-dir"
    )]
    InUse {
        path: PathBuf,
        /// Process id of the service, as it wrote it.
        pid: String,
    },
    /// Other commands had the lock, one after another, for longer than the patience lasts.
    #[error(
        "data directory {path} is busy with other portbook commands: try again, or start `portbook serve`, which answers many at once"
    )]
    Busy { path: PathBuf },
    /// Copied from another machine, or shared with one.
    #[error(
        "{file} belongs to another host (machine id {found}); its ports say nothing about this one: move it aside or give another --data-dir"
    )]
    OtherHost {
        file: PathBuf,
        /// Machine id under which the file was made.
        found: String,
    },
    /// Written by a later version.
    #[error(
        "{file} was written by a newer portbook (schema {found}, this one knows {known}); upgrade portbook or give another --data-dir"
    )]
    Newer {
        file: PathBuf,
        found: i64,
        known: i64,
    },
    /// Not a database, or a damaged one. Left as it is.
    #[error(
        "{file} is damaged or no portbook record ({source}); nothing was changed: restore it from a backup, or move it aside to begin a new one"
    )]
    Corrupt {
        file: PathBuf,
        source: Arc<sqlx::Error>,
    },
    /// A database, but not of portbook's making. Left as it is.
    #[error(
        "{file} is the database of another program; nothing was changed: move it aside or give another --data-dir"
    )]
    Foreign { file: PathBuf },
    /// A read or write failed.
    #[error("the record cannot be used right now: {0}")]
    Database(#[from] Arc<sqlx::Error>),
    /// A row does not mean anything to this version.
    #[error("{what} of the record cannot be read: {reason}")]
    Unreadable {
        /// Column or row.
        what: String,
        /// Message of the reader.
        reason: String,
    },
    /// The writer has stopped.
    #[error("the record is closed: portbook is shutting down")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { index, source } => {
                Self::unreadable(&format!("column {}", index.trim_matches('"')), source)
            }
            sqlx::Error::Decode(source) => Self::unreadable("a column", source),
            error => Self::Database(Arc::new(error)),
        }
    }
}

impl StoreError {
    pub(super) fn directory(path: &Path, source: std::io::Error) -> Self {
        Self::Directory {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(super) fn unreadable(what: &str, reason: impl std::fmt::Display) -> Self {
        Self::Unreadable {
            what: what.to_owned(),
            reason: reason.to_string(),
        }
    }
}
