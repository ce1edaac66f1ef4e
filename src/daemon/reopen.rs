//! Files of the service's Unix sockets that were deleted: they are made again, since clients find the
//! service by them alone.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::StartError;
use super::doors::{Doors, Kind};
use super::listen::listen_on_socket;
use crate::config::Settings;
use crate::host::deletion;
use crate::protocol::descriptor;

/// Interval of looks where no event tells of a deletion, as on some file systems.
const ROUND: Duration = Duration::from_mins(1);

/// Interval of tries to make a socket whose folder may be about to be deleted or replaced.
const SOON: Duration = Duration::from_secs(1);

/// Watches those of the API socket and the socket for descriptors whose files are the service's `own`.
pub(super) fn start(
    doors: &Arc<Doors>,
    settings: &Settings,
    own: &[PathBuf],
) -> Vec<JoinHandle<()>> {
    let api = settings.socket.clone();
    let descriptors = descriptor::beside(&api);
    let sockets = [(Kind::Api, api), (Kind::Descriptors, descriptors)];
    let own = sockets.into_iter().filter(|(_, path)| own.contains(path));
    own.map(|(kind, path)| {
        let (doors, place) = (Arc::clone(doors), Place::new(path, settings.socket_mode));
        tokio::spawn(keep(place, move |socket| doors.replace(kind, socket)))
    })
    .collect()
}

/// Path of a socket, and the file that the service made there.
struct Place {
    path: PathBuf,
    mode: u32,
    /// Device and inode.
    file: Option<(u64, u64)>,
}

impl Place {
    fn new(path: PathBuf, mode: u32) -> Self {
        let file = identity(&path);
        Self { path, mode, file }
    }

    fn is_there(&self) -> bool {
        // A file that was deleted as soon as it was made has no identity.
        self.file.is_some() && identity(&self.path) == self.file
    }

    fn make(&mut self) -> Result<UnixListener, StartError> {
        let listener = listen_on_socket(&self.path, self.mode)?;
        self.file = identity(&self.path);
        Ok(listener)
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Makes a socket again whenever its file is gone.
async fn keep(mut place: Place, serve: impl Fn(UnixListener)) {
    let socket = place.path.display().to_string();
    let mut has_failed = false;
    loop {
        // Before the look, so that no deletion falls between the two.
        let watch = deletion::watch(place.path.parent().unwrap_or(&place.path));
        if !place.is_there() {
            match place.make().map(&serve) {
                Ok(()) => {
                    tracing::warn!(
                        socket,
                        "the file of the socket was deleted; it is made again"
                    );
                    has_failed = false;
                    // The folder may be another one.
                    continue;
                }
                Err(error) if !has_failed => {
                    tracing::warn!(socket, %error, "the file of the socket was deleted and could not be made again; it is tried each second");
                    has_failed = true;
                }
                Err(_) => {}
            }
        }
        tokio::select! {
            () = tokio::time::sleep(if has_failed { SOON } else { ROUND }) => {}
            () = deletion::changed(watch) => {}
        }
    }
}
