//! The data directory: made private, checked and locked.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock, statfs};

use super::StoreError;

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

/// Longest wait for commands that have the lock. Each has it for a few milliseconds, but a busy disk may
/// take seconds to write a grant.
const PATIENCE: Duration = Duration::from_secs(30);

/// Interval at which a waiting command tries the lock.
const LOOK: Duration = Duration::from_millis(20);

/// A data directory that exists and may be written.
#[derive(Debug, Clone)]
pub struct DataDirectory {
    path: PathBuf,
}

/// Lock of the directory, held until it is dropped. Its holder may choose ports and write.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Process that has the lock, as far as it wrote that down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id; "unknown" for a command, which has the lock only for a moment.
    pub pid: String,
    /// API socket of a service. `None` for a command.
    pub socket: Option<PathBuf>,
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
        if mode & 0o002 != 0 {
            let path = path.to_owned();
            return Err(StoreError::Exposed { path });
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Path of the record. The file is made here if it is missing, so that it is private (0600) from
    /// the start; SQLite gives its log the same mode.
    pub fn database(&self) -> Result<PathBuf, StoreError> {
        let path = self.path.join("portbook.db");
        let mut options = OpenOptions::new();
        let made = options.append(true).create(true).mode(0o600).open(&path);
        match made {
            Ok(_) => Ok(path),
            Err(source) => Err(StoreError::directory(&path, source)),
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

    fn lock_file(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join("lock"))
    }

    /// Takes the lock if it is free; otherwise returns its holder.
    pub fn try_lock(&self) -> Result<Result<Lock, Holder>, StoreError> {
        let failed = |source: io::Error| StoreError::directory(&self.path, source);
        let mut file = self.lock_file().map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // The text of an earlier holder is no longer true.
                file.set_len(0).map_err(failed)?;
                Ok(Ok(Lock { file }))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Err(holder(&mut file))),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Takes the lock, and waits for commands, which have it for a moment. Returns the holder if it is a
    /// service, which keeps the lock, or if the patience ends.
    ///
    /// It tries again and again: a wait inside `flock(2)` could not be cancelled.
    pub async fn lock(&self) -> Result<Result<Lock, Holder>, StoreError> {
        let mut looks = tokio::time::interval(LOOK);
        let last = tokio::time::sleep(PATIENCE);
        tokio::pin!(last);
        loop {
            match self.try_lock()? {
                Err(holder) if holder.socket.is_none() => tokio::select! {
                    () = &mut last => return Ok(Err(holder)),
                    _ = looks.tick() => {}
                },
                done => return Ok(done),
            }
        }
    }

    /// Returns the error that names the holder.
    pub fn in_use(&self, holder: Holder) -> StoreError {
        let path = self.path.clone();
        match holder.socket {
            Some(_) => StoreError::InUse {
                path,
                pid: holder.pid,
            },
            None => StoreError::Busy { path },
        }
    }

    /// Returns the present holder of the lock. `None` if it is free.
    pub fn holder(&self) -> Option<Holder> {
        let mut file = OpenOptions::new()
            .read(true)
            .open(self.path.join("lock"))
            .ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => None,
            Err(_) => Some(holder(&mut file)),
        }
    }
}

fn holder(file: &mut File) -> Holder {
    let mut text = String::new();
    // A file that cannot be read names no holder.
    let _ = file.read_to_string(&mut text);
    let mut lines = text.lines();
    Holder {
        pid: lines.next().unwrap_or("unknown").to_owned(),
        socket: lines.next().map(PathBuf::from),
    }
}

impl Lock {
    /// Writes the pid and socket of a service into the lock file, for other processes.
    pub fn sign(&mut self, pid: u32, socket: &Path) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        write!(self.file, "{pid}\n{}\n", socket.display())
    }
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
    fn lock_has_one_holder_and_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(&folder.path().join("a/b")).unwrap();
        assert_eq!(directory.holder(), None);
        let mut lock = directory.try_lock().unwrap().unwrap();
        lock.sign(42, Path::new("/run/x.sock")).unwrap();
        let holder = directory.try_lock().unwrap().unwrap_err();
        assert_eq!(
            (&*holder.pid, holder.socket.clone()),
            ("42", Some("/run/x.sock".into()))
        );
        assert_eq!(directory.holder(), Some(holder.clone()));
        let said = directory.in_use(holder).to_string();
        assert!(said.contains("service (pid 42)"), "{said}");
        drop(lock);

        let command = directory.try_lock().unwrap().unwrap();
        let holder = directory.try_lock().unwrap().unwrap_err();
        let said = directory.in_use(holder).to_string();
        assert!(said.contains("busy with other portbook commands"), "{said}");
        drop(command);
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
