//! The port server's sockets.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::sync::Arc;

use super::doors::{Doors, Kind, Stream};
use super::given::PassedOn;
use super::http::Workers;
use super::listen::listen_on_socket;
use super::{StartError, failed};
use crate::config::Settings;
use crate::domain::local::LocalAddress;
use crate::engine::service::Service;
use crate::protocol::portserver::Portserver;

/// A port server and its sockets.
pub(super) struct Listening {
    server: Portserver,
    address: LocalAddress,
    listeners: Vec<UnixListener>,
}

impl Listening {
    /// Listens at the address of the settings, if there is one, and takes the sockets that a
    /// predecessor passed on.
    pub(super) fn open(
        service: &Service,
        settings: &Settings,
        passed_on: &mut PassedOn,
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
        Ok(Some(Self {
            server: Portserver::new(service.clone(), &portserver.pool),
            address: address.clone(),
            listeners,
        }))
    }

    /// Puts its sockets among the doors, whose connections the threads of the HTTP server answer.
    pub(super) fn serve_at(self, doors: &Doors, workers: &Arc<Workers>) -> Portserver {
        tracing::info!(address = %self.address, "the port server listens");
        for listener in self.listeners {
            let (server, workers) = (self.server.clone(), Arc::clone(workers));
            doors.add(Kind::Portserver, listener, move |stream, connection| {
                let server = server.clone();
                workers.spawn(async move {
                    if let Stream::Unix(stream) = stream {
                        server.serve(stream).await;
                    }
                    drop(connection);
                });
            });
        }
        self.server
    }
}

/// File of the port server's socket. `None` for abstract names.
pub(super) fn file(settings: &Settings) -> Option<PathBuf> {
    match &settings.portserver.address {
        Some(LocalAddress::Path(path)) => Some(path.clone()),
        _ => None,
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
