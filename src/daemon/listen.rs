//! The service's Unix sockets: made, or taken from a supervisor.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::config::Settings;
use crate::protocol::descriptor;

use super::given::PassedOn;
use super::{StartError, failed};

/// Binds the API socket under a name of its own, sets its mode, and only then moves it into place,
/// so that no client connects to it with wrong permissions.
pub(super) fn listen_on_socket(path: &Path, mode: u32) -> Result<UnixListener, StartError> {
    let what = || failed(format!("the API socket {}", path.display()));
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(StartError::SocketInUse(path.to_owned()));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(what())?;
    }
    let new = path.with_extension("new");
    if new.exists() {
        std::fs::remove_file(&new).map_err(what())?;
    }
    let listener = UnixListener::bind(&new).map_err(what())?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).map_err(what())?;
    std::fs::rename(&new, path).map_err(what())?;
    listener.set_nonblocking(true).map_err(what())?;
    Ok(listener)
}

/// Unix sockets that listen when the service starts: a supervisor's socket activation.
pub(super) struct Activated(Vec<UnixListener>);

impl Activated {
    /// Takes them out of the sockets that a supervisor passed.
    pub(super) fn among(passed: &mut Vec<(String, OwnedFd)>) -> Self {
        let mut listening = Vec::new();
        for (name, socket) in std::mem::take(passed) {
            let socket = UnixListener::from(socket);
            // Other sockets have no such address.
            match socket.local_addr() {
                Ok(_) => listening.push(socket),
                Err(_) => passed.push((name, socket.into())),
            }
        }
        Self(listening)
    }

    /// Listens on the API socket, and on the socket for descriptors beside it. Files of sockets that
    /// the service or its predecessor made are added to `own`.
    pub(super) fn listen_all(
        &mut self,
        settings: &Settings,
        passed_on: &mut PassedOn,
        own: &mut Vec<PathBuf>,
    ) -> Result<(UnixListener, UnixListener), StartError> {
        let mode = settings.socket_mode;
        let mut listen = |path: &Path| match passed_on.activated(path) {
            Some(socket) => Ok(socket),
            None => self.listen(path, mode, passed_on, own),
        };
        Ok((
            listen(&settings.socket)?,
            listen(&descriptor::beside(&settings.socket))?,
        ))
    }

    /// Returns the socket that listens at a path, or binds one, which the service has to remove.
    fn listen(
        &mut self,
        path: &Path,
        mode: u32,
        passed_on: &mut PassedOn,
        own: &mut Vec<PathBuf>,
    ) -> Result<UnixListener, StartError> {
        let is_there = |socket: &UnixListener| {
            let address = socket.local_addr();
            address.is_ok_and(|address| address.as_pathname() == Some(path))
        };
        if let Some(index) = self.0.iter().position(is_there) {
            return Ok(self.0.swap_remove(index));
        }
        own.push(path.to_owned());
        let Some(socket) = passed_on.at_path(path) else {
            return listen_on_socket(path, mode);
        };
        let what = failed(format!("the API socket {}", path.display()));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(what)?;
        Ok(socket)
    }
}
