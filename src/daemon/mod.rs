//! The service as a process: build → listen → run until told to stop.

mod console;
mod listen;
mod signals;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::web::Data;
use tokio::task::JoinHandle;

use crate::access::{Door, Token};
use crate::api::Face;
use crate::config::{Loaded, Settings, Sources};
use crate::domain::event::EventKind;
use crate::engine::refusal::Refusal;
use crate::engine::service::{Mode, Service};
use crate::host::clock::Clock;
use crate::host::{interface, process, readiness::Readiness};
use crate::store::directory::{DataDirectory, Lock};
use crate::store::{Store, StoreError, StoreOptions};

use console::{announce, land};
use listen::{listen_on_socket, server};
use signals::{Signals, obey};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long to wait for a command that has the data directory for a moment.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests under way may take once the service is told to stop.
const GRACE_SECONDS: u64 = 5;

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The record or its directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The console found no port.
    #[error("the console found no port: {0}")]
    Console(#[source] Refusal),
    /// The leases on record could not be taken up.
    #[error("the leases on record could not be taken up: {0}")]
    Restore(#[source] Refusal),
    /// A file, a socket or a signal handler.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another service has the API socket.
    #[error("a portbook service already answers on {0}; stop it, or give another --socket")]
    SocketInUse(PathBuf),
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

/// A service that listens, and everything needed to stop it again.
pub struct Daemon {
    face: Data<Face>,
    sources: Sources,
    directory: DataDirectory,
    socket: PathBuf,
    server: Server,
    signals: Signals,
    writer: JoinHandle<()>,
    /// Held for as long as the service runs.
    _lock: Lock,
}

impl Daemon {
    /// Takes the data directory, restores the leases, and listens. Must run on an actix system.
    pub async fn build(sources: Sources, loaded: Loaded) -> Result<Self, StartError> {
        // Before anybody can learn that it runs and send one.
        let signals = Signals::listen().map_err(failed("signal handlers"))?;
        let settings = Arc::new(loaded.settings.clone());
        let (directory, lock) = take_directory(&settings).await?;
        let (service, writer) = engine(&directory, &settings).await?;
        let restored = service.restore().await.map_err(StartError::Restore)?;
        tracing::info!(
            kept = restored.kept,
            ended = restored.ended,
            lost = restored.lost,
            "leases on record taken up"
        );
        // Before anybody asks for a port: a look takes less than a refused bind with its search for
        // who is in the way.
        if let Err(error) = service.take_snapshot().await {
            tracing::warn!(%error, "no occupancy snapshot");
        }
        let uid = rustix::process::geteuid().as_raw();
        let face = Data::new(Face {
            service: service.clone(),
            loaded: Arc::new(RwLock::new(Arc::new(loaded))),
            console: Arc::new(OnceLock::new()),
            uid,
        });
        let token = Token::open(&directory.token()).map_err(failed("the console's token"))?;
        let door = Data::new(Arc::new(Door {
            token,
            uid,
            extra_hosts: settings.console.allowed_hosts.clone(),
        }));
        let console = if settings.console.enabled {
            Some(
                land(&service, &settings, uid)
                    .await
                    .map_err(StartError::Console)?,
            )
        } else {
            None
        };
        let socket = listen_on_socket(&settings.socket, settings.socket_mode)?;
        let mut listeners = Vec::new();
        if let Some((lease, taken)) = console {
            announce(&face, &directory, &lease)?;
            listeners = taken;
        }
        let server = server(&face, &door, &settings, listeners, socket)?;
        Ok(Self {
            face,
            sources,
            directory,
            socket: settings.socket.clone(),
            server,
            signals,
            writer,
            _lock: lock,
        })
    }

    /// Where the console landed, if it is enabled.
    pub fn console(&self) -> Option<&str> {
        self.face.console.get().map(String::as_str)
    }

    /// Serves until SIGTERM or SIGINT, then answers what is under way, writes what waits, and
    /// returns. A second signal ends the waiting. SIGHUP reads the configuration again.
    pub async fn run(self) -> Result<(), StartError> {
        let service = self.face.service.clone();
        let tasks = [
            tokio::spawn({
                let service = service.clone();
                async move { service.keep_time().await }
            }),
            tokio::spawn({
                let service = service.clone();
                async move { service.keep_watch().await }
            }),
            tokio::spawn({
                let service = service.clone();
                async move { service.regain_holds().await }
            }),
            tokio::spawn({
                let service = service.clone();
                async move { service.keep_looking().await }
            }),
            tokio::spawn({
                let service = service.clone();
                async move { service.keep_history().await }
            }),
            tokio::spawn(tell_interface_changes(service.clone())),
            tokio::spawn(obey(
                self.signals,
                self.server.handle(),
                self.face.clone(),
                self.sources,
            )),
        ];
        let served = self.server.await;
        for task in &tasks {
            task.abort();
        }
        service.settle_history().await;
        service.store().close().await;
        // The writer ends by itself once it has written what waits.
        drop(self.writer.await);
        for file in [self.directory.console(), self.socket] {
            drop(std::fs::remove_file(file));
        }
        tracing::info!("stopped");
        served.map_err(failed("the HTTP server"))
    }
}

async fn take_directory(settings: &Settings) -> Result<(DataDirectory, Lock), StartError> {
    let directory = DataDirectory::open(&settings.data_dir)?;
    // A command has the lock for a moment; a service has signed it and keeps it.
    let taken = directory.lock_within(LOCK_TIMEOUT).await?;
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

/// Puts changes of the host's interfaces into the journal as the kernel reports them.
async fn tell_interface_changes(service: Service) {
    let watched = interface::watch().and_then(|changes| {
        let readiness = Readiness::of(rustix::io::fcntl_dupfd_cloexec(&changes, 0)?)?;
        Ok((changes, readiness))
    });
    let (changes, readiness) = match watched {
        Ok(watched) => watched,
        Err(error) => {
            tracing::warn!(%error, "interface changes will not be told as they happen");
            return;
        }
    };
    while readiness.readable().await.is_ok() {
        if changes.drain() {
            let detail = "interfaces or addresses changed";
            service.journal().other(EventKind::Interfaces, None, detail);
            service.compare_addresses().await;
        }
    }
}
