//! Finding the service: the socket that is named, the user's own, the one that has the data
//! directory, the system's. Where none answers, commands do without.

use std::path::{Path, PathBuf};

use super::Failure;
use crate::client::Client;
use crate::config::Loaded;
use crate::store::directory::DataDirectory;

/// The system-wide service's socket.
const SYSTEM_SOCKET: &str = "/run/portbook/portbook.sock";

/// The service that commands speak to, or none. A socket that was named must be answered.
pub(super) async fn find(loaded: &Loaded) -> Result<Option<Client>, Failure> {
    let socket = &loaded.settings.socket;
    if !loaded.provenance.is_default("socket") {
        return named(socket).await.map(Some);
    }
    for socket in candidates(loaded) {
        let client = Client::new(&socket);
        if client.is_answered().await {
            return Ok(Some(client));
        }
    }
    Ok(None)
}

/// Every service that answers where one may be expected, the one that commands speak to first.
pub(super) async fn all(loaded: &Loaded) -> Vec<Client> {
    let mut sockets = candidates(loaded);
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

async fn named(socket: &Path) -> Result<Client, Failure> {
    let client = Client::new(socket);
    client.connect().await?;
    Ok(client)
}

fn candidates(loaded: &Loaded) -> Vec<PathBuf> {
    let settings = &loaded.settings;
    let mut sockets = vec![settings.socket.clone()];
    // Whoever has the lock wrote down where it answers.
    let holder = settings
        .data_dir
        .is_dir()
        .then(|| {
            DataDirectory::open(&settings.data_dir)
                .ok()?
                .holder()?
                .socket
        })
        .flatten();
    sockets.extend(holder);
    // A data directory of one's own means a service of one's own.
    if loaded.provenance.is_default("data_dir") {
        sockets.push(SYSTEM_SOCKET.into());
    }
    sockets.dedup();
    sockets
}
