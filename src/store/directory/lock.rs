//! The lock of a data directory: one service, or one command for a moment.
//!
//! The lock is on the folder itself (`flock(2)`), so that a deleted file changes nothing, and on a file
//! in it, as earlier versions had it. Services write their process and socket into that file. The text
//! outlives them: it tells where the last one listened, and counts as the holder's only while that
//! process lives.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, open, stat};
use rustix::io::Errno;
use tokio::time::Interval;

use super::DataDirectory;
use crate::files;
use crate::host::ending::{self, Known};
use crate::host::process;
use crate::store::StoreError;

/// Longest wait for commands that have the lock, or for a service that ends. A command has it for a few
/// milliseconds, but a busy disk may take seconds to write a grant; a service may close thousands of
/// sockets.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time in which a service that was told to stop says so.
const MOMENT: Duration = Duration::from_millis(500);

/// Interval at which a waiting command tries the lock.
const LOOK: Duration = Duration::from_millis(20);

/// Last line of a service that ends.
const ENDING: &str = "ending";

/// Length in bytes that no text of a service reaches.
const LONGEST_TEXT: usize = 8 << 10;

/// Lock of the directory, held until it is dropped. Its holder may choose ports and write.
#[derive(Debug)]
pub struct Lock {
    /// Held for its lock alone.
    folder: OwnedFd,
    file: File,
    last: Holder,
    /// Locks on folders that were at the path before, until this one is dropped.
    earlier: Vec<(OwnedFd, File)>,
}

/// The service that has the lock or had it last, as far as it wrote that down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id; "unknown" if no service signed.
    pub pid: String,
    /// API socket of the service. `None` if no service signed.
    pub socket: Option<PathBuf>,
    process: Option<Known>,
    has_mark: bool,
}

impl Holder {
    fn read(file: &mut File) -> Self {
        let mut text = String::new();
        // A file that cannot be read names no holder.
        let _ = file.read_to_string(&mut text);
        let mut lines = text.lines();
        let pid = lines.next().unwrap_or("unknown").to_owned();
        let socket = lines.next().map(PathBuf::from);
        let start_ticks = lines.next().and_then(|ticks| ticks.parse().ok());
        let process = pid.parse().ok().zip(start_ticks);
        Self {
            process: process.map(|(pid, start_ticks)| Known { pid, start_ticks }),
            has_mark: lines.next() == Some(ENDING),
            pid,
            socket,
        }
    }

    /// Whether it is a service that lives, seen from here, and not a text that outlived it.
    pub fn is_service(&self) -> bool {
        self.process.is_some_and(Known::exists)
    }

    /// The service if it lives and is about to end.
    fn ending(&self) -> Option<Known> {
        let is_ending = |it: &Known| it.exists() && (self.has_mark || process::is_ending(it.pid));
        self.process.filter(is_ending)
    }

    /// Waits for the end of a service that ends; otherwise until the next look at the lock.
    async fn pass(&self, looks: &mut Interval) {
        let has_ended = match self.ending() {
            Some(process) => ending::ended(process.pid, PATIENCE).await,
            None => false,
        };
        if !has_ended {
            looks.tick().await;
        }
    }
}

impl Lock {
    /// Writes pid, socket and start of this process into the lock file, for other processes.
    pub fn sign(&mut self, socket: &Path) -> io::Result<()> {
        let text = text_of_this_process(socket);
        // In one piece over the text of the last service: readers have no lock, and a full disk has room
        // for that, not for a new block.
        let last = usize::try_from(self.file.metadata()?.len()).unwrap_or(0);
        let padding = "\n".repeat(last.saturating_sub(text.len()).min(LONGEST_TEXT));
        self.file
            .write_all_at(format!("{text}{padding}").as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }

    /// Whether the text in the lock file names this process and its socket.
    fn is_signed(&self, socket: &Path) -> bool {
        let text = text_of_this_process(socket);
        let mut found = vec![0; text.len()];
        self.file.read_exact_at(&mut found, 0).is_ok() && found == text.as_bytes()
    }

    /// Takes the lock of what is at the path now, if folder or file were deleted or replaced, and signs it;
    /// signs it too if its text was.
    /// A folder that is gone is made again. The earlier locks stay.
    pub fn follow(&mut self, directory: &DataDirectory, socket: &Path) -> Result<(), StoreError> {
        let (folder, file) = (
            is_at(&self.folder, &directory.path),
            is_at(&self.file, &directory.lock_path()),
        );
        if folder && file && self.is_signed(socket) {
            return Ok(());
        }
        let failed = |source: io::Error| StoreError::directory(&directory.path, source);
        if folder && !file {
            let file = directory.open_lock()?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(|errno| failed(errno.into()))?;
            self.file = file;
        } else if !folder {
            let directory = DataDirectory::open(&directory.path)?;
            let taken = directory.try_lock()?;
            let taken = taken.map_err(|holder| directory.in_use(holder))?;
            let folder = std::mem::replace(&mut self.folder, taken.folder);
            let file = std::mem::replace(&mut self.file, taken.file);
            self.earlier.push((folder, file));
        }
        let signed = self.sign(socket);
        signed.map_err(|source| StoreError::of_file(&directory.lock_path(), source))
    }

    /// Copies of its descriptors. A lock belongs to what was opened, so a process that gets them has it too.
    pub fn copies(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([self.folder.try_clone()?, self.file.try_clone()?.into()])
    }

    /// Writes into the lock file that this service ends, so that others wait for it. Without that they see
    /// the end when the process has ended.
    pub fn mark_ending(&self) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        self.file
            .write_all_at(format!("{ENDING}\n").as_bytes(), end)
    }

    /// Waits for the end of the last service: it gives the lock back before its last sockets are closed.
    async fn outlive_last(&self) {
        if let Some(process) = self.last.ending()
            && !ending::ended(process.pid, PATIENCE).await
        {
            tracing::warn!(
                pid = process.pid,
                "the last service gave the record back and does not end; its ports may be in use"
            );
        }
    }
}

/// Text by which other processes know this one.
fn text_of_this_process(socket: &Path) -> String {
    let me = Known::me();
    let pid = std::process::id();
    let start_ticks = me.map_or_else(String::new, |me| me.start_ticks.to_string());
    format!("{pid}\n{}\n{start_ticks}\n", socket.display())
}

/// Whether an open file or folder is the one at a path.
fn is_at(open: impl AsFd, path: &Path) -> bool {
    let found = fstat(open).map(|found| (found.st_dev, found.st_ino));
    let there = stat(path).map(|there| (there.st_dev, there.st_ino));
    found.is_ok() && found == there
}

impl DataDirectory {
    /// Takes the lock if it is free; otherwise returns its holder.
    pub fn try_lock(&self) -> Result<Result<Lock, Holder>, StoreError> {
        let failed = |source: io::Error| StoreError::directory(&self.path, source);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder =
            open(&self.path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        self.check_owner(&folder)?;
        let mut file = self.open_lock()?;
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let locked = flock(&folder, exclusive).and_then(|()| flock(&file, exclusive));
        let last = Holder::read(&mut file);
        match locked {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Err(last)),
            Err(errno) => return Err(failed(errno.into())),
        }
        Ok(Ok(Lock {
            folder,
            file,
            last,
            earlier: Vec::new(),
        }))
    }

    /// Takes the lock of a predecessor out of what it passed on. `None` if there is none.
    pub fn inherit(&self, passed: &mut Vec<OwnedFd>) -> Result<Option<Lock>, StoreError> {
        let failed = |source: io::Error| StoreError::directory(&self.path, source);
        let Some(folder) = take(passed, FileType::Directory) else {
            return Ok(None);
        };
        let file = take(passed, FileType::RegularFile);
        let file = file.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        if !is_at(&folder, &self.path) {
            let other = "the running service has another data directory; name the same one";
            return Err(failed(io::Error::other(other)));
        }
        let mut file = File::from(file);
        file.rewind().map_err(failed)?;
        Ok(Some(Lock {
            folder,
            last: Holder::read(&mut file),
            file,
            earlier: Vec::new(),
        }))
    }

    fn check_owner(&self, folder: &OwnedFd) -> Result<(), StoreError> {
        let found =
            fstat(folder).map_err(|errno| StoreError::directory(&self.path, errno.into()))?;
        if found.st_uid == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        Err(StoreError::OfOther {
            path: self.path.clone(),
            uid: found.st_uid,
        })
    }

    fn open_lock(&self) -> Result<File, StoreError> {
        let path = self.lock_path();
        files::open_own(&path).map_err(|source| StoreError::lock_file(&path, source))
    }

    fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Takes the lock. Waits for commands, which have it for a moment, and for a service that ends.
    /// Returns the holder if it is a service that lives on, or if the patience ends.
    ///
    /// It tries again and again: a wait inside `flock(2)` could not be cancelled.
    pub async fn lock(&self) -> Result<Result<Lock, Holder>, StoreError> {
        let mut looks = tokio::time::interval(LOOK);
        let last = tokio::time::sleep(PATIENCE);
        tokio::pin!(last);
        loop {
            let holder = match self.try_lock()? {
                Ok(lock) => {
                    lock.outlive_last().await;
                    return Ok(Ok(lock));
                }
                Err(holder) => holder,
            };
            if holder.is_service() && holder.ending().is_none() {
                return Ok(Err(holder));
            }
            tokio::select! {
                () = &mut last => return Ok(Err(holder)),
                () = holder.pass(&mut looks) => {}
            }
        }
    }

    /// Takes the lock for a service. One that runs gets a moment: perhaps it was told to stop just now.
    pub async fn lock_for_service(&self) -> Result<Result<Lock, Holder>, StoreError> {
        match self.lock().await? {
            Err(holder) if holder.is_service() => {
                if let Some(process) = holder.process {
                    ending::ended(process.pid, MOMENT).await;
                }
                self.lock().await
            }
            taken => Ok(taken),
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
        let mut file = files::open_itself(&self.lock_path()).ok()?.into_file();
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => None,
            Err(_) => Some(Holder::read(&mut file)),
        }
    }

    /// API socket of the service that has the record or had it last. `None` if none had it.
    pub fn served_at(&self) -> Option<PathBuf> {
        let mut file = files::open_itself(&self.lock_path()).ok()?.into_file();
        Holder::read(&mut file).socket
    }
}

/// Takes the first descriptor of a kind of file out of a list.
fn take(passed: &mut Vec<OwnedFd>, kind: FileType) -> Option<OwnedFd> {
    let is_of_kind = |descriptor: &OwnedFd| {
        fstat(descriptor).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == kind)
    };
    let index = passed.iter().position(is_of_kind)?;
    Some(passed.swap_remove(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, DataDirectory) {
        let folder = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(&folder.path().join("a/b")).unwrap();
        (folder, directory)
    }

    #[test]
    fn lock_has_one_holder_and_names_it() {
        let (_folder, directory) = directory();
        assert_eq!(directory.holder(), None);
        let mut lock = directory.try_lock().unwrap().unwrap();
        let holder = directory.try_lock().unwrap().unwrap_err();
        assert!(!holder.is_service());
        let said = directory.in_use(holder).to_string();
        assert!(said.contains("busy with other portbook commands"), "{said}");

        lock.sign(Path::new("/run/x.sock")).unwrap();
        let holder = directory.try_lock().unwrap().unwrap_err();
        assert_eq!(holder.socket, Some("/run/x.sock".into()));
        assert!(holder.is_service() && holder.ending().is_none());
        assert_eq!(directory.holder(), Some(holder.clone()));
        let said = directory.in_use(holder).to_string();
        let pid = std::process::id();
        assert!(said.contains(&format!("service (pid {pid})")), "{said}");

        lock.mark_ending().unwrap();
        let holder = directory.try_lock().unwrap().unwrap_err();
        assert!(holder.ending().is_some(), "{holder:?}");
        drop(lock);
        assert_eq!(directory.served_at(), Some("/run/x.sock".into()));
    }

    #[test]
    fn deleted_file_does_not_let_a_second_holder_in() {
        let (_folder, directory) = directory();
        let lock = directory.try_lock().unwrap().unwrap();
        std::fs::remove_file(directory.lock_path()).unwrap();
        assert!(directory.try_lock().unwrap().is_err());
        drop(lock);
        assert!(directory.try_lock().unwrap().is_ok());
    }

    #[test]
    fn lock_follows_a_folder_that_is_deleted_or_replaced() {
        let (_folder, directory) = directory();
        let socket = Path::new("/run/x.sock");
        let mut lock = directory.try_lock().unwrap().unwrap();
        lock.sign(socket).unwrap();
        let delete_file: &dyn Fn() = &|| std::fs::remove_file(directory.lock_path()).unwrap();
        let delete_folder: &dyn Fn() = &|| std::fs::remove_dir_all(&directory.path).unwrap();
        for delete in [delete_file, delete_folder, delete_file] {
            delete();
            lock.follow(&directory, socket).unwrap();
            let holder = directory.try_lock().unwrap().unwrap_err();
            assert!(holder.is_service(), "{holder:?}");
            assert_eq!(directory.served_at().as_deref(), Some(socket));
        }
        delete_folder();
        let other = DataDirectory::open(&directory.path).unwrap();
        let other = other.try_lock().unwrap().unwrap();
        let error = lock.follow(&directory, socket).unwrap_err().to_string();
        assert!(error.contains("busy with other"), "{error}");
        drop(other);
        lock.follow(&directory, socket).unwrap();
    }

    #[tokio::test]
    async fn text_of_a_dead_service_names_no_holder() {
        let (_folder, directory) = directory();
        std::fs::write(directory.lock_path(), "1\n/run/x.sock\n1\n").unwrap();
        let lock = directory.try_lock().unwrap().unwrap();
        let holder = directory.try_lock().unwrap().unwrap_err();
        assert!(!holder.is_service() && holder.ending().is_none());
        let waiting = async { directory.lock().await.unwrap().is_ok() };
        let done = async { drop(lock) };
        assert!(tokio::join!(waiting, done).0);
    }
}
