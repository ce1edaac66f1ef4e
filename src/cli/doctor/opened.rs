//! The record as commands meet it: opened, without a service, as `portbook alloc` opens it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{StatVfs, statvfs};

use crate::config::{Loaded, Settings};
use crate::domain::words::shell_word;
use crate::library::Error;
use crate::library::backend::Backend;
use crate::store::{StoreError, directory, rescue};

/// Obstacles to a command that works on the record itself. Nothing is opened while a service has the
/// record, and nothing is made that is not there.
pub(super) async fn obstacles(loaded: &Loaded, is_served: bool) -> Vec<(String, String)> {
    if is_served {
        return Vec::new();
    }
    let folder = &loaded.settings.data_dir;
    match look(&loaded.settings).await {
        Err(Error::Record(error)) => {
            let command = command(&error, folder);
            vec![(error.to_string(), command)]
        }
        Err(error) => vec![(error.to_string(), list(folder))],
        Ok(()) => lack_of_room(folder).into_iter().collect(),
    }
}

async fn look(settings: &Settings) -> Result<(), Error> {
    let folder = &settings.data_dir;
    if !rescue::is_there(&directory::record(folder)) {
        return Ok(directory::check_writable(folder)?);
    }
    if let Some(record) = Backend::of_record(settings).await? {
        record.close().await;
    }
    Ok(())
}

/// Command that mends a failure of the record, or shows what is in its way.
fn command(error: &StoreError, folder: &Path) -> String {
    let name = shell_word(&folder.to_string_lossy());
    match error {
        StoreError::Exposed { .. } => format!("chmod go-w {name}"),
        _ if error.is_damage() => "portbook doctor --record".to_owned(),
        _ if error.is_full() => room(folder),
        _ => permission(folder).unwrap_or_else(|| list(folder)),
    }
}

/// Command for a folder or file of this user whose own mode keeps the user out.
fn permission(folder: &Path) -> Option<String> {
    let me = rustix::process::geteuid().as_raw();
    let needed = [
        (folder.to_owned(), 0o700, "u+rwx"),
        (folder.join("lock"), 0o600, "u+rw"),
        (directory::record(folder), 0o600, "u+rw"),
    ];
    needed.iter().find_map(|(path, bits, change)| {
        let found = std::fs::metadata(path).ok()?;
        let is_shut = found.uid() == me && found.mode() & bits != *bits;
        is_shut.then(|| format!("chmod {change} {}", shell_word(&path.to_string_lossy())))
    })
}

fn list(folder: &Path) -> String {
    format!("ls -la {}", shell_word(&folder.to_string_lossy()))
}

fn room(folder: &Path) -> String {
    format!("df -h {}", shell_word(&folder.to_string_lossy()))
}

fn lack_of_room(folder: &Path) -> Option<(String, String)> {
    let is_full = statvfs(folder).is_ok_and(|found| is_full(&found));
    is_full.then(|| {
        let message = format!(
            "the disk of {} is full: no new lease goes on record until there is room",
            folder.display()
        );
        (message, room(folder))
    })
}

/// Whether this user gets no block of a file system. One that counts no blocks is never full.
fn is_full(found: &StatVfs) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let left = if is_root {
        found.f_bfree
    } else {
        found.f_bavail
    };
    found.f_blocks > 0 && left == 0
}
