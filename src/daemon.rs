//! The service as a process: build → listen → run until told to stop.

use std::any::Any;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use actix_web::dev::{Extensions, Server, ServerHandle};
use actix_web::rt::net::UnixStream;
use actix_web::web::Data;
use actix_web::{App, HttpServer, middleware, web};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::access::{self, Door, Peer, Token};
use crate::api::{self, Face};
use crate::config::{self, Loaded, Settings, Sources};
use crate::domain::event::EventKind;
use crate::domain::lease::{CONSOLE_NAME, Lease, Name};
use crate::domain::request::Request;
use crate::domain::selector::{Selector, SelectorKind};
use crate::engine::Allocated;
use crate::engine::refusal::Refusal;
use crate::engine::service::{Caller, Mode, Service};
use crate::host::clock::Clock;
use crate::host::{interface, process, readiness::Readiness};
use crate::store::directory::{DataDirectory, Lock};
use crate::store::{Store, StoreError, StoreOptions};

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

/// The console asks the allocator as everybody does: its own name makes its port sticky.
async fn land(
    service: &Service,
    settings: &Settings,
    uid: u32,
) -> Result<(Arc<Lease>, Vec<TcpListener>), Refusal> {
    let request = console_request(settings, CONSOLE_NAME.parse()?);
    let me = Caller::user(uid);
    let earlier = service
        .leases()
        .into_iter()
        .find(|lease| lease.is_console() && lease.uid == uid);
    if let Some(earlier) = earlier.filter(|earlier| !is_still_wanted(earlier, &request, settings)) {
        service.release(&me, earlier.id).await?;
    }
    let landed = service.allocate(&me, &request).await?;
    let lease = landed.leases.first().cloned().ok_or(Refusal::NotFound)?;
    tell_where(&landed, &lease, settings);
    let listeners = service.listen(&lease, BACKLOG).await?;
    Ok((lease, listeners))
}

/// Whether the console's last address and port are what is configured now.
fn is_still_wanted(lease: &Lease, request: &Request, settings: &Settings) -> bool {
    let console = &settings.console;
    let ip = console.listen.map_or(console.address, |fixed| fixed.ip());
    let same_address = lease
        .addresses
        .addresses()
        .iter()
        .all(|address| address.ip == ip);
    let pool = settings.pools.get(&console.pool);
    let in_pool = pool.is_some_and(|pool| {
        pool.name == lease.pool
            && pool.ranges.contains(lease.port)
            && !pool.exclude.contains(lease.port)
    });
    same_address && request.port.map_or(in_pool, |fixed| fixed == lease.port)
}

fn console_request(settings: &Settings, name: Name) -> Request {
    let console = &settings.console;
    let (ip, port) = match console.listen {
        Some(fixed) => (fixed.ip(), crate::domain::port::Port::new(fixed.port())),
        None => (console.address, None),
    };
    Request {
        pool: Some(console.pool.clone()),
        names: vec![name],
        interfaces: vec![Selector {
            negated: false,
            kind: SelectorKind::Address(ip),
        }],
        port,
        owner_pid: Some(std::process::id()),
        ..Request::default()
    }
}

fn tell_where(landed: &Allocated, lease: &Lease, settings: &Settings) {
    for attempt in &landed.conflicts {
        let occupant = attempt.occupant.as_ref();
        let whom = occupant.map_or_else(|| "somebody".to_owned(), ToString::to_string);
        tracing::info!("port {} is held by {whom}", attempt.port);
    }
    let pool = settings.pools.get(&settings.console.pool);
    if let Some(wanted) = pool.and_then(|pool| pool.prefer)
        && settings.console.listen.is_none()
        && wanted != lease.port
    {
        tracing::warn!("the console moved from port {wanted} to {}", lease.port);
    }
}

/// Tells where the console is: in the log, on stdout, and in a file of the data directory.
fn announce(face: &Face, directory: &DataDirectory, lease: &Lease) -> Result<(), StartError> {
    let host = lease.addresses.advertised_host();
    let url = crate::domain::address::http_url(&host, lease.port);
    let file = directory.console();
    // Under another name first, so that nobody reads half a line.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{url}\n"))
        .and_then(|()| std::fs::rename(&new, &file))
        .map_err(failed(file.display().to_string()))?;
    tracing::info!(%url, "the console listens");
    // Set once, here.
    let _ = face.console.set(url);
    Ok(())
}

/// Binds the API socket under a name of its own, sets its mode, and only then puts it in place,
/// so that nobody connects to it with wrong permissions.
fn listen_on_socket(path: &Path, mode: u32) -> Result<UnixListener, StartError> {
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

fn server(
    face: &Data<Face>,
    door: &Data<Arc<Door>>,
    settings: &Settings,
    console: Vec<TcpListener>,
    socket: UnixListener,
) -> Result<Server, StartError> {
    let (face, door) = (face.clone(), door.clone());
    let mut server = HttpServer::new(move || {
        App::new()
            .app_data(face.clone())
            .app_data(door.clone())
            .wrap(middleware::from_fn(access::check))
            .wrap(middleware::from_fn(api::trace::request))
            .configure(api::routes)
            .configure(crate::dashboard::routes)
            .default_service(web::to(api::not_found))
    })
    .workers(settings.console.workers.get())
    .shutdown_timeout(GRACE_SECONDS)
    // Who hangs up wants no answer any more, and must not keep a place in a line.
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

/// Notes where a connection came from. The kernel tells who connected; it cannot be forged.
fn note_peer(connection: &dyn Any, data: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<UnixStream>() else {
        data.insert(Peer::Console);
        return;
    };
    // Without credentials the connection gets no peer, and every request is refused.
    if let Ok(credentials) = stream.peer_cred() {
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
        // 0: a process of a pid namespace that is hidden from here.
        let pid = pid.filter(|pid| *pid != 0);
        data.insert(Peer::Local(Caller {
            uid: credentials.uid(),
            elsewhere: pid.is_some_and(|pid| !process::same_net_namespace(pid).unwrap_or(true)),
            foreign_pids: !pid.is_some_and(|pid| process::same_pid_namespace(pid).unwrap_or(true)),
            pid,
        }));
    }
}

/// The signals that a service obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at SIGTERM or SIGINT; SIGHUP is acted upon meanwhile.
    async fn stop(&mut self, mut on_hang_up: impl FnMut()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => on_hang_up(),
            }
        }
    }
}

async fn obey(mut signals: Signals, server: ServerHandle, face: Data<Face>, sources: Sources) {
    signals.stop(|| reload(&face, &sources)).await;
    tracing::info!("stopping: requests under way are answered; a second signal ends that");
    face.service.journal().close();
    let graceful = tokio::spawn(server.stop(true));
    signals.stop(|| {}).await;
    graceful.abort();
    server.stop(false).await;
}

/// Reads the configuration again. A bad one changes nothing and is told in the log.
fn reload(face: &Face, sources: &Sources) {
    let mut loaded = match config::load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!("the running settings stay: {error}");
            return;
        }
    };
    let running = face.loaded();
    keep_what_needs_a_restart(&mut loaded.settings, &running.settings);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    face.service.reconfigure(Arc::new(loaded.settings.clone()));
    face.service.reread_kernel_rules();
    let mut current = face
        .loaded
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    *current = Arc::new(loaded);
    drop(current);
    tracing::info!("configuration read again");
    face.service
        .journal()
        .other(EventKind::Reloaded, None, "configuration read again");
}

fn keep_what_needs_a_restart(new: &mut Settings, running: &Settings) {
    let moved = new.console != running.console
        || new.data_dir != running.data_dir
        || new.socket != running.socket
        || new.socket_mode != running.socket_mode
        || new.store != running.store
        || new.telemetry != running.telemetry;
    if moved {
        tracing::warn!(
            "console, data_dir, socket, store and telemetry change with a restart only; pools and interfaces count from now on"
        );
    }
    new.console = running.console.clone();
    new.data_dir.clone_from(&running.data_dir);
    new.socket.clone_from(&running.socket);
    new.socket_mode = running.socket_mode;
    new.store = running.store.clone();
    new.telemetry = running.telemetry.clone();
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
