//! Files of the record that are deleted, replaced or cut while a service has them open, and their
//! replacement. Leases live in memory; the record is made anew from there, with its history if SQLite
//! still reads it.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use sqlx::AssertSqlSafe;

use super::cause::Cause;
use super::{Parts, Store, StoreError, begin, log};
use crate::domain::lease::Lease;
use crate::files;

/// First bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Number of leases in one entry of the ledger.
const LEASES_AT_ONCE: usize = 500;

/// Device and inode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = std::fs::symlink_metadata(path).ok()?;
        Some(Self(found.dev(), found.ino()))
    }
}

/// The SQLite file of a service, for looks at it.
///
/// It is opened once, and stays open for as long as SQLite has it: whichever descriptor of a file a process
/// closes, the kernel takes all locks of the process from that file (`F_SETLK` in `fcntl_locking(2)`), SQLite's
/// too. The next program that opens and closes the record would take itself for the last one, and delete
/// the log that this service writes.
#[derive(Debug)]
pub(super) struct MainFile {
    file: File,
    identity: Identity,
}

impl MainFile {
    /// Opens the file, or returns the one `before` if it is the same.
    pub(super) fn open(path: &Path, before: Option<Arc<Self>>) -> Result<Arc<Self>, StoreError> {
        let identity = Identity::of(path);
        let same = before.filter(|before| Some(before.identity) == identity);
        if let Some(same) = same {
            return Ok(same);
        }
        let file = File::open(path).map_err(|error| StoreError::ledger(path, &error))?;
        let identity = identity.ok_or_else(|| StoreError::lost(path, "it was deleted"))?;
        Ok(Arc::new(Self { file, identity }))
    }
}

/// Checks that a file is the one that was opened.
fn check_identity(path: &Path, opened: Option<&MainFile>) -> Result<(), StoreError> {
    match Identity::of(path) {
        None => Err(StoreError::lost(path, "it was deleted")),
        found if found == opened.map(|opened| opened.identity) => Ok(()),
        Some(_) => Err(StoreError::lost(path, "another file is in its place")),
    }
}

/// Checks that a SQLite file has the length that its first page tells, with the pages of its log. A process
/// that is killed while it copies the log into the file leaves the first page, which it writes first.
fn check_length(path: &Path, file: &File) -> Result<(), StoreError> {
    let mut head = [0; 32];
    if file.read_exact_at(&mut head, 0).is_err() {
        return Err(StoreError::lost(path, "it was cut"));
    }
    if !head.starts_with(MAGIC) {
        return Err(StoreError::lost(path, "its first page was overwritten"));
    }
    // Big-endian; 1 stands for 65,536.
    let page = match u64::from(u16::from_be_bytes([head[16], head[17]])) {
        1 => 65_536,
        page => page,
    };
    let pages = u64::from(u32::from_be_bytes([head[28], head[29], head[30], head[31]]));
    let length = file.metadata().map_or(0, |found| found.len());
    if length >= page * pages {
        return Ok(());
    }
    let logged = log::pages(&log::of(path));
    let logged = logged.map_err(|error| StoreError::ledger(path, &error))?;
    let mut missing = length / page + 1..=pages;
    if missing.all(|number| logged.contains(&number)) {
        return Ok(());
    }
    Err(StoreError::lost(path, "it was cut"))
}

fn check_writable(path: &Path) -> Result<(), StoreError> {
    let access = accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
    access.map_err(|errno| StoreError::Unusable {
        file: path.to_owned(),
        reason: format!("it cannot be written ({errno})"),
        cause: Cause::ReadOnly,
    })
}

impl Store {
    /// Looks whether folder and files are those of the record, and may be written.
    pub async fn look(&self) -> Result<(), StoreError> {
        let parts = self.parts();
        let folder = self.file.parent().unwrap_or(&self.file);
        let main = parts.main.as_deref();
        check_identity(&self.file, main)?;
        if let Some(main) = main
            && check_length(&self.file, &main.file).is_err()
        {
            // A checkpoint may be at work: it writes the first page first.
            let _turn = parts.chores.turn().await;
            check_length(&self.file, &main.file)?;
        }
        parts.ledger.look()?;
        check_writable(folder)?;
        check_writable(&self.file)
    }

    /// Opens the files again after [`Self::look`] found them lost. A file that is not the record is moved
    /// aside, never deleted. In the lock of the folder; [`Self::put_back`] comes next.
    ///
    /// Returns whether the record begins without its history.
    pub async fn reopen(&self) -> Result<bool, StoreError> {
        let before = self.parts();
        let main = before.main.as_deref();
        let is_there = check_identity(&self.file, main).is_ok();
        let is_long_enough = |main: &MainFile| check_length(&self.file, &main.file).is_ok();
        let is_whole = is_there && main.is_some_and(is_long_enough);
        let copy = if is_there {
            None
        } else {
            self.copy(&before).await?
        };
        if !is_whole {
            move_aside(&self.file)?;
        }
        before.close().await;
        before.ended().await;
        if !is_whole {
            self.put(copy.as_deref())?;
            self.set_main();
        }
        let main = self.parts().main;
        let opened = Parts::open(&self.file, &self.options, main).await?;
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = opened;
        Ok(!is_whole && copy.is_none())
    }

    /// Writes all living leases into files that were opened again. Later changes are owed until this is
    /// done, so none is missed.
    pub async fn put_back(&self, living: &[Arc<Lease>]) -> Result<(), StoreError> {
        for leases in living.chunks(LEASES_AT_ONCE) {
            let mut batch = self.batch();
            for lease in leases {
                batch = batch.lease(lease);
            }
            self.write_into_files(batch).await?;
        }
        self.note_found();
        self.check().await
    }

    /// Notes that the file at the path is the record, even if it cannot be opened yet.
    fn set_main(&self) {
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        parts.main = MainFile::open(&self.file, None).ok();
    }

    /// Copies a record whose file is deleted, or elsewhere: SQLite still has it open. `None` if it cannot
    /// be read; an error if there is no place for the copy.
    async fn copy(&self, parts: &Parts) -> Result<Option<PathBuf>, StoreError> {
        let copy = self.file.with_extension("db.new");
        let _ = std::fs::remove_file(&copy);
        // The file of a copy is made private, as the record's is.
        files::open_own(&copy).map_err(|error| StoreError::ledger(&copy, &error))?;
        drop(parts.ledger.settled().await);
        let name = copy.to_string_lossy().replace('\'', "''");
        let vacuum = format!("vacuum into '{name}'");
        let copied = self.ask(move |connection| {
            Box::pin(async move {
                sqlx::query(AssertSqlSafe(vacuum))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
        let Err(error) = copied.await.map_err(|error| error.at(&copy)) else {
            return Ok(Some(copy));
        };
        let _ = std::fs::remove_file(&copy);
        if error.has_no_place() {
            return Err(error);
        }
        tracing::warn!(%error, "the history of the lost record cannot be read any more");
        Ok(None)
    }

    /// Puts a copy in the place of the record, or an empty file. SQLite's log there is that of the lost
    /// file, and must not be taken for the new one's.
    fn put(&self, copy: Option<&Path>) -> Result<(), StoreError> {
        let failed = |error: std::io::Error| StoreError::ledger(&self.file, &error);
        for ending in ["-wal", "-shm"] {
            let mut path = self.file.as_os_str().to_owned();
            path.push(ending);
            match std::fs::remove_file(Path::new(&path)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(error));
                }
                _ => {}
            }
        }
        match copy {
            Some(copy) => std::fs::rename(copy, &self.file).map_err(failed),
            None => begin::make(&self.file),
        }
    }
}

/// Moves a file that is not the record, or no longer, out of the way.
fn move_aside(file: &Path) -> Result<(), StoreError> {
    if Identity::of(file).is_none() {
        return Ok(());
    }
    let aside = free_name(file);
    std::fs::rename(file, &aside).map_err(|error| StoreError::ledger(file, &error))?;
    tracing::warn!(
        file = %file.display(),
        aside = %aside.display(),
        "the file in the place of the record is moved aside"
    );
    Ok(())
}

/// Returns a name beside a file that none has yet.
pub(super) fn free_name(file: &Path) -> PathBuf {
    let name = |number: u32| {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".aside-{number}"));
        PathBuf::from(name)
    };
    let is_free = |path: &PathBuf| Identity::of(path).is_none();
    (1..u32::MAX)
        .map(name)
        .find(is_free)
        .unwrap_or_else(|| name(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_whose_last_pages_are_in_its_log_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let [file, other] = ["portbook.db", "copied.db"].map(|name| folder.path().join(name));
        let connection = rusqlite::Connection::open(&file).unwrap();
        let rows = "pragma journal_mode = wal; pragma wal_autocheckpoint = 0; create table a (b); \
            insert into a values (zeroblob(9000)); pragma wal_checkpoint(truncate); \
            insert into a values (zeroblob(90000));";
        connection.execute_batch(rows).unwrap();
        // A process that copies the log into the file is killed behind the first page.
        std::fs::copy(&file, &other).unwrap();
        std::fs::copy(log::of(&file), log::of(&other)).unwrap();
        let second = rusqlite::Connection::open(&other).unwrap();
        let copy = "pragma wal_checkpoint(truncate)";
        second.execute_batch(copy).unwrap();
        let whole = std::fs::read(&other).unwrap();
        let begun = File::options().write(true).open(&file).unwrap();
        begun.write_all_at(&whole[..4096], 0).unwrap();
        let main = File::open(&file).unwrap();
        let length = begun.metadata().unwrap().len();
        assert!(length < whole.len() as u64);
        check_length(&file, &main).unwrap();
        // A page that the log does not have is missing.
        begun.set_len(length - 4096).unwrap();
        let error = check_length(&file, &main).unwrap_err().to_string();
        assert!(error.contains("cut"), "{error}");
    }

    #[test]
    fn cut_and_overwritten_files_are_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portbook.db");
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection
            .execute_batch("create table a (b); insert into a values (zeroblob(9000))")
            .unwrap();
        let main = MainFile::open(&file, None).unwrap();
        check_length(&file, &main.file).unwrap();
        check_identity(&file, Some(&main)).unwrap();
        let again = MainFile::open(&file, Some(Arc::clone(&main))).unwrap();
        assert!(Arc::ptr_eq(&main, &again), "it is opened once");
        let bytes = std::fs::read(&file).unwrap();
        for (content, word) in [
            (&bytes[..bytes.len() - 1], "cut"),
            (&[], "cut"),
            (&[7; 5000], "overwritten"),
        ] {
            std::fs::write(&file, content).unwrap();
            let error = check_length(&file, &main.file).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        move_aside(&file).unwrap();
        assert!(free_name(&file).ends_with("portbook.db.aside-2"));
        let error = check_identity(&file, Some(&main)).unwrap_err().to_string();
        assert!(
            error.contains("deleted") && error.contains("written anew"),
            "{error}"
        );
    }
}
