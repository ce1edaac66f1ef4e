//! Steps of a start: the data directory, the engine, the leases on record.

use std::sync::{Arc, OnceLock, RwLock};

use actix_web::web::Data;
use tokio::task::JoinHandle;

use super::given::Given;
use super::record::SharedLock;
use super::thread::OwnThread;
use super::{StartError, failed};
use crate::access::session::Sessions;
use crate::access::{ConsoleAuth, StoredToken};
use crate::api::AppState;
use crate::config::{Loaded, Settings};
use crate::engine::fleet::FleetCounters;
use crate::engine::service::{Mode, Service};
use crate::fleet;
use crate::host::clock::Clock;
use crate::host::{hold, process};
use crate::store::directory::DataDirectory;
use crate::store::{Store, StoreOptions};

/// Takes the data directory: from a predecessor that passed its lock on, or alone.
pub(super) async fn take_directory(
    settings: &Settings,
    given: &mut Given,
) -> Result<(DataDirectory, SharedLock), StartError> {
    let directory = DataDirectory::open(&settings.data_dir)?;
    if given.link.is_some()
        && let Some(lock) = directory.inherit(&mut given.by_predecessor)?
    {
        // Signed once this service answers.
        return Ok((directory, SharedLock::new(lock)));
    }
    // A command keeps the lock for a moment; a service signs it and keeps it.
    let taken = directory.lock_for_service().await?;
    let lock = taken.map_err(|holder| directory.in_use(holder))?;
    let lock = SharedLock::new(lock);
    lock.sign(&settings.socket);
    Ok((directory, lock))
}

/// Opens the record, and makes the engine over it, which watches owners on the thread `ends`.
pub(super) async fn engine(
    directory: &DataDirectory,
    settings: &Arc<Settings>,
    ends: &OwnThread,
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
    // From the end of an owner to the end of its lease no other thread has to have its turn.
    let _entered = ends.runtime().enter();
    let service = Service::new(Mode::Serving, settings, store, Clock::system(), rng);
    Ok((service, writer))
}

/// Opens the counters of the fleet, if this host is in one.
pub(super) fn fleet_counters(service: &Service) -> Option<FleetCounters> {
    let is_in_one = !service.settings().fleet.engine.is_empty();
    is_in_one.then(|| service.fleet().open(service.clock().boot()))
}

/// Starts the thread that keeps this host in its fleet, and serves at the counters. Nothing else of the
/// service waits for it. A predecessor must have ended, since both would renew one session.
pub(super) fn fleet(service: &Service, counters: FleetCounters) -> Result<OwnThread, StartError> {
    let thread = OwnThread::start("portbook-fleet");
    let thread = thread.map_err(failed("a thread for the fleet"))?;
    drop(
        thread
            .runtime()
            .spawn(fleet::run(service.clone(), counters)),
    );
    Ok(thread)
}

/// Deletes the fence that an earlier start of this service has loaded: it is in no fleet any more.
pub(super) fn unload_fence(service: &Service) -> JoinHandle<()> {
    tokio::spawn(fleet::unload_fence(service.clone()))
}

/// Takes up the leases on record, with the holds among the given sockets, and looks at the ports.
pub(super) async fn take_up_leases(service: &Service, given: Given) -> Result<(), StartError> {
    if let Some(obstacle) = hold::obstacle() {
        tracing::info!(%obstacle, "no hold for UDP can stay beneath its owner here; `portbook doctor` says more");
    }
    service.accept_given(given.into_sockets());
    let restored = service.restore().await.map_err(StartError::Restore)?;
    tracing::info!(
        kept = restored.kept,
        ended = restored.ended,
        lost = restored.lost,
        "leases on record taken up"
    );
    if let Err(error) = service.store().check().await {
        tracing::error!(%error, "the service starts with the leases that it could read, and grants no port until the record takes commits");
    }
    // Before the first request for a port: a look takes less than a refused bind with its search
    // for the occupant.
    if let Err(error) = service.take_snapshot().await {
        tracing::warn!(%error, "could not look at the ports; the next look is due soon");
    }
    Ok(())
}

pub(super) fn app_state(service: &Service, loaded: Loaded) -> AppState {
    AppState {
        service: service.clone(),
        loaded: Arc::new(RwLock::new(Arc::new(loaded))),
        console: Arc::new(OnceLock::new()),
        uid: rustix::process::geteuid().as_raw(),
    }
}

/// Opens the console's token, and a place for its sessions.
pub(super) fn console_auth(
    state: &AppState,
    directory: &DataDirectory,
    settings: &Settings,
) -> Result<Data<Arc<ConsoleAuth>>, StartError> {
    let path = directory.token();
    let what = format!("the console's token {}", path.display());
    let (token, error) = StoredToken::open(&path).map_err(failed(what))?;
    if let Some(error) = error {
        // To hold the ports on record is worth more than logins.
        tracing::error!(%error, file = %path.display(), "could not store the console's token; nothing can be changed on the console until it is stored");
    }
    Ok(Data::new(Arc::new(ConsoleAuth {
        token,
        uid: state.uid,
        extra_hosts: settings.console.allowed_hosts.clone(),
        sessions: Sessions::new(state.service.clock().clone()),
    })))
}
