//! The port server's door: where it listens.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
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
    /// Listens where the settings say, if they do: on what a predecessor passed on, where that is
    /// there.
    pub(super) fn open(
        service: &Service,
        settings: &Settings,
        mut passed_on: PassedOn,
    ) -> Result<Option<Self>, StartError> {
        let portserver = &settings.portserver;
        let Some(address) = &portserver.address else {
            return Ok(None);
        };
        let listeners = match address {
            LocalAddress::Path(path) => vec![match passed_on.at_path(path) {
                Some(listener) => listener,
                None => listen_on_socket(path, settings.socket_mode)?,
            }],
            LocalAddress::Abstract(name) => {
                let mut names = vec![name.as_bytes().to_vec()];
                names.extend(address.padded());
                let listen = |name: &Vec<u8>| match passed_on.named(name) {
                    Some(listener) => Ok(listener),
                    None => listen_at(name),
                };
                let bound: io::Result<Vec<_>> = names.iter().map(listen).collect();
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

    /// Copies of its sockets, for a service that takes over: who connects in between waits for that
    /// one's answer.
    pub(super) fn copies(&self) -> Vec<OwnedFd> {
        let copies = self
            .listeners
            .iter()
            .map(|it| it.as_fd().try_clone_to_owned());
        copies.collect::<io::Result<_>>().unwrap_or_else(|error| {
            tracing::warn!(%error, "the port server's sockets cannot be passed on");
            Vec::new()
        })
    }

    /// Answers from now on.
    pub(super) fn start(self) -> Vec<JoinHandle<()>> {
        tracing::info!(address = %self.address, "the port server listens");
        let server = self.server;
        let serve = |listener| tokio::spawn(server.clone().serve(listener));
        self.listeners.into_iter().map(serve).collect()
    }
}

/// What the port server of a predecessor listened on.
pub(super) struct PassedOn(Vec<UnixListener>);

impl PassedOn {
    /// Takes them out of all the sockets that it passed on.
    pub(super) fn among(sockets: &mut Vec<OwnedFd>) -> Self {
        let is_unix = |socket: &mut OwnedFd| {
            let family = rustix::net::sockopt::socket_domain(socket);
            family.is_ok_and(|family| family == rustix::net::AddressFamily::UNIX)
        };
        let found = sockets.extract_if(.., is_unix);
        Self(found.map(UnixListener::from).collect())
    }

    fn named(&mut self, name: &[u8]) -> Option<UnixListener> {
        self.take(|address| address.as_abstract_name() == Some(name))
    }

    fn at_path(&mut self, path: &Path) -> Option<UnixListener> {
        // The kernel remembers the name that it was bound under before it was put in place.
        let first = path.with_extension("new");
        self.take(|address| address.as_pathname() == Some(&first))
    }

    fn take(&mut self, is_meant: impl Fn(&SocketAddr) -> bool) -> Option<UnixListener> {
        let listens = |it: &UnixListener| it.local_addr().is_ok_and(|at| is_meant(&at));
        let index = self.0.iter().position(listens)?;
        Some(self.0.swap_remove(index))
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
