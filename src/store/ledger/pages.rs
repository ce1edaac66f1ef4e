//! The two files and the number of the next entry, behind one lock.
//!
//! Entries go to the current file. Once it is long and the tables have all of the other, the other one
//! becomes current and begins anew. So the files stay short, and no page of the disk is used twice
//! before its rows are safe in the tables.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::StoreError;
use super::frame::Frame;
use super::segment::{Part, RecordId, Segment};

/// Length from which a file gives way to the other, in bytes.
const LONG: u64 = 1 << 20;

/// Number of bytes that may wait for the tables; commits wait beyond it.
const MOST_BACKLOG: u64 = 4 << 20;

/// Names of the two files, beside the record.
pub(in crate::store) const FILES: [&str; 2] = ["ledger-0", "ledger-1"];

/// The two files. The lock is held for a write into the page cache, never across an `await`.
#[derive(Debug)]
pub(in crate::store) struct Pages {
    id: RecordId,
    /// Number of commits that were damaged when the files were opened: each has a number.
    damaged: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    segments: [Segment; 2],
    current: usize,
    /// Number of the last entry.
    last: u64,
    /// Number of the last entry whose rows are in the tables.
    filled: u64,
    /// Number of the last entry that is known to be on the disk.
    synced: u64,
    is_closed: bool,
}

/// Entries that are not in the tables yet.
#[derive(Debug)]
pub(in crate::store) struct Unfilled {
    /// Frames of the other file, then of the current one.
    pub(in crate::store) parts: Vec<Part>,
    indexes: Vec<usize>,
    /// Whether a file begins anew after this, so that the tables must be on the disk first.
    pub(in crate::store) must_sync: bool,
    /// Number of the last entry.
    pub(in crate::store) last: u64,
}

/// Entry that was appended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appended {
    pub(super) number: u64,
    /// Number of entries that are not in the tables yet.
    pub(super) unfilled: u64,
}

/// Files that the disk may not have yet.
#[derive(Debug)]
pub(super) struct Unsynced {
    pub(super) files: Vec<Arc<File>>,
    /// Number of the last entry in them.
    last: u64,
    /// Number of entries in them.
    pub(super) count: u64,
}

impl Pages {
    /// Reads the files that an earlier process left in `folder`. The tables have the entries up to
    /// number `filled`.
    pub(in crate::store) fn open(
        folder: &Path,
        id: RecordId,
        filled: u64,
    ) -> Result<Self, StoreError> {
        let state = State::read(folder, id, filled)?;
        Ok(Self {
            id,
            damaged: state.missing(),
            state: Mutex::new(state),
        })
    }

    /// Reads the files again, after another process wrote to them. This one must have no unfilled entries.
    pub(super) fn reread(&self, folder: &Path, filled: u64) -> Result<(), StoreError> {
        let now = State::read(folder, self.id, filled)?;
        *self.state() = now;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change of the state can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of commits that were lost before the files were opened.
    pub(in crate::store) const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Appends an entry.
    pub(super) fn append(&self, frame: &mut Frame, durable: bool) -> Result<Appended, StoreError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(StoreError::Closed);
        }
        state.turn_over();
        let (number, current) = (state.last + 1, state.current);
        let segment = &mut state.segments[current];
        segment.append(self.id, frame, number)?;
        segment.durable |= durable;
        state.last = number;
        Ok(Appended {
            number,
            unfilled: number - state.filled,
        })
    }

    /// Number of the last entry.
    pub(in crate::store) fn last(&self) -> u64 {
        self.state().last
    }

    /// Number of the last entry whose rows are in the tables.
    pub(super) fn filled(&self) -> u64 {
        self.state().filled
    }

    /// Number of bytes in both files, with their used-up frames.
    pub(super) fn len(&self) -> u64 {
        self.state().segments.iter().map(Segment::len).sum()
    }

    /// Whether so much waits for the tables that commits should wait too.
    pub(super) fn is_full(&self) -> bool {
        let backlog: u64 = self.state().segments.iter().map(Segment::backlog).sum();
        backlog > MOST_BACKLOG
    }

    /// Returns the entries that are not in the tables yet. `None` if all are.
    pub(in crate::store) fn unfilled(&self) -> Option<Unfilled> {
        let state = self.state();
        let order = [1 - state.current, state.current];
        let parts = order.map(|index| state.segments[index].unfilled().map(|part| (index, part)));
        let (indexes, parts): (Vec<_>, Vec<_>) = parts.into_iter().flatten().unzip();
        let other = &state.segments[1 - state.current];
        (!parts.is_empty()).then_some(Unfilled {
            parts,
            indexes,
            must_sync: other.len() > 0 && other.durable,
            last: state.last,
        })
    }

    /// Notes that the tables have these entries.
    pub(in crate::store) fn fill(&self, done: &Unfilled) {
        let mut state = self.state();
        for (index, part) in done.indexes.iter().zip(&done.parts) {
            state.segments[*index].fill(part.to);
        }
        state.filled = done.last;
        let other = 1 - state.current;
        // Only if the tables were synced for it: it may have become the other one meanwhile.
        let segment = &mut state.segments[other];
        if segment.is_filled() && (done.must_sync || !segment.durable) {
            segment.restart();
        }
    }

    /// Returns the files that must reach the disk for an entry. `None` if it is there already.
    pub(super) fn unsynced(&self, number: u64) -> Option<Unsynced> {
        let state = self.state();
        (state.synced < number).then(|| Unsynced {
            files: state
                .segments
                .iter()
                .filter_map(Segment::unsynced)
                .collect(),
            last: state.last,
            count: state.last - state.synced,
        })
    }

    /// Notes that the disk has these files.
    pub(super) fn sync(&self, done: &Unsynced) {
        let mut state = self.state();
        state.synced = state.synced.max(done.last);
        if state.last == done.last {
            for segment in &mut state.segments {
                segment.dirty = false;
            }
        }
    }

    /// Looks whether the files are those that were opened, and have all that was written.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        let state = self.state();
        state.segments.iter().try_for_each(Segment::look)
    }

    /// Refuses later entries, and leaves the files to another process.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.segments.iter_mut().for_each(Segment::abandon);
    }

    /// Refuses later entries.
    pub(in crate::store) fn close(&self) {
        self.state().is_closed = true;
    }

    /// Deletes the files, as far as the tables have all of their entries.
    pub(in crate::store) fn remove(&self) {
        self.state().segments.iter_mut().for_each(Segment::remove);
    }
}

impl State {
    /// Reads both files.
    fn read(folder: &Path, id: RecordId, filled: u64) -> Result<Self, StoreError> {
        let [first, second] = FILES.map(|name| Segment::open(folder.join(name), id, filled));
        let segments = [first?, second?];
        let current = usize::from(segments[1].last() > segments[0].last());
        let last = segments.iter().map(Segment::last).max();
        Ok(Self {
            current,
            last: last.unwrap_or(0).max(filled),
            filled,
            synced: filled,
            segments,
            is_closed: false,
        })
    }

    /// Number of frames that are missing among those that are not in the tables.
    fn missing(&self) -> u64 {
        let waiting: u64 = self.segments.iter().map(|segment| segment.waiting).sum();
        (self.last - self.filled).saturating_sub(waiting)
    }

    /// Goes over to the other file if the current one is long and the other one is free.
    const fn turn_over(&mut self) {
        let other = 1 - self.current;
        if self.segments[self.current].len() >= LONG && self.segments[other].len() == 0 {
            self.current = other;
        }
    }
}
