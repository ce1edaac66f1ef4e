//! What commands work on: the running service, or, where there is none, the same engine on the
//! same record for the moment of the command.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinHandle;

use super::{Failure, client};
use crate::api::document::{AllocationDocument, LeaseDocument, LeaseRequest, PortDocument};
use crate::api::{leases, ports};
use crate::client::Client;
use crate::config::Loaded;
use crate::domain::duration::Span;
use crate::domain::lease::LeaseId;
use crate::domain::port::{Port, Protocol};
use crate::engine::service::{Caller, Mode, Service};
use crate::host::clock::Clock;
use crate::host::process;
use crate::store::directory::{DataDirectory, Lock};
use crate::store::{LeaseFilter, Store, StoreOptions};

/// How long a command waits for another one that has the record for a moment.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How many ended leases are listed.
const ENDED: u32 = 100;

/// What a command works on.
pub(super) enum Backend {
    /// A running service.
    Service(Client),
    /// No service: the engine in this process.
    Embedded(Embedded),
}

/// The engine in this process, with the data directory's lock.
pub(super) struct Embedded {
    pub(super) service: Service,
    caller: Caller,
    writer: JoinHandle<()>,
    _lock: Lock,
}

#[derive(Deserialize)]
struct Leases {
    leases: Vec<LeaseDocument>,
}

impl Backend {
    /// The service, or the record itself.
    pub(super) async fn open(loaded: &Loaded) -> Result<Self, Failure> {
        if let Some(client) = client::find(loaded).await? {
            return Ok(Self::Service(client));
        }
        Ok(Self::Embedded(Embedded::open(loaded).await?))
    }

    /// Asks for ports.
    pub(super) async fn allocate(
        &self,
        request: LeaseRequest,
    ) -> Result<AllocationDocument, Failure> {
        match self {
            Self::Service(client) => Ok(client.post("/api/v1/leases", &request).await?),
            Self::Embedded(embedded) => {
                let request = request.parse().map_err(Failure::usage)?;
                let granted = embedded
                    .service
                    .allocate(&embedded.caller, &request)
                    .await?;
                Ok(leases::document(&granted, embedded.service.clock()))
            }
        }
    }

    /// Living leases, or the latest ended ones; newest first.
    pub(super) async fn leases(&self, ended: bool) -> Result<Vec<LeaseDocument>, Failure> {
        match self {
            Self::Service(client) => {
                let query = if ended { "?state=ended" } else { "?limit=1000" };
                let list: Leases = client.get(&format!("/api/v1/leases{query}")).await?;
                Ok(list.leases)
            }
            Self::Embedded(embedded) => embedded.leases(ended).await,
        }
    }

    /// Gives a lease back.
    pub(super) async fn release(&self, id: LeaseId) -> Result<(), Failure> {
        match self {
            Self::Service(client) => Ok(client.delete(&format!("/api/v1/leases/{id}")).await?),
            Self::Embedded(embedded) => Ok(embedded.service.release(&embedded.caller, id).await?),
        }
    }

    /// Makes a lease last longer.
    pub(super) async fn renew(
        &self,
        id: LeaseId,
        ttl: Option<Duration>,
    ) -> Result<LeaseDocument, Failure> {
        match self {
            Self::Service(client) => {
                let renewal = serde_json::json!({ "ttl": ttl.map(Span) });
                Ok(client
                    .post(&format!("/api/v1/leases/{id}/renew"), &renewal)
                    .await?)
            }
            Self::Embedded(embedded) => {
                let renewed = embedded.service.renew(&embedded.caller, id, ttl).await?;
                Ok(LeaseDocument::of(&renewed, embedded.service.clock()))
            }
        }
    }

    /// Who is on a port.
    pub(super) async fn port(
        &self,
        protocol: Protocol,
        port: Port,
    ) -> Result<PortDocument, Failure> {
        match self {
            Self::Service(client) => Ok(client
                .get(&format!("/api/v1/ports/{protocol}/{port}"))
                .await?),
            Self::Embedded(embedded) => Ok(ports::about(&embedded.service, protocol, port).await?),
        }
    }

    /// Ends the work on the record; everything is written when this returns.
    pub(super) async fn close(self) {
        if let Self::Embedded(embedded) = self {
            embedded.service.store().close().await;
            drop(embedded.writer.await);
        }
    }
}

impl Embedded {
    async fn open(loaded: &Loaded) -> Result<Self, Failure> {
        let settings = &loaded.settings;
        let directory = DataDirectory::open(&settings.data_dir)?;
        let lock = lock(&directory).await?;
        let options = StoreOptions {
            boot_id: process::boot_id().map_err(|error| Failure::other(error.to_string()))?,
            machine_id: process::machine_id(),
            batch_max: settings.store.batch_max.get() as usize,
            checkpoint_interval: None,
        };
        let (store, writer) = Store::open(&directory.database(), options).await?;
        let settings = Arc::new(settings.clone());
        let rng = fastrand::Rng::new();
        let service = Service::new(Mode::Embedded, settings, store, Clock::system(), rng);
        service.restore().await?;
        // Who listens by now owns what was handed out before.
        service.observe().await;
        service.act_on_deadlines().await;
        Ok(Self {
            service,
            caller: Caller::user(rustix::process::geteuid().as_raw()),
            writer,
            _lock: lock,
        })
    }

    async fn leases(&self, ended: bool) -> Result<Vec<LeaseDocument>, Failure> {
        let clock = self.service.clock();
        if ended {
            let filter = LeaseFilter {
                limit: ENDED,
                ..LeaseFilter::default()
            };
            let stored = self.service.store().ended_leases(&filter).await?;
            return Ok(stored
                .iter()
                .map(|row| LeaseDocument::of(&row.lease, clock))
                .collect());
        }
        let living = self.service.leases();
        Ok(living
            .iter()
            .rev()
            .map(|lease| LeaseDocument::of(lease, clock))
            .collect())
    }
}

/// Takes the data directory's lock; another command has it for a moment only.
async fn lock(directory: &DataDirectory) -> Result<Lock, Failure> {
    let holder = match directory.try_lock()? {
        Ok(lock) => return Ok(lock),
        Err(holder) => holder,
    };
    if holder.socket.is_some() {
        // A service that has the directory, but whose socket did not answer.
        return Err(Failure::from(directory.in_use(holder)).with_code(3));
    }
    let waiting = directory.clone();
    let waiting = tokio::task::spawn_blocking(move || waiting.wait_lock());
    match tokio::time::timeout(LOCK_TIMEOUT, waiting).await {
        Ok(Ok(lock)) => Ok(lock?),
        _ => Err(directory.in_use(holder).into()),
    }
}
