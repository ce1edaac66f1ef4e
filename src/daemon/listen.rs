//! The Unix socket and the console, with the peer of each connection.

use std::any::Any;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::dev::{Extensions, Server};
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::web::Data;
use actix_web::{App, HttpServer, middleware, web};

use crate::access::{self, ConsoleAuth, ConsolePeer, Peer};
use crate::api::{self, AppState};
use crate::config::Settings;
use crate::protocol::descriptor;

use super::{GRACE_SECONDS, StartError, failed};

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
    /// the service makes are added to `own`.
    pub(super) fn listen_all(
        &mut self,
        settings: &Settings,
        own: &mut Vec<PathBuf>,
    ) -> Result<(UnixListener, tokio::net::UnixListener), StartError> {
        let mode = settings.socket_mode;
        let api = self.listen(&settings.socket, mode, own)?;
        let descriptors = self.listen(&descriptor::beside(&settings.socket), mode, own)?;
        let descriptors = tokio::net::UnixListener::from_std(descriptors);
        Ok((api, descriptors.map_err(failed("the descriptor socket"))?))
    }

    /// Returns the socket that listens at a path, or binds one, which the service has to remove.
    fn listen(
        &mut self,
        path: &Path,
        mode: u32,
        own: &mut Vec<PathBuf>,
    ) -> Result<UnixListener, StartError> {
        let is_there = |socket: &UnixListener| {
            let address = socket.local_addr();
            address.is_ok_and(|address| address.as_pathname() == Some(path))
        };
        let Some(index) = self.0.iter().position(is_there) else {
            own.push(path.to_owned());
            return listen_on_socket(path, mode);
        };
        let socket = self.0.swap_remove(index);
        let what = failed(format!("the API socket {}", path.display()));
        socket.set_nonblocking(true).map_err(what)?;
        Ok(socket)
    }
}

pub(super) fn server(
    state: &Data<AppState>,
    auth: &Data<Arc<ConsoleAuth>>,
    settings: &Settings,
    console: Vec<TcpListener>,
    socket: UnixListener,
) -> Result<Server, StartError> {
    let (state, auth) = (state.clone(), auth.clone());
    let mut server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(auth.clone())
            .wrap(middleware::from_fn(access::check))
            .wrap(middleware::from_fn(crate::dashboard::as_page))
            .wrap(middleware::from_fn(api::trace::request))
            .configure(api::routes)
            .configure(crate::dashboard::routes)
            .default_service(web::to(api::not_found))
    })
    .workers(settings.console.workers.get())
    .shutdown_timeout(GRACE_SECONDS)
    // A client that hangs up waits for no answer, and must not keep a place in a queue.
    .h1_allow_half_closed(false)
    .disable_signals()
    .on_connect(note_peer)
    .listen_uds(socket)
    .map_err(failed("the API socket"))?;
    for listener in console {
        listener
            .set_nonblocking(true)
            .map_err(failed("the console"))?;
        server = server.listen(listener).map_err(failed("the console"))?;
    }
    Ok(server.run())
}

/// Notes the peer of a connection. The kernel names it, so it cannot be forged.
fn note_peer(connection: &dyn Any, data: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>()
        && let (Ok(client), Ok(server)) = (stream.peer_addr(), stream.local_addr())
    {
        data.insert(Peer::Console(ConsolePeer::new(client, server)));
    }
    let Some(stream) = connection.downcast_ref::<UnixStream>() else {
        return;
    };
    // Without credentials the connection gets no peer, and every request is refused.
    if let Ok(credentials) = stream.peer_cred() {
        data.insert(Peer::Local(access::peer(&credentials)));
    }
}
