//! Kinds of failures of the record's files, each with the way out.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

/// Kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The disk or the quota of the user is full.
    Full,
    /// File, folder or file system may not be written.
    ReadOnly,
    /// Another program has the file for a moment.
    Busy,
    /// The file does not have what portbook wrote.
    Damaged,
    /// The file was deleted, replaced or cut while it was open.
    Lost,
    /// The process or the host has too many files open.
    Descriptors,
    /// Any other failure of the disk.
    Disk,
}

impl Cause {
    pub(super) fn of_io(error: &io::Error) -> Self {
        if let Some(Errno::MFILE | Errno::NFILE) = Errno::from_io_error(error) {
            return Self::Descriptors;
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly,
            _ => Self::Disk,
        }
    }

    pub(super) fn of_tables(error: &rusqlite::Error) -> Self {
        // SQLite makes room for the index of its log itself, and calls a full disk a failed one there.
        if let Some(SQLITE_IOERR_SHMSIZE) = error.sqlite_error().map(|error| error.extended_code) {
            return Self::Full;
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged,
            _ => Self::Disk,
        }
    }

    pub(super) fn of_database(error: &sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        let code = code.and_then(|code| code.parse().ok());
        match code {
            Some(code) => {
                let error = rusqlite::ffi::Error::new(code);
                Self::of_tables(&rusqlite::Error::SqliteFailure(error, None))
            }
            None => Self::Disk,
        }
    }

    /// Whether this process may make files in a folder.
    pub(super) fn lets_write(folder: &Path) -> bool {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        accessat(CWD, folder, access, AtFlags::EACCESS).is_ok()
    }

    /// Tells a failure of a file with the way out. A lack of space comes first, before the words of SQLite.
    pub(super) fn told(self, file: &Path, reason: &str) -> String {
        let way_out = self.way_out(file);
        if self != Self::Full {
            let file = file.display();
            return format!("the record cannot be used right now: {file}: {reason}; {way_out}");
        }
        let folder = file.parent().unwrap_or(file).display();
        let name = file.file_name().unwrap_or_default().display();
        format!(
            "no space is left in {folder}, so the record cannot be used right now ({name}: {reason}); {way_out}"
        )
    }

    /// Tells what to do about the folder of a file.
    pub(super) fn way_out(self, file: &Path) -> String {
        let folder = file.parent().unwrap_or(file).display();
        match self {
            Self::Full => format!(
                "make room on the disk of {folder}; leases stay, and new ones are granted once there is room"
            ),
            Self::ReadOnly => {
                format!(
                    "let portbook write in {folder}; leases stay, and new ones are granted then"
                )
            }
            Self::Busy => format!("end the program that has the record in {folder} locked"),
            Self::Damaged => {
                format!("stop the service and run `portbook doctor --record` on {folder}")
            }
            Self::Lost => format!(
                "leases stay, and the record is written anew from memory once portbook can write in {folder}"
            ),
            Self::Descriptors => {
                "raise its limit of open files (LimitNOFILE, ulimit -n); leases stay".to_owned()
            }
            Self::Disk => format!("look at the disk of {folder}; leases stay"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_disk_tell_folder_and_way_out() {
        let file = Path::new("/data/portbook.db");
        for (errno, cause, word) in [
            (28, Cause::Full, "make room"),
            (30, Cause::ReadOnly, "let portbook write"),
            (5, Cause::Disk, "look at the disk"),
        ] {
            let found = Cause::of_io(&io::Error::from_raw_os_error(errno));
            assert_eq!(found, cause);
            let told = found.way_out(file);
            assert!(told.contains("/data") && told.contains(word), "{told}");
        }
        let told = Cause::Full.told(file, "(code: 4874) disk I/O error");
        assert!(told.starts_with("no space is left in /data,"), "{told}");
        for errno in [23, 24] {
            let found = Cause::of_io(&io::Error::from_raw_os_error(errno));
            let told = found.way_out(file);
            assert!(told.contains("LimitNOFILE"), "{told}");
        }
        for (code, cause) in [
            (13, Cause::Full),
            (4874, Cause::Full),
            (8, Cause::ReadOnly),
            (5, Cause::Busy),
            (11, Cause::Damaged),
            (266, Cause::Disk),
        ] {
            let error = rusqlite::ffi::Error::new(code);
            let error = rusqlite::Error::SqliteFailure(error, None);
            assert_eq!(Cause::of_tables(&error), cause, "{code}");
        }
    }
}
