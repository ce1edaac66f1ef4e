//! The folders of leases, as far as they were looked at.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::domain::lease::BootTime;

/// The folders that are gone, and the users whose folders are being looked at.
#[derive(Debug, Default)]
pub(in crate::engine) struct Folders {
    /// Time since which a user's folder has been gone in every look.
    gone: HashMap<(u32, PathBuf), BootTime>,
    /// Users with a look under way. A mount that hangs delays only its user's next look.
    busy: HashSet<u32>,
}

impl Folders {
    /// Begins a look at a user's folders. Returns whether none is under way.
    pub(super) fn begin(&mut self, uid: u32) -> bool {
        self.busy.insert(uid)
    }

    pub(super) fn finish(&mut self, uid: u32) {
        self.busy.remove(&uid);
    }

    /// Forgets a user's folders without a lease.
    pub(super) fn retain(&mut self, uid: u32, is_leased: impl Fn(&Path) -> bool) {
        self.gone
            .retain(|(of, folder), _| *of != uid || is_leased(folder));
    }

    /// Notes that a folder is gone. Returns since when.
    pub(super) fn note_gone(&mut self, uid: u32, folder: &Path, now: BootTime) -> BootTime {
        let key = (uid, folder.to_owned());
        *self.gone.entry(key).or_insert(now)
    }

    /// Notes that a folder is there, or cannot be looked at.
    pub(super) fn note_there(&mut self, uid: u32, folder: &Path) {
        self.gone.remove(&(uid, folder.to_owned()));
    }
}
