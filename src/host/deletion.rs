//! Changes in a folder (`inotify(7)`): names that come or go, and permissions.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::readiness::Readiness;

/// Watches a folder. One watch tells of one event: it is made anew for the next, since the folder at the
/// path may be another one by then.
pub fn watch(folder: &Path) -> io::Result<Readiness> {
    let events: OwnedFd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let wanted = WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    inotify::add_watch(&events, folder, wanted)?;
    Readiness::of(events)
}

/// Returns when a watch has an event; never without a watch.
pub async fn changed(watch: io::Result<Readiness>) {
    match watch {
        Ok(watch) => drop(watch.readable().await),
        Err(_) => std::future::pending().await,
    }
}
