//! The port server's sockets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use super::listen::listen_on_socket;
use super::{StartError, failed};
use crate::config::Settings;
use crate::domain::local::LocalAddress;
use crate::engine::service::Service;
use crate::protocol::portserver::Portserver;

/// A port server that listens and does not answer yet.
pub(super) struct Listening {
    server: Portserver,
    address: LocalAddress,
    listeners: Vec<tokio::net::UnixListener>,
}

impl Listening {
    /// Listens at the address of the settings, if there is one, and takes the sockets that a
    /// predecessor passed on.
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

    /// Answers from now on.
    pub(super) fn start(self) -> Serving {
        tracing::info!(address = %self.address, "the port server listens");
        let copies = self.listeners.iter();
        let copies = copies.map(|it| it.as_fd().try_clone_to_owned());
        let sockets = copies.collect::<io::Result<_>>().unwrap_or_else(|error| {
            tracing::warn!(%error, "could not copy the port server's sockets; a service that takes over binds them anew");
            Vec::new()
        });
        let serve = |listener| tokio::spawn(self.server.clone().serve(listener));
        let tasks = self.listeners.into_iter().map(serve).collect();
        Serving {
            file: match self.address {
                LocalAddress::Path(path) => Some(path),
                LocalAddress::Abstract(_) => None,
            },
            server: self.server,
            sockets,
            tasks,
        }
    }
}

/// A port server that answers.
pub(super) struct Serving {
    pub(super) server: Portserver,
    /// Copies of its sockets, for a service that takes over: clients that connect in between wait for
    /// the answer of that one.
    sockets: Vec<OwnedFd>,
    /// File of its socket. `None` for abstract names.
    file: Option<PathBuf>,
    pub(super) tasks: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Returns the sockets for a successor. Without one their file is removed. Its tasks must have
    /// been aborted.
    pub(super) fn stop(self, has_successor: bool) -> Vec<OwnedFd> {
        log_statistics(Some(&self.server));
        if let Some(file) = self.file.filter(|_| !has_successor) {
            drop(std::fs::remove_file(file));
        }
        self.sockets
    }
}

/// Sockets of the port server of a predecessor.
pub(super) struct PassedOn(Vec<UnixListener>);

impl PassedOn {
    /// Takes them out of all sockets that were passed on.
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

/// Logs the statistics, as the reference program does.
pub(super) fn log_statistics(server: Option<&Portserver>) {
    let Some(server) = server else { return };
    tracing::info!("port server statistics:");
    for line in server.statistics() {
        tracing::info!("{line}");
    }
}
