//! The data directory: made private, checked and locked.

mod lock;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat, statfs};

use super::{StoreError, begin};
use crate::files;
pub use lock::{Holder, Lock};

/// `f_type` of filesystems that reach over a network (`statfs(2)`): NFS, SMB, CIFS, SMB2, AFS,
/// Coda, Ceph.
const NETWORK_FILESYSTEMS: [u32; 7] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x5346_414f,
    0x7375_7245,
    0x00c3_6400,
];

/// A data directory that exists and may be written.
#[derive(Debug, Clone)]
pub struct DataDirectory {
    path: PathBuf,
}

impl DataDirectory {
    /// Makes the directory (0700) if it is missing, and checks that it can be used.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source: io::Error| StoreError::directory(path, source);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let kind = statfs(path).map_err(|errno| failed(errno.into()))?.f_type;
        // The field's width and sign differ between architectures; the numbers fit 32 bits.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "see above"
        )]
        let kind = kind as u32;
        if NETWORK_FILESYSTEMS.contains(&kind) {
            let path = path.to_owned();
            return Err(StoreError::NetworkFilesystem { path });
        }
        let mode = std::fs::metadata(path)
            .map_err(failed)?
            .permissions()
            .mode();
        if mode & 0o022 != 0 {
            let path = path.to_owned();
            return Err(StoreError::Exposed { path });
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the record. The file is made here if it is missing, so that it is private (0600) from
    /// the start. In the lock.
    pub fn database(&self) -> Result<PathBuf, StoreError> {
        let path = record(&self.path);
        // Before SQLite opens the file.
        begin::check(&path)?;
        if is_missing(&path) {
            begin::make(&path)?;
        }
        match files::open_own(&path) {
            Ok(_) => Ok(path),
            Err(source) => Err(StoreError::of_file(&path, source)),
        }
    }

    /// Path of the console's token.
    pub fn token(&self) -> PathBuf {
        self.path.join("token")
    }

    /// Path of the file with the console's address.
    pub fn console(&self) -> PathBuf {
        self.path.join("console")
    }
}

/// Path of the record in a data directory. Either may be missing.
pub fn record(directory: &Path) -> PathBuf {
    directory.join("portbook.db")
}

/// Checks that a data directory takes files, or can be made. Nothing is made here.
pub fn check_writable(directory: &Path) -> Result<(), StoreError> {
    let there = directory.ancestors().find(|folder| folder.exists());
    let there = there.unwrap_or(directory);
    if there == directory {
        DataDirectory::open(directory)?;
    }
    let access = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, there, access, AtFlags::EACCESS)
        .map_err(|errno| StoreError::not_writable(there, errno.into()))
}

fn is_missing(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Returns the sizes in bytes of the record in a data directory and of its write-ahead log.
pub fn sizes(directory: &Path) -> (u64, u64) {
    let size = |name: &str| std::fs::metadata(directory.join(name)).map_or(0, |file| file.len());
    (size("portbook.db"), size("portbook.db-wal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposed_directories_and_planted_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |mode| std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode));
        mode(0o770).unwrap();
        let error = DataDirectory::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("chmod go-w"), "{error}");
        mode(0o750).unwrap();
        let directory = DataDirectory::open(folder.path()).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("portbook.db")).unwrap();
        assert!(directory.database().is_err());
    }

    #[test]
    fn error_names_a_path_that_cannot_be_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataDirectory::open(&file.join("below"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("file/below") && error.contains("--data-dir"),
            "{error}"
        );
    }
}
