//! One of the ledger's two files: a head that names the record, then frames.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Stat, fstat};

use super::super::StoreError;
use super::frame::{Frame, Frames};

/// First bytes of a file; the digit is the version of head and frames.
const MAGIC: [u8; 8] = *b"pbledg1\n";

/// Id of a record, which its ledger repeats: a ledger beside another record is not its own.
pub(in crate::store) type RecordId = [u8; 16];

/// Length of a file's head.
const HEAD: u64 = (MAGIC.len() + size_of::<RecordId>()) as u64;

/// One of the two files.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    /// `None` until the first append.
    file: Option<Arc<File>>,
    /// Position behind the last frame.
    end: u64,
    /// Position behind the last frame whose rows are in the tables.
    filled: u64,
    /// Number of the last frame.
    last: u64,
    /// Number of frames that the tables did not have when it was opened.
    pub(super) waiting: u64,
    /// Whether it has frames that the disk may not have yet.
    pub(super) dirty: bool,
    /// Whether it has frames that must outlive a power cut.
    pub(super) durable: bool,
}

/// Frames of one file that are not in the tables yet.
#[derive(Debug)]
pub(in crate::store) struct Part {
    file: Arc<File>,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Part {
    /// Reads the frames, as far as they are whole.
    pub(in crate::store) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.to - self.from).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, self.from)?;
        Ok(bytes)
    }
}

impl Segment {
    const fn empty(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            end: HEAD,
            filled: HEAD,
            last: 0,
            waiting: 0,
            dirty: false,
            durable: false,
        }
    }

    /// Opens the file if it exists. Frames up to number `filled` are in the tables.
    pub(super) fn open(path: PathBuf, id: RecordId, filled: u64) -> Result<Self, StoreError> {
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::empty(path)),
            Err(error) => return Err(StoreError::ledger(&path, &error)),
        };
        let bytes = std::fs::read(&path).map_err(|error| StoreError::ledger(&path, &error))?;
        let Some(frames) = frames_of(&path, &bytes, id)? else {
            return Ok(Self::empty(path));
        };
        let mut segment = Self::empty(path);
        segment.find(frames, filled);
        segment.file = Some(Arc::new(file));
        Ok(segment)
    }

    /// Finds the ends of all frames and of the filled ones. If all are filled it begins anew.
    fn find(&mut self, bytes: &[u8], filled: u64) {
        let mut frames = Frames::of(bytes);
        while let Some(frame) = frames.next() {
            self.last = frame.number;
            self.end = HEAD + (bytes.len() - frames.rest().len()) as u64;
            if frame.number <= filled {
                self.filled = self.end;
            } else {
                self.waiting += 1;
            }
        }
        if self.is_filled() {
            (self.end, self.filled) = (HEAD, HEAD);
        }
        // Not known of frames that an earlier process wrote.
        (self.dirty, self.durable) = (!self.is_filled(), !self.is_filled());
    }

    /// Number of the last frame; 0 if there never was one.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// Number of bytes of its frames.
    pub(super) const fn len(&self) -> u64 {
        self.end - HEAD
    }

    /// Number of bytes that are not in the tables yet.
    pub(super) const fn backlog(&self) -> u64 {
        self.end - self.filled
    }

    pub(super) const fn is_filled(&self) -> bool {
        self.backlog() == 0
    }

    /// The file, if it has frames that the disk may not have.
    pub(super) fn unsynced(&self) -> Option<Arc<File>> {
        self.file.clone().filter(|_| self.dirty)
    }

    /// Writes a frame behind the last one. If that fails, the next one takes its place.
    pub(super) fn append(
        &mut self,
        id: RecordId,
        frame: &mut Frame,
        number: u64,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.write(id, frame.signed(number))
            .map_err(|error| StoreError::ledger(&path, &error))?;
        self.last = number;
        self.dirty = true;
        Ok(())
    }

    fn write(&mut self, id: RecordId, bytes: &[u8]) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::new(make(&self.path, id)?),
        };
        if self.file.is_some() {
            check(&file, self.end)?;
        }
        file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Returns the frames that are not in the tables yet. `None` if all are.
    pub(super) fn unfilled(&self) -> Option<Part> {
        let file = self.file.clone().filter(|_| !self.is_filled())?;
        Some(Part {
            file,
            from: self.filled,
            to: self.end,
        })
    }

    /// Notes that the tables have all frames up to a position.
    pub(super) const fn fill(&mut self, to: u64) {
        self.filled = to;
    }

    /// Begins anew, after all frames are in the tables.
    pub(super) const fn restart(&mut self) {
        (self.end, self.filled) = (HEAD, HEAD);
        (self.dirty, self.durable) = (false, false);
    }

    /// Looks whether the file at the path is the one that was opened, and has all that was written.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let failed = |error: io::Error| StoreError::lost(&self.path, &error.to_string());
        let found = check(file, self.end).map_err(failed)?;
        match std::fs::symlink_metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (found.st_dev, found.st_ino) => Ok(()),
            Ok(_) => Err(StoreError::lost(&self.path, "another file is in its place")),
            Err(error) => Err(failed(error)),
        }
    }

    /// Leaves the file to another process.
    pub(super) fn abandon(&mut self) {
        self.file = None;
    }

    /// Deletes the file, if all its frames are in the tables.
    pub(super) fn remove(&mut self) {
        if self.is_filled() && self.file.take().is_some() {
            // A file that stays is read at the next start, and its frames are known to be filled.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Checks that an open file still has a name and all that was written up to `end`.
fn check(file: &File, end: u64) -> io::Result<Stat> {
    let found = fstat(file)?;
    if found.st_nlink == 0 {
        return Err(io::Error::other("it was deleted"));
    }
    // Negative sizes do not exist.
    if found.st_size.unsigned_abs() < end {
        return Err(io::Error::other("it was cut"));
    }
    Ok(found)
}

/// Makes the file anew, with its head.
fn make(path: &Path, id: RecordId) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all_at(&[MAGIC.as_slice(), &id].concat(), 0)?;
    // The name of a new file reaches the disk with its folder.
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

/// Returns the id of the record that a file belongs to.
pub(in crate::store) fn id_of(path: &Path) -> Option<RecordId> {
    let bytes = std::fs::read(path).ok()?;
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    rest.first_chunk().filter(|_| *magic == MAGIC).copied()
}

/// Whether a file has frames of a record, whichever that is.
pub(in crate::store) fn has_frames(path: &Path) -> bool {
    let is_longer = std::fs::metadata(path).is_ok_and(|found| found.len() > HEAD);
    is_longer && id_of(path).is_some()
}

/// Returns the frames of a file of this record. A file without a whole head has none; one of another
/// record is moved aside.
fn frames_of<'a>(
    path: &Path,
    bytes: &'a [u8],
    id: RecordId,
) -> Result<Option<&'a [u8]>, StoreError> {
    // After a power cut a new file may be all zeros.
    let whole = bytes.split_first_chunk::<8>();
    let Some((magic, rest)) = whole.filter(|(magic, _)| **magic != [0; 8]) else {
        return Ok(None);
    };
    if *magic != MAGIC {
        let reason = format!(
            "{} does not begin as this portbook writes it: use the portbook that wrote it, or move the file aside",
            path.display()
        );
        return Err(StoreError::unreadable("the ledger", reason));
    }
    match rest.split_first_chunk::<16>() {
        None => Ok(None),
        Some((found, frames)) if *found == id => Ok(Some(frames)),
        Some(_) => move_aside(path).map(|()| None),
    }
}

fn move_aside(path: &Path) -> Result<(), StoreError> {
    let aside = path.with_extension("other");
    std::fs::rename(path, &aside).map_err(|error| StoreError::ledger(path, &error))?;
    tracing::warn!(
        path = %path.display(),
        aside = %aside.display(),
        "ledger belongs to another record; moved aside",
    );
    Ok(())
}
