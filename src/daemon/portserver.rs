//! The port server's door: where it listens.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use tokio::task::JoinHandle;

use super::listen::listen_on_socket;
use super::{StartError, failed};
use crate::config::Settings;
use crate::domain::local::LocalAddress;
use crate::engine::service::Service;
use crate::protocol::portserver::Portserver;

/// A port server that listens and does not answer yet.
pub(super) struct Listening {
    /// What answers.
    pub(super) server: Portserver,
    address: LocalAddress,
    listeners: Vec<tokio::net::UnixListener>,
}

impl Listening {
    /// Listens where the settings say, if they do.
    pub(super) fn open(service: &Service, settings: &Settings) -> Result<Option<Self>, StartError> {
        let portserver = &settings.portserver;
        let Some(address) = &portserver.address else {
            return Ok(None);
        };
        let listeners = match address {
            LocalAddress::Path(path) => vec![listen_on_socket(path, settings.socket_mode)?],
            LocalAddress::Abstract(name) => {
                let mut names = vec![name.as_bytes().to_vec()];
                names.extend(address.padded());
                let bound: io::Result<Vec<_>> = names.iter().map(|name| listen_at(name)).collect();
                bound.map_err(failed(format!(
                    "the port server's address {address}, where another port server may listen"
                )))?
            }
        };
        let listeners = listeners
            .into_iter()
            .map(tokio::net::UnixListener::from_std);
        let listeners: io::Result<Vec<_>> = listeners.collect();
        Ok(Some(Self {
            server: Portserver::new(service.clone(), &portserver.pool),
            address: address.clone(),
            listeners: listeners.map_err(failed("the port server"))?,
        }))
    }

    /// The socket's file, where it has one.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.address {
            LocalAddress::Path(path) => Some(path),
            LocalAddress::Abstract(_) => None,
        }
    }

    /// Answers from now on.
    pub(super) fn start(self) -> Vec<JoinHandle<()>> {
        tracing::info!(address = %self.address, "the port server listens");
        let server = self.server;
        let serve = |listener| tokio::spawn(server.clone().serve(listener));
        self.listeners.into_iter().map(serve).collect()
    }
}

fn listen_at(name: &[u8]) -> io::Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(name)?;
    let listener = UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Tells the statistics in the log, as the reference program does.
pub(super) fn tell_statistics(server: Option<&Portserver>) {
    let Some(server) = server else { return };
    tracing::info!("port server statistics:");
    for line in server.statistics() {
        tracing::info!("{line}");
    }
}
