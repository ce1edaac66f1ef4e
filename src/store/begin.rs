//! The first moment of a record. A new file is written under another name and put in its place once it has
//! a first page, so a start that was interrupted leaves no empty file, and an empty one is damage.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::ledger::{FILES, has_frames};
use super::{StoreError, log};
use crate::files;

/// Way in which SQLite makes the file: it can give space back, and has a log.
const FORM: &str = "pragma auto_vacuum = incremental; pragma journal_mode = wal";

/// Makes the file of a new record. In the lock of the folder, or with a service that has it.
pub(super) fn make(file: &Path) -> Result<(), StoreError> {
    let new = file.with_extension("db.new");
    // Left by a start that was interrupted.
    let _ = std::fs::remove_file(&new);
    let made = write(&new).and_then(|()| {
        std::fs::rename(&new, file).map_err(|error| StoreError::of_file(file, error))
    });
    if made.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    made
}

/// Writes a file with its first page.
fn write(new: &Path) -> Result<(), StoreError> {
    // Private from the start; SQLite gives its log the same mode.
    files::open_own(new).map_err(|error| StoreError::of_file(new, error))?;
    let at = |error: rusqlite::Error| StoreError::from(error).at(new);
    let connection = Connection::open(new).map_err(at)?;
    connection.execute_batch(FORM).map_err(at)?;
    connection.close().map_err(|(_, error)| at(error))
}

/// Refuses a record that lost its file. SQLite would take it for a new one, and delete its log.
pub(super) fn check(file: &Path) -> Result<(), StoreError> {
    fault(file).map_or(Ok(()), |reason| {
        Err(StoreError::Emptied {
            file: file.to_owned(),
            reason,
        })
    })
}

/// Describes how a record lost its file. `None` if the file has content, or none was ever there.
pub(super) fn fault(file: &Path) -> Option<String> {
    match std::fs::symlink_metadata(file) {
        Ok(found) if found.is_file() && found.len() == 0 => Some("it is empty".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let left = left(file);
            let names: Vec<_> = left.iter().filter_map(|path| path.file_name()).collect();
            let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
            (!names.is_empty()).then(|| format!("it is missing beside {}", names.join(" and ")))
        }
        _ => None,
    }
}

/// Logs and ledgers with content, which a record leaves that was not closed in order.
fn left(file: &Path) -> Vec<PathBuf> {
    let log = log::of(file);
    let has_log = std::fs::metadata(&log).is_ok_and(|found| found.len() > 0);
    let ledgers = FILES.map(|name| file.with_file_name(name)).into_iter();
    let ledgers = ledgers.filter(|ledger| has_frames(ledger));
    has_log.then_some(log).into_iter().chain(ledgers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_file_is_never_empty_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portbook.db");
        std::fs::write(file.with_extension("db.new"), "interrupted").unwrap();
        make(&file).unwrap();
        check(&file).unwrap();
        assert!(
            std::fs::read(&file)
                .unwrap()
                .starts_with(b"SQLite format 3")
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn empty_and_missing_files_are_told_from_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("portbook.db");
        assert_eq!(fault(&file), None);
        std::fs::write(folder.path().join("token"), "secret").unwrap();
        std::fs::write(log::of(&file), "").unwrap();
        assert_eq!(fault(&file), None);
        std::fs::write(log::of(&file), "pages").unwrap();
        let told = check(&file).unwrap_err().to_string();
        assert!(told.contains("missing beside portbook.db-wal"), "{told}");
        std::fs::write(&file, "").unwrap();
        let told = check(&file).unwrap_err().to_string();
        assert!(told.contains("is damaged (it is empty)"), "{told}");
    }
}
