//! Finding the service: by the named socket, else the user's own, that of the data directory's owner,
//! and the system's. If none answers, the caller works on the record itself.

use std::path::{Path, PathBuf};

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
            let client = Client::new(socket);
            let connected = client.connect().await;
            connected.map_err(|error| self.not_answered(error))?;
            return Ok(Some(client));
        }
        for socket in self.candidates() {
            let client = Client::new(&socket);
            if client.is_answered().await {
                return Ok(Some(client));
            }
        }
        Ok(None)
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

/// The service that commands use, if any.
pub(crate) async fn find(loaded: &Loaded) -> Result<Option<Client>, Error> {
    Target::of(loaded).service().await
}

/// Every service that answers on a known socket; the one that commands use comes first.
pub(crate) async fn all(loaded: &Loaded) -> Vec<Client> {
    let mut sockets = Target::of(loaded).candidates();
    sockets.push(SYSTEM_SOCKET.into());
    let mut answering = Vec::new();
    for socket in sockets {
        let client = Client::new(&socket);
        if client.is_answered().await {
            answering.push(client);
        }
    }
    answering
}
