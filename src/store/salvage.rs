//! The pages that SQLite's log has of a record whose file is empty or missing. SQLite deletes the log of an
//! empty file, so it gets a copy of both in which the file has its length, without content.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::log;
use super::rescue::with;
use crate::files;

/// A copy to read from, which is deleted when this is dropped.
#[derive(Debug)]
pub(super) struct Copied(PathBuf);

impl Copied {
    /// Copies the log of a record. `None` if it has no pages.
    pub(super) fn of(file: &Path) -> io::Result<Option<Self>> {
        let Some(length) = log::file_length(&log::of(file))? else {
            return Ok(None);
        };
        let copy = file.with_extension("db.pages");
        let copied = Self(copy.clone());
        copied.remove();
        files::open_own(&copy)?.set_len(length)?;
        files::open_own(&log::of(&copy))?;
        io::copy(
            &mut File::open(log::of(file))?,
            &mut File::create(log::of(&copy))?,
        )?;
        Ok(Some(copied))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn remove(&self) {
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(with(&self.0, ending));
        }
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.remove();
    }
}
