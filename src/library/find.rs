//! Finding the service: by the named socket, else the user's own, that of the data directory's owner,
//! and the system's. If none answers, the caller works on the record itself.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

use super::Error;
use crate::client::{Client, ClientError};
use crate::config::{Loaded, Settings};
use crate::store::directory::DataDirectory;

/// The system-wide service's socket.
const SYSTEM_SOCKET: &str = "/run/portbook/portbook.sock";

/// The settings, and the services that may answer in place of the engine in this process.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) settings: Settings,
    /// Socket that must answer; no other is tried. `None` if no source names one.
    pub(super) named: Option<PathBuf>,
    /// Setting that names the socket. `None` if the program itself does.
    pub(super) setting: Option<String>,
    /// Socket of the user, tried first.
    pub(super) own: Option<PathBuf>,
    /// Socket of the system, tried last.
    pub(super) system: Option<PathBuf>,
}

impl Target {
    /// The target of the user's settings.
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let settings = loaded.settings.clone();
        let is_default = |key| loaded.provenance.is_default(key);
        let socket = settings.socket.clone();
        Self {
            named: (!is_default("socket")).then(|| socket.clone()),
            setting: Some(setting(loaded.provenance.source("socket"))),
            own: Some(socket),
            // A data directory of one's own means a service of one's own.
            system: is_default("data_dir").then(|| SYSTEM_SOCKET.into()),
            settings,
        }
    }

    fn candidates(&self) -> Vec<PathBuf> {
        let own = self.own.iter().cloned();
        let holder = holder(&self.settings.data_dir);
        let mut sockets: Vec<PathBuf> = own.chain(holder).chain(self.system.clone()).collect();
        sockets.dedup();
        sockets
    }

    /// The service that answers, if any. An error if a named socket does not answer.
    pub(crate) async fn service(&self) -> Result<Option<Client>, Error> {
        if let Some(socket) = &self.named {
            let client = self.client(socket);
            let connected = client.connect().await;
            connected.map_err(|error| self.not_answered(error))?;
            return Ok(Some(client));
        }
        for socket in self.candidates() {
            let client = self.client(&socket);
            match client.connect().await {
                Ok(()) => return Ok(Some(client)),
                Err(ClientError::Unreachable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// [`service_unless_ended`](Self::service_unless_ended) for a process without a runtime: the
    /// client's calls block.
    pub(crate) fn blocking_service(&self) -> Result<Option<Client>, Error> {
        if let Some(socket) = &self.named {
            let client = self.client(socket).blocking();
            let client = client.map_err(|error| self.not_answered(error));
            return self.unless_ended(client.map(Some));
        }
        for socket in self.candidates() {
            match self.client(&socket).blocking() {
                Ok(client) => return Ok(Some(client)),
                Err(ClientError::Unreachable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// The service that answers, if any. A named socket where nothing listens is no error if the last
    /// service of this very record listened there: then the record has no service, or one that starts.
    pub(super) async fn service_unless_ended(&self) -> Result<Option<Client>, Error> {
        self.unless_ended(self.service().await)
    }

    fn unless_ended(&self, found: Result<Option<Client>, Error>) -> Result<Option<Client>, Error> {
        match found {
            Err(Error::NotAnswered { socket, source, .. })
                if is_absent(&source)
                    && served_at(&self.settings.data_dir) == Some(socket.clone()) =>
            {
                Ok(None)
            }
            found => found,
        }
    }

    /// Whether the mode of a socket, or of its folder, keeps this user from it.
    fn is_closed(&self, socket: &Path) -> bool {
        // After `su` the folder of the runtime may be another user's: nothing tells that a socket is in there.
        let is_there = socket == Path::new(SYSTEM_SOCKET)
            || socket.starts_with(&self.settings.data_dir)
            || socket.exists();
        is_there && rustix::fs::access(socket, Access::WRITE_OK) == Err(Errno::ACCESS)
    }

    /// A client with the limits and the trust of the settings.
    fn client(&self, socket: &Path) -> Client {
        let settings = &self.settings.client;
        let mut trusted_uids = settings.trusted_uids.clone();
        if socket == Path::new(SYSTEM_SOCKET) {
            // Root alone can make that folder, and gives it to the user of the service.
            let folder = socket.parent().and_then(|folder| folder.metadata().ok());
            trusted_uids.extend(folder.map(|folder| folder.uid()));
        }
        let client = Client::new(socket).within(settings.timeout);
        client.trusting(&trusted_uids)
    }

    /// The error for a named socket, with the way out.
    fn not_answered(&self, error: ClientError) -> Error {
        match (error, &self.setting) {
            (ClientError::Unreachable { socket, source }, Some(setting)) => Error::NotAnswered {
                socket,
                setting: setting.clone(),
                source,
            },
            (error, _) => error.into(),
        }
    }
}

/// The source of a setting in short: `environment (PORTBOOK_SOCKET)` is `PORTBOOK_SOCKET`.
fn setting(source: &str) -> String {
    let inner = source
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    match inner {
        Some(name) => name.to_owned(),
        None => format!("`socket` in {source}"),
    }
}

/// The socket of the process that has the lock: it writes it into the lock file.
fn holder(data_dir: &Path) -> Option<PathBuf> {
    if !data_dir.is_dir() {
        return None;
    }
    DataDirectory::open(data_dir).ok()?.holder()?.socket
}

/// The socket of the last service of a record.
fn served_at(data_dir: &Path) -> Option<PathBuf> {
    if !data_dir.is_dir() {
        return None;
    }
    DataDirectory::open(data_dir).ok()?.served_at()
}

/// Whether nothing listens on a socket.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused)
}

/// The service that commands use, if any.
pub(crate) async fn find(loaded: &Loaded) -> Result<Option<Client>, Error> {
    Target::of(loaded).service().await
}

/// [`find`] for a process without a runtime: the client's calls block.
pub(crate) fn blocking(loaded: &Loaded) -> Result<Option<Client>, Error> {
    Target::of(loaded).blocking_service()
}

/// The error for a socket that this user may not open. `None` if a source names the socket, which is an error of its own,
/// or if the user may open all that are there. It is of use once no service has answered.
pub(crate) fn not_admitted(loaded: &Loaded) -> Option<Error> {
    let target = Target::of(loaded);
    if target.named.is_some() {
        return None;
    }
    let mut candidates = target.candidates().into_iter();
    let socket = candidates.find(|it| target.is_closed(it))?;
    Some(Error::NotAdmitted { socket })
}

/// Every service that answers on a known socket; the one that commands use comes first.
pub(crate) async fn all(loaded: &Loaded) -> Vec<Client> {
    let target = Target::of(loaded);
    let mut sockets = target.candidates();
    sockets.push(SYSTEM_SOCKET.into());
    let mut answering = Vec::new();
    for socket in sockets {
        let client = target.client(&socket);
        if client.is_answered().await {
            answering.push(client);
        }
    }
    answering
}
