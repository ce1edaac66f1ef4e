//! Errors of the record, each with the way out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cause::Cause;

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
    /// The data directory takes no file.
    #[error(
        "data directory {path} cannot be written ({source}); let portbook write there, or give another with --data-dir (setting `data_dir`)"
    )]
    NotWritable {
        path: PathBuf,
        source: Arc<std::io::Error>,
    },
    /// The lock file is no file of portbook's.
    #[error("lock file {path}: {source}; remove it, and a new one is made")]
    LockFile {
        path: PathBuf,
        source: Arc<std::io::Error>,
    },
    /// SQLite's locks and shared memory do not work there.
    #[error(
        "data directory {path} is on a network filesystem, where SQLite's locks cannot be trusted; give a local one with --data-dir"
    )]
    NetworkFilesystem { path: PathBuf },
    /// Users beside the owner could put files in the place of portbook's.
    #[error(
        "data directory {path} may be written by other users, who could swap the record or the token; chmod go-w it or give another with --data-dir"
    )]
    Exposed { path: PathBuf },
    /// The owner of the directory could put files in the place of portbook's.
    #[error(
        "data directory {path} belongs to another user (uid {uid}), who could swap the record or the token; give one of your own with --data-dir, or chown it"
    )]
    OfOther {
        path: PathBuf,
        /// Owner of the directory.
        uid: u32,
    },
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
        "{file} is damaged or no portbook record ({source}); nothing was changed: run `portbook doctor --record`, restore it from a backup, or move it aside to begin a new one"
    )]
    Corrupt {
        file: PathBuf,
        source: Arc<sqlx::Error>,
    },
    /// An empty file, or none beside its log or ledger. Left as it is.
    #[error(
        "{file} is damaged ({reason}); nothing was changed: run `portbook doctor --record`, which saves what its log and ledger have, restore it from a backup, or move its folder aside to begin a new one"
    )]
    Emptied {
        file: PathBuf,
        /// State in which the file is.
        reason: String,
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
    /// A value has no form that the record takes.
    #[error("{what} cannot be put on record: {reason}")]
    Unwritable {
        /// Value or row.
        what: String,
        /// Message of the encoder.
        reason: String,
    },
    /// The tables cannot be written.
    #[error("the record cannot be used right now: {0}")]
    Tables(Arc<rusqlite::Error>),
    /// A file of the record cannot be read or written at the moment.
    #[error("{}", .cause.told(.file, .reason))]
    Unusable {
        file: PathBuf,
        /// Message of the system or of SQLite.
        reason: String,
        /// Kind of the failure, which tells the way out.
        cause: Cause,
    },
    /// The record was closed.
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

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Tables(Arc::new(error))
    }
}

impl StoreError {
    pub(super) fn ledger(file: &Path, source: &std::io::Error) -> Self {
        Self::Unusable {
            file: file.to_owned(),
            reason: source.to_string(),
            cause: Cause::of_io(source),
        }
    }

    pub(super) fn lost(file: &Path, reason: &str) -> Self {
        Self::Unusable {
            file: file.to_owned(),
            reason: reason.to_owned(),
            cause: Cause::Lost,
        }
    }

    /// Whether the files are no longer those of the record.
    pub const fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Unusable {
                cause: Cause::Lost,
                ..
            }
        )
    }

    /// Whether `portbook doctor --record` may mend it.
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. }
                | Self::Emptied { .. }
                | Self::Unusable {
                    cause: Cause::Damaged,
                    ..
                }
        )
    }

    /// Whether the disk of the record is full.
    pub const fn is_full(&self) -> bool {
        matches!(
            self,
            Self::Unusable {
                cause: Cause::Full,
                ..
            }
        )
    }

    /// Whether the file is not at fault, but the place for it.
    pub(super) const fn has_no_place(&self) -> bool {
        matches!(
            self,
            Self::Unusable {
                cause: Cause::Full | Cause::ReadOnly | Cause::Busy,
                ..
            }
        )
    }

    /// Adds the file to an error of SQLite that does not name it.
    #[must_use]
    pub(super) fn at(self, file: &Path) -> Self {
        let (reason, cause) = match &self {
            Self::Tables(error) => (error.to_string(), Cause::of_tables(error)),
            Self::Database(error) => (error.to_string(), Cause::of_database(error)),
            _ => return self,
        };
        Self::Unusable {
            file: file.to_owned(),
            reason,
            cause,
        }
    }

    /// Whether a later try may work, since no row is at fault.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Database(_) | Self::Tables(_) | Self::Unusable { .. }
        )
    }

    /// Whether the record takes nothing new until a person or a program makes room or mends it. A file
    /// that is only locked is free again soon.
    pub(super) fn lasts(&self) -> bool {
        matches!(self, Self::Unusable { cause, .. } if *cause != Cause::Busy)
    }

    pub(super) fn unwritable(what: &str, reason: impl std::fmt::Display) -> Self {
        Self::Unwritable {
            what: what.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn directory(path: &Path, source: std::io::Error) -> Self {
        Self::Directory {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(super) fn lock_file(path: &Path, source: std::io::Error) -> Self {
        Self::of_place(path, source).unwrap_or_else(|source| Self::LockFile {
            path: path.to_owned(),
            source: Arc::new(source),
        })
    }

    pub(super) fn not_writable(folder: &Path, source: std::io::Error) -> Self {
        Self::NotWritable {
            path: folder.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Error of a file that cannot be opened or made.
    pub(super) fn of_file(path: &Path, source: std::io::Error) -> Self {
        Self::of_place(path, source).unwrap_or_else(|source| Self::directory(path, source))
    }

    /// Error of the folder of a file, if that is at fault and not the file; else the source again.
    fn of_place(path: &Path, source: std::io::Error) -> Result<Self, std::io::Error> {
        let folder = path.parent().unwrap_or(path);
        match Cause::of_io(&source) {
            Cause::Full => Ok(Self::ledger(path, &source)),
            Cause::ReadOnly if !Cause::lets_write(folder) => Ok(Self::not_writable(folder, source)),
            _ => Err(source),
        }
    }

    pub(super) fn unreadable(what: &str, reason: impl std::fmt::Display) -> Self {
        Self::Unreadable {
            what: what.to_owned(),
            reason: reason.to_string(),
        }
    }
}
