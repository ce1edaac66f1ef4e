//! The service as a process: build → listen → run until told to stop.

mod console;
mod fdstore;
mod listen;
mod portserver;
mod signals;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};

use actix_web::dev::Server;
use actix_web::web::Data;
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::access::session::Sessions;
use crate::access::{ConsoleAuth, Token};
use crate::api::AppState;
use crate::config::{Loaded, Settings, Sources};
use crate::domain::event::EventKind;
use crate::engine::refusal::Refusal;
use crate::engine::service::{Mode, Service};
use crate::host::clock::Clock;
use crate::host::hold::GivenSockets;
use crate::host::supervisor::Supervisor;
use crate::host::{interface, process, readiness::Readiness};
use crate::protocol::descriptor::{self, beside};
use crate::store::directory::{DataDirectory, Lock};
use crate::store::{Store, StoreError, StoreOptions};

use console::{announce, land};
use listen::{Activated, server};
use signals::{Signals, Stop, Successor, obey};

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
    face: Data<AppState>,
    sources: Sources,
    /// What goes with it.
    own_files: Vec<PathBuf>,
    server: Server,
    signals: Signals,
    writer: JoinHandle<()>,
    descriptors: UnixListener,
    portserver: Option<portserver::Listening>,
    supervisor: Option<Supervisor>,
    /// Held for as long as the service runs.
    lock: Lock,
}

impl Daemon {
    /// Takes the data directory, restores the leases, and listens. `given` are the sockets of holds
    /// that were kept for this start. Must run on an actix system.
    pub async fn build(
        sources: Sources,
        loaded: Loaded,
        mut given: Given,
    ) -> Result<Self, StartError> {
        // Before anybody can learn that it runs and send one.
        let signals = Signals::listen().map_err(failed("signal handlers"))?;
        let settings = Arc::new(loaded.settings.clone());
        let (directory, lock) = take_directory(&settings).await?;
        let (service, writer) = engine(&directory, &settings).await?;
        let supervisor = Supervisor::of_environment();
        if let Some(supervisor) = &supervisor {
            keep_copies(&service, supervisor);
        }
        let mut activated = Activated::among(&mut given.by_supervisor);
        let of_portserver = portserver::PassedOn::among(&mut given.by_predecessor);
        service.accept_given(given.into_sockets());
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
        let face = Data::new(AppState {
            service: service.clone(),
            loaded: Arc::new(RwLock::new(Arc::new(loaded))),
            console: Arc::new(OnceLock::new()),
            uid,
        });
        let token = Token::open(&directory.token()).map_err(failed("the console's token"))?;
        let door = Data::new(Arc::new(ConsoleAuth {
            token,
            uid,
            extra_hosts: settings.console.allowed_hosts.clone(),
            sessions: Sessions::new(service.clock().clone()),
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
        let (mut own_files, mode) = (vec![directory.console()], settings.socket_mode);
        let socket = activated.listen(&settings.socket, mode, &mut own_files)?;
        let descriptors = beside(&settings.socket);
        let descriptors = activated.listen(&descriptors, mode, &mut own_files)?;
        let descriptors = UnixListener::from_std(descriptors).map_err(failed("the socket"))?;
        let portserver = portserver::Listening::open(&service, &settings, of_portserver)?;
        let mut listeners = Vec::new();
        if let Some((lease, taken)) = console {
            announce(&face, &directory, &lease)?;
            listeners = taken;
        }
        let server = server(&face, &door, &settings, listeners, socket)?;
        Ok(Self {
            face,
            sources,
            own_files,
            server,
            signals,
            writer,
            descriptors,
            portserver,
            supervisor,
            lock,
        })
    }

    /// Where the console landed, if it is enabled.
    pub fn console(&self) -> Option<&str> {
        self.face.console.get().map(String::as_str)
    }

    /// Serves until SIGTERM or SIGINT or until another service takes over, then answers what is
    /// under way, writes what waits, and returns. A second signal ends the waiting. SIGHUP reads the
    /// configuration again.
    pub async fn run(self) -> Result<(), StartError> {
        let service = self.face.service.clone();
        let heir = Successor::default();
        let (takeover, takeovers) = mpsc::channel(1);
        tell(self.supervisor.as_ref(), &ready(&self.face));
        let chores = chores(&service);
        let of_portserver = self.portserver.as_ref();
        let portserver = of_portserver.map(|listening| listening.server.clone());
        let its_file = of_portserver.and_then(|listening| listening.file().map(Path::to_owned));
        let its_sockets = of_portserver.map_or_else(Vec::new, portserver::Listening::copies);
        let its_tasks = self.portserver.map(portserver::Listening::start);
        let tasks = [
            tokio::spawn(tell_interface_changes(service.clone())),
            tokio::spawn(keep_alive(self.supervisor.clone())),
            tokio::spawn(descriptor::serve(
                self.descriptors,
                service.clone(),
                takeover,
            )),
            tokio::spawn(obey(
                self.signals,
                Stop {
                    server: self.server.handle(),
                    takeovers,
                    heir: heir.clone(),
                    portserver: portserver.clone(),
                    supervisor: self.supervisor.clone(),
                },
                self.face.clone(),
                self.sources,
            )),
        ];
        let served = self.server.await;
        tell(self.supervisor.as_ref(), "STOPPING=1");
        let its_tasks = its_tasks.unwrap_or_default();
        for task in tasks.iter().chain(&chores).chain(&its_tasks) {
            task.abort();
        }
        service.settle_history().await;
        service.store().close().await;
        // The writer ends by itself once it has written what waits.
        drop(self.writer.await);
        portserver::tell_statistics(portserver.as_ref());
        // Who takes over goes on listening there.
        let its_file = its_file.filter(|_| heir.get().is_none());
        for file in self.own_files.into_iter().chain(its_file) {
            drop(std::fs::remove_file(file));
        }
        if let Some(heir) = heir.get() {
            pass_on(heir, &service, &its_sockets).await;
        }
        // Before the heir hears that all is said: it takes the directory next.
        drop(self.lock);
        drop(heir);
        tracing::info!("stopped");
        served.map_err(failed("the HTTP server"))
    }
}

/// What the service does by itself while it answers.
fn chores(service: &Service) -> [JoinHandle<()>; 8] {
    fn keep<F>(service: &Service, chore: impl FnOnce(Service) -> F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(chore(service.clone()))
    }
    [
        keep(
            service,
            |service| async move { service.run_deadlines().await },
        ),
        keep(
            service,
            |service| async move { service.run_observer().await },
        ),
        keep(service, |service| async move {
            service.regain_holds().await;
        }),
        keep(service, |service| async move {
            service.keep_in_repair().await;
        }),
        keep(service, |service| async move {
            service.keep_folders().await;
        }),
        keep(service, |service| async move {
            service.keep_record_short().await;
        }),
        keep(service, |service| async move {
            service.run_snapshots().await;
        }),
        keep(service, |service| async move {
            service.keep_history().await;
        }),
    ]
}

/// Sockets of holds that were kept for this start.
#[derive(Debug, Default)]
pub struct Given {
    /// By a supervisor, with its names for them.
    pub by_supervisor: Vec<(String, OwnedFd)>,
    /// By the service that this one takes over from.
    pub by_predecessor: Vec<OwnedFd>,
}

impl Given {
    fn into_sockets(self) -> GivenSockets {
        let mut given = fdstore::holds_among(self.by_supervisor);
        for socket in self.by_predecessor {
            given.add(None, socket);
        }
        given
    }
}

/// Has a supervisor keep copies of all holds.
fn keep_copies(service: &Service, supervisor: &Supervisor) {
    let socket = supervisor.socket().and_then(UnixDatagram::from_std);
    match socket {
        Ok(socket) => {
            let (tell, news) = mpsc::unbounded_channel();
            service.tell_of_holds(tell);
            tokio::spawn(fdstore::keep(socket, news));
        }
        Err(error) => tracing::warn!(%error, "the supervisor keeps no copies of holds"),
    }
}

fn tell(supervisor: Option<&Supervisor>, text: &str) {
    if let Some(supervisor) = supervisor {
        supervisor.tell(text);
    }
}

/// What a supervisor is told once the service answers.
fn ready(face: &AppState) -> String {
    let status = face.console.get().map_or_else(
        || "no console".to_owned(),
        |url| format!("the console listens at {url}"),
    );
    format!("READY=1\nSTATUS={status}")
}

/// Tells a supervisor that the service still runs, if it wants to hear that, for as long as it is
/// polled: what no longer polls is started anew.
async fn keep_alive(supervisor: Option<Supervisor>) {
    let (Some(supervisor), Some(interval)) = (supervisor, Supervisor::watchdog_interval()) else {
        return;
    };
    let mut rounds = tokio::time::interval(interval);
    loop {
        rounds.tick().await;
        supervisor.tell("WATCHDOG=1");
    }
}

/// Passes every hold on to the service that takes over, and what else it is to listen on.
async fn pass_on(heir: &UnixStream, service: &Service, others: &[OwnedFd]) {
    let holds = service.all_holds();
    let others = others.iter().map(AsFd::as_fd);
    let sockets = holds.iter().flat_map(|hold| hold.descriptors());
    let sockets: Vec<BorrowedFd<'_>> = sockets.chain(others).collect();
    match descriptor::pass_on(heir, &sockets).await {
        Ok(()) => tracing::info!(
            holds = holds.len(),
            "passed on to the service that takes over"
        ),
        Err(error) => tracing::error!(%error, "whoever took over did not get all holds"),
    }
}

async fn take_directory(settings: &Settings) -> Result<(DataDirectory, Lock), StartError> {
    let directory = DataDirectory::open(&settings.data_dir)?;
    // A command has the lock for a moment; a service has signed it and keeps it.
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
    service.note_watching();
    while readiness.readable().await.is_ok() {
        if changes.drain() {
            let detail = "interfaces or addresses changed";
            service.journal().other(EventKind::Interfaces, None, detail);
            service.compare_addresses().await;
        }
    }
}
