//! The service as a process: it is built, listens, and runs until it is told to stop.

mod chores;
mod console;
mod fdstore;
mod given;
mod listen;
mod notify;
mod portserver;
mod signals;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, RwLock};

use actix_web::dev::Server;
use actix_web::web::Data;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::access::session::Sessions;
use crate::access::{ConsoleAuth, Token};
use crate::api::AppState;
use crate::config::{Loaded, Settings, Sources};
use crate::engine::refusal::Refusal;
use crate::engine::service::{Mode, Service};
use crate::host::clock::Clock;
use crate::host::process;
use crate::host::supervisor::Supervisor;
use crate::protocol::descriptor;
use crate::store::directory::{DataDirectory, Lock};
use crate::store::{Store, StoreError, StoreOptions};

use console::announce;
pub use given::Given;
use given::pass_on;
use listen::{Activated, server};
use notify::{keep_alive, ready, tell};
use signals::{Signals, Stop, Successor, obey};

/// Limit on requests under way once the service is told to stop, in seconds.
const GRACE_SECONDS: u64 = 5;

/// A reason for the service not to start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the console found no port: {0}")]
    Console(#[source] Refusal),
    #[error("the leases on record could not be taken up: {0}")]
    Restore(#[source] Refusal),
    /// A file, a socket or a signal handler.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("a portbook service already answers on {0}; stop it, or give another --socket")]
    SocketInUse(PathBuf),
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

/// A service that listens, and all that is needed to stop it again.
pub struct Daemon {
    state: Data<AppState>,
    sources: Sources,
    /// Files to remove at the end: those of sockets that it made, and of the console's URL.
    own_files: Vec<PathBuf>,
    server: Server,
    signals: Signals,
    writer: JoinHandle<()>,
    descriptors: tokio::net::UnixListener,
    portserver: Option<portserver::Listening>,
    supervisor: Option<Supervisor>,
    /// Held for as long as the service runs.
    lock: Lock,
}

impl Daemon {
    /// Takes the data directory, restores the leases, and listens. `given` are the sockets that
    /// were kept for this start. Must run on an actix system.
    pub async fn build(
        sources: Sources,
        loaded: Loaded,
        mut given: Given,
    ) -> Result<Self, StartError> {
        // First, since a signal may come as soon as it shows that the service runs.
        let signals = Signals::listen().map_err(failed("signal handlers"))?;
        let settings = Arc::new(loaded.settings.clone());
        let (directory, lock) = take_directory(&settings).await?;
        let (service, writer) = engine(&directory, &settings).await?;
        let supervisor = Supervisor::of_environment();
        fdstore::keep_copies(&service, supervisor.as_ref());
        let mut activated = Activated::among(&mut given.by_supervisor);
        let of_portserver = portserver::PassedOn::among(&mut given.by_predecessor);
        take_up_leases(&service, given).await?;
        let state = Data::new(app_state(&service, loaded));
        let auth = console_auth(&state, &directory, &settings)?;
        let console = console::land(&state, &settings).await?;
        let mut own_files = vec![directory.console()];
        let (socket, descriptors) = activated.listen_all(&settings, &mut own_files)?;
        let portserver = portserver::Listening::open(&service, &settings, of_portserver)?;
        let mut listeners = Vec::new();
        if let Some((lease, taken)) = console {
            announce(&state, &directory, &lease)?;
            listeners = taken;
        }
        Ok(Self {
            server: server(&state, &auth, &settings, listeners, socket)?,
            state,
            sources,
            own_files,
            signals,
            writer,
            descriptors,
            portserver,
            supervisor,
            lock,
        })
    }

    /// URL of the console, if it is enabled.
    pub fn console(&self) -> Option<&str> {
        self.state.console.get().map(String::as_str)
    }

    /// Serves until SIGTERM or SIGINT or until another service takes over, then answers the
    /// requests under way, writes what waits, and returns. A second signal ends the waiting. SIGHUP
    /// reads the configuration again.
    pub async fn run(self) -> Result<(), StartError> {
        let service = self.state.service.clone();
        let successor = Successor::default();
        let (takeover, takeovers) = mpsc::channel(1);
        tell(self.supervisor.as_ref(), &ready(&self.state));
        let portserver = self.portserver.map(portserver::Listening::start);
        let stop = Stop {
            server: self.server.handle(),
            takeovers,
            successor: successor.clone(),
            portserver: portserver.as_ref().map(|it| it.server.clone()),
            supervisor: self.supervisor.clone(),
        };
        let mut tasks = chores::start(&service);
        tasks.extend([
            tokio::spawn(keep_alive(self.supervisor.clone())),
            tokio::spawn(descriptor::serve(
                self.descriptors,
                service.clone(),
                takeover,
            )),
            tokio::spawn(obey(self.signals, stop, self.state.clone(), self.sources)),
        ]);
        let served = self.server.await;
        tell(self.supervisor.as_ref(), "STOPPING=1");
        let of_portserver = portserver.iter().flat_map(|it| &it.tasks);
        tasks
            .iter()
            .chain(of_portserver)
            .for_each(JoinHandle::abort);
        service.settle_history().await;
        service.store().close().await;
        // The writer ends once it has written what waits.
        drop(self.writer.await);
        let passed_on = portserver.map(|portserver| portserver.stop(successor.get().is_some()));
        for file in self.own_files {
            drop(std::fs::remove_file(file));
        }
        if let Some(successor) = successor.get() {
            pass_on(successor, &service, &passed_on.unwrap_or_default()).await;
        }
        // Before the successor hears the end: it takes the directory next.
        drop(self.lock);
        drop(successor);
        tracing::info!("stopped");
        served.map_err(failed("the HTTP server"))
    }
}

/// Takes up the leases on record, with the holds among the given sockets, and looks at the ports.
async fn take_up_leases(service: &Service, given: Given) -> Result<(), StartError> {
    service.accept_given(given.into_sockets());
    let restored = service.restore().await.map_err(StartError::Restore)?;
    tracing::info!(
        kept = restored.kept,
        ended = restored.ended,
        lost = restored.lost,
        "leases on record taken up"
    );
    // Before the first request for a port: a look takes less than a refused bind with its search
    // for the occupant.
    if let Err(error) = service.take_snapshot().await {
        tracing::warn!(%error, "could not look at the ports; the next look is due soon");
    }
    Ok(())
}

fn app_state(service: &Service, loaded: Loaded) -> AppState {
    AppState {
        service: service.clone(),
        loaded: Arc::new(RwLock::new(Arc::new(loaded))),
        console: Arc::new(OnceLock::new()),
        uid: rustix::process::geteuid().as_raw(),
    }
}

/// Opens the console's token, and a place for its sessions.
fn console_auth(
    state: &AppState,
    directory: &DataDirectory,
    settings: &Settings,
) -> Result<Data<Arc<ConsoleAuth>>, StartError> {
    let token = Token::open(&directory.token()).map_err(failed("the console's token"))?;
    Ok(Data::new(Arc::new(ConsoleAuth {
        token,
        uid: state.uid,
        extra_hosts: settings.console.allowed_hosts.clone(),
        sessions: Sessions::new(state.service.clock().clone()),
    })))
}

async fn take_directory(settings: &Settings) -> Result<(DataDirectory, Lock), StartError> {
    let directory = DataDirectory::open(&settings.data_dir)?;
    // A command keeps the lock for a moment; a service signs it and keeps it.
    let taken = directory.lock().await?;
    let mut lock = taken.map_err(|holder| directory.in_use(holder))?;
    lock.sign(std::process::id(), &settings.socket)
        .map_err(failed("the data directory's lock"))?;
    Ok((directory, lock))
}

async fn engine(
    directory: &DataDirectory,
    settings: &Arc<Settings>,
) -> Result<(Service, JoinHandle<()>), StartError> {
    let options = StoreOptions {
        boot_id: process::boot_id().map_err(failed("the kernel's boot id"))?,
        machine_id: process::machine_id(),
        batch_max: settings.store.batch_max.get() as usize,
        checkpoint_interval: Some(settings.store.checkpoint_interval),
    };
    let (store, writer) = Store::open(&directory.database()?, options).await?;
    let settings = Arc::clone(settings);
    let rng = fastrand::Rng::new();
    let service = Service::new(Mode::Serving, settings, store, Clock::system(), rng);
    Ok((service, writer))
}
