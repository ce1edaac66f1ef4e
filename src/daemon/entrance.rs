//! The entrance of a service: its doors, and all that answers there.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::web::Data;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::doors::{Doors, Kind, Listener};
use super::given::PassedOn;
use super::http::Workers;
use super::listen::Activated;
use super::{StartError, failed, portserver};
use crate::access::ConsoleAuth;
use crate::api::AppState;
use crate::config::Settings;
use crate::engine::service::Service;
use crate::protocol::descriptor;
use crate::protocol::portserver::Portserver;

/// Maximum number of processes that wait to take over.
const ASKERS: usize = 16;

/// Doors, shut so far, and their parts.
pub(super) struct Entrance {
    pub(super) doors: Arc<Doors>,
    pub(super) workers: Arc<Workers>,
    /// Processes that ask to take over.
    pub(super) takeovers: mpsc::Receiver<UnixStream>,
    pub(super) portserver: Option<Portserver>,
    /// Files of sockets that the service or its predecessor made.
    pub(super) files: Vec<PathBuf>,
}

impl Entrance {
    /// Listens on every socket but the console's.
    pub(super) fn build(
        state: &Data<AppState>,
        auth: &Data<Arc<ConsoleAuth>>,
        settings: &Settings,
        mut activated: Activated,
        mut passed_on: PassedOn,
    ) -> Result<Self, StartError> {
        let service = &state.service;
        let mut files = Vec::new();
        let (api, descriptors) = activated.listen_all(settings, &mut passed_on, &mut files)?;
        let portserver = portserver::Listening::open(service, settings, &mut passed_on)?;
        let doors = Doors::new().map_err(failed("a thread that accepts connections"))?;
        let workers = Workers::start(settings.console.workers.get(), state, auth);
        let workers = workers.map_err(failed("the threads of the HTTP server"))?;
        files.extend(portserver::file(settings));
        let takeovers = serve_descriptors(&doors, service, descriptors);
        let entrance = Self {
            portserver: portserver.map(|portserver| portserver.serve_at(&doors, &workers)),
            doors,
            workers,
            takeovers,
            files,
        };
        entrance.serve_http(Kind::Api, api);
        Ok(entrance)
    }

    /// Adds a door behind which the HTTP server answers.
    pub(super) fn serve_http(&self, kind: Kind, listener: impl Into<Listener>) {
        let workers = Arc::clone(&self.workers);
        self.doors.add(kind, listener, move |stream, connection| {
            workers.take(stream, connection);
        });
    }
}

/// Adds the door for descriptors; returns those who ask there to take over.
fn serve_descriptors(
    doors: &Doors,
    service: &Service,
    listener: UnixListener,
) -> mpsc::Receiver<UnixStream> {
    let (takeover, takeovers) = mpsc::channel(ASKERS);
    let (service, runtime) = (service.clone(), Handle::current());
    doors.add(Kind::Descriptors, listener, move |stream, connection| {
        let (service, takeover) = (service.clone(), takeover.clone());
        runtime.spawn(async move {
            if let Some(stream) = stream.unix() {
                descriptor::serve(stream, &service, &takeover).await;
            }
            drop(connection);
        });
    });
    takeovers
}
