//! The data directory: made private, checked, and locked.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

/// How long to wait for commands that have the lock. Each has it for a few milliseconds, but a busy
/// disk may take seconds to write what it grants.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often to look whether the lock is free.
const LOOK: Duration = Duration::from_millis(20);

/// A data directory that exists and may be written.
#[derive(Debug, Clone)]
pub struct DataDirectory {
    path: PathBuf,
}

/// The directory's lock, held until dropped. Whoever has it may choose ports and write.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Who has the lock, as far as they wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process id; "unknown" for a command that has it for a moment only.
    pub pid: String,
    /// The service's API socket.
    pub socket: Option<PathBuf>,
}

impl DataDirectory {
    /// Makes the directory (0700) where it is missing and checks that it can serve.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source: io::Error| StoreError::Directory {
            path: path.to_owned(),
            source: Arc::new(source),
        };
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

    /// The record. Made here where it is missing, so that it is private (0600) from the start;
    /// SQLite gives its log the same mode.
    pub fn database(&self) -> Result<PathBuf, StoreError> {
        let path = self.path.join("portbook.db");
        let mut options = OpenOptions::new();
        let made = options.append(true).create(true).mode(0o600).open(&path);
        match made {
            Ok(_) => Ok(path),
            Err(source) => Err(StoreError::Directory {
                path,
                source: Arc::new(source),
            }),
        }
    }

    /// The console's token.
    pub fn token(&self) -> PathBuf {
        self.path.join("token")
    }

    /// The file that tells where the console listens.
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

    /// Takes the lock if nobody has it.
    pub fn try_lock(&self) -> Result<Result<Lock, Holder>, StoreError> {
        self.locked()
    }

    /// Waits for commands that have the lock for a moment, or until a service has signed it: that one
    /// keeps it.
    ///
    /// By looking again: waiting inside `flock(2)` could not be given up.
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

    fn locked(&self) -> Result<Result<Lock, Holder>, StoreError> {
        let failed = |source: io::Error| StoreError::Directory {
            path: self.path.clone(),
            source: Arc::new(source),
        };
        let mut file = self.lock_file().map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // What an earlier holder wrote is no longer true.
                file.set_len(0).map_err(failed)?;
                Ok(Ok(Lock { file }))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Err(holder(&mut file))),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// The error that names the holder.
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

    /// Who has the lock right now, if anybody.
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
    // Unreadable words name nobody, which is all that can be said then.
    let _ = file.read_to_string(&mut text);
    let mut lines = text.lines();
    Holder {
        pid: lines.next().unwrap_or("unknown").to_owned(),
        socket: lines.next().map(PathBuf::from),
    }
}

impl Lock {
    /// Tells others who has the lock for long, and where to speak to them.
    pub fn sign(&mut self, pid: u32, socket: &Path) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        write!(self.file, "{pid}\n{}\n", socket.display())
    }
}

/// How many bytes the record of a data directory has, and how many wait beside it to be merged
/// (SQLite's write-ahead log).
pub fn sizes(directory: &Path) -> (u64, u64) {
    let size = |name: &str| std::fs::metadata(directory.join(name)).map_or(0, |file| file.len());
    (size("portbook.db"), size("portbook.db-wal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_one_persons_and_names_them() {
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
    fn a_path_that_cannot_be_a_directory_is_named() {
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
