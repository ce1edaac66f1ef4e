//! The service as a process: it is built, listens, and runs until it is told to stop.

mod chores;
mod console;
mod doors;
mod entrance;
mod fdstore;
mod given;
mod http;
mod listen;
mod notify;
mod portserver;
mod predecessor;
mod record;
mod reopen;
mod signals;
mod socket;
mod start;
mod successor;
mod thread;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use tokio::task::JoinHandle;

use crate::api::AppState;
use crate::config::{Loaded, Settings, Sources};
use crate::engine::fleet::FleetCounters;
use crate::engine::refusal::Refusal;
use crate::engine::service::Service;
use crate::host::kernel;
use crate::host::supervisor::Supervisor;
use crate::store::StoreError;
use crate::store::directory::DataDirectory;

use console::announce;
use doors::Kind;
use entrance::Entrance;
pub use given::Given;
use given::{PassedOn, console_among};
use listen::Activated;
use notify::{keep_alive, ready, tell};
use record::{Record, SharedLock};
use signals::{End, Signals, obey};
use successor::Predecessor;
use thread::OwnThread;

/// Limit on requests under way once the service is told to stop.
const GRACE: Duration = Duration::from_secs(5);

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
    #[error("the take-over was interrupted; the running service goes on")]
    Interrupted,
    /// Below [`LEAST_DESCRIPTORS`].
    #[error(
        "the limit on open descriptors is {0} (RLIMIT_NOFILE): the service itself needs \
         {LEAST_DESCRIPTORS}, and each lease one for each of its addresses; raise it (LimitNOFILE of \
         the unit, or ulimit -n)"
    )]
    FewDescriptors(u64),
}

/// Number of descriptors that a service opens before it holds any port. With fewer, whatever it opens
/// next would fail, and SQLite does not name that cause.
const LEAST_DESCRIPTORS: u64 = 64;

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError::Io { what, source }
}

/// A service that answers, and all that is needed to stop it again.
pub struct Daemon {
    state: Data<AppState>,
    sources: Sources,
    settings: Arc<Settings>,
    directory: DataDirectory,
    entrance: Entrance,
    signals: Signals,
    writer: JoinHandle<()>,
    /// Watches owners. Held for its drop alone.
    _ends: OwnThread,
    supervisor: Option<Supervisor>,
    /// Counters of the fleet until its thread serves at them.
    fleet: Option<FleetCounters>,
    /// Held for as long as the service runs.
    lock: SharedLock,
}

impl Daemon {
    /// Takes the data directory, restores the leases, and answers. `given` are the sockets that were kept
    /// for this start. A predecessor ends once this service answers, and goes on if it never does. Must
    /// run on an actix system.
    pub async fn build(
        sources: Sources,
        loaded: Loaded,
        mut given: Given,
    ) -> Result<Self, StartError> {
        let limit = kernel::hard_fd_limit();
        if limit < LEAST_DESCRIPTORS {
            return Err(StartError::FewDescriptors(limit));
        }
        // Before the rest, since a signal may come as soon as it shows that the service runs.
        let signals = Signals::listen().map_err(failed("signal handlers"))?;
        let settings = Arc::new(loaded.settings.clone());
        let predecessor = Predecessor::of(&given)?;
        let (directory, lock) = start::take_directory(&settings, &mut given).await?;
        let ends = OwnThread::start("portbook-ends");
        let ends = ends.map_err(failed("a thread that watches owners"))?;
        let (service, writer) = start::engine(&directory, &settings, &ends).await?;
        let supervisor = Supervisor::of_environment();
        let last = fdstore::last_among(&given.by_supervisor);
        fdstore::keep_copies(&service, supervisor.as_ref(), last);
        let activated = Activated::among(&mut given.by_supervisor);
        let passed_on = PassedOn::among(&mut given.by_predecessor);
        let of_console = console_among(&mut given.by_predecessor);
        start::take_up_leases(&service, given).await?;
        let state = Data::new(start::app_state(&service, loaded));
        let auth = start::console_auth(&state, &directory, &settings)?;
        let console = console::land(&state, &settings, of_console).await?;
        let entrance = Entrance::build(&state, &auth, &settings, activated, passed_on)?;
        if let Some((lease, listeners)) = console {
            announce(&state, &directory, &lease);
            for listener in listeners {
                entrance.serve_http(Kind::Console, listener);
            }
        }
        let mut daemon = Self {
            fleet: start::fleet_counters(&service),
            state,
            sources,
            settings,
            directory,
            entrance,
            signals,
            writer,
            _ends: ends,
            supervisor,
            lock,
        };
        match predecessor {
            Some(predecessor) => predecessor.succeed(&mut daemon).await?,
            None => daemon.entrance.doors.open(),
        }
        Ok(daemon)
    }

    /// URL of the console, if it is enabled.
    pub fn console(&self) -> Option<&str> {
        self.state.console.get().map(String::as_str)
    }

    /// Serves until SIGTERM or SIGINT or until another service has taken over, then answers the
    /// requests under way, writes what waits, and returns. A second signal ends the waiting. SIGHUP
    /// reads the configuration again.
    pub async fn run(mut self) -> Result<(), StartError> {
        let service = self.state.service.clone();
        tell(self.supervisor.as_ref(), &ready(&self.state));
        let record = Record {
            service: service.clone(),
            directory: self.directory.clone(),
            lock: self.lock.clone(),
            socket: self.settings.socket.clone(),
        };
        let mut tasks = chores::start(&service);
        tasks.push(actix_web::rt::spawn(record.keep()));
        let fleet = self.fleet.take();
        if fleet.is_none() {
            tasks.push(start::unload_fence(&service));
        }
        let fleet = fleet.map(|counters| start::fleet(&service, counters));
        let fleet = fleet.transpose()?;
        let (doors, files) = (&self.entrance.doors, &self.entrance.files);
        tasks.extend(reopen::start(doors, &self.settings, files));
        tasks.push(tokio::spawn(keep_alive(self.supervisor.clone())));
        let end = obey(&mut self).await;
        tell(self.supervisor.as_ref(), "STOPPING=1");
        tasks.iter().for_each(JoinHandle::abort);
        // The session outlives the service, which renews it at its next start.
        drop(fleet);
        portserver::log_statistics(self.entrance.portserver.as_ref());
        match end {
            // Its successor has the record, and all files.
            End::Succeeded(paused) => paused.keep(),
            End::Stopped => {
                self.close(&service).await;
                self.remove_files();
            }
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Writes what waits.
    async fn close(&mut self, service: &Service) {
        service.settle_history().await;
        service.store().close().await;
        // The filler ends once the tables have what is committed.
        drop((&mut self.writer).await);
    }

    fn remove_files(&self) {
        for file in &self.entrance.files {
            drop(std::fs::remove_file(file));
        }
        drop(std::fs::remove_file(self.directory.console()));
    }
}
