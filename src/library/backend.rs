//! What commands and embedding programs work on: the running service, or, where there is none, the
//! same engine on the same record for the moment of the question.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Error;
use super::find::Target;
use crate::access::Viewer;
use crate::answers::document::{
    AllocationDocument, AllocationRecordDocument, LeaseDocument, LeaseRequest, ListenerDocument,
    PortDocument, PruneDocument, PruneRequest, StatsDocument, VERSION,
};
use crate::answers::problem::{Code, Problem};
use crate::api::exclusions::{ExclusionList, RangeAnswer, RangeRequest};
use crate::api::leases::{self, LeaseList, LeaseQuery};
use crate::api::listeners::{self, ListenerList};
use crate::api::stats::{self, StatsQuery};
use crate::api::{allocations, ports};
use crate::client::{Client, ClientError};
use crate::config::{Loaded, Settings};
use crate::domain::duration::HumanDuration;
use crate::domain::exclusion::Exclusion;
use crate::domain::lease::{AllocationId, Guard, Lease, LeaseId, Name};
use crate::domain::port::{Port, PortSet, Protocol, Protocols};
use crate::engine::Limits;
use crate::engine::service::{Caller, Mode, Service};
use crate::host::clock::Clock;
use crate::host::hold::Hold;
use crate::host::process;
use crate::protocol::descriptor;
use crate::store::directory::{DataDirectory, Lock};
use crate::store::{Store, StoreOptions};

/// How often, and how many times, to look for a service that is just starting: two seconds.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 100;

/// Number of leases to ask for at once: the most that one answer carries.
const PAGE: u32 = 1000;

/// What a command works on.
pub(crate) enum Backend {
    /// A running service.
    Service(Client),
    /// No service: the engine in this process.
    Embedded(Embedded),
}

/// The engine in this process, with the data directory's lock.
pub(crate) struct Embedded {
    pub(crate) service: Service,
    caller: Caller,
    writer: JoinHandle<()>,
    _lock: Lock,
}

impl Backend {
    /// The service, or the record itself.
    pub(crate) async fn open(loaded: &Loaded) -> Result<Self, Error> {
        Self::at(&Target::of(loaded)).await
    }

    /// The same where `target` says.
    pub(crate) async fn at(target: &Target) -> Result<Self, Error> {
        let data_dir = &target.settings.data_dir;
        // A service that is just starting has the lock before it answers; then look again.
        let mut looks = tokio::time::interval(LOOK);
        for _ in 0..LOOKS {
            if let Some(client) = target.service().await? {
                return Ok(Self::Service(client));
            }
            let directory = DataDirectory::open(data_dir)?;
            match directory.lock().await? {
                Ok(lock) => {
                    return Ok(Self::Embedded(
                        Embedded::open(&target.settings, lock).await?,
                    ));
                }
                Err(holder) if holder.socket.is_none() => {
                    return Err(directory.in_use(holder).into());
                }
                Err(_) => drop(looks.tick().await),
            }
        }
        let directory = DataDirectory::open(data_dir)?;
        let silent = directory.holder().map_or_else(
            || "the service came and went: try again".to_owned(),
            |holder| directory.in_use(holder).to_string(),
        );
        Err(Error::Silent(silent))
    }

    /// Asks for ports.
    pub(crate) async fn allocate(
        &self,
        request: LeaseRequest,
    ) -> Result<AllocationDocument, Error> {
        match self {
            Self::Service(client) => Ok(client.post("/api/v1/leases", &request).await?),
            Self::Embedded(embedded) => {
                let request = request.parse().map_err(Error::InvalidRequest)?;
                let granted = embedded
                    .service
                    .allocate(&embedded.caller, &request)
                    .await?;
                Ok(leases::document(&granted, embedded.service.clock()))
            }
        }
    }

    /// Asks for all of these, or for none: what was granted before one is refused is given back.
    pub(crate) async fn allocate_all(
        &self,
        requests: Vec<LeaseRequest>,
    ) -> Result<Vec<AllocationDocument>, Error> {
        let mut all: Vec<AllocationDocument> = Vec::with_capacity(requests.len());
        for request in requests {
            match self.allocate(request).await {
                Ok(granted) => all.push(granted),
                Err(failure) => {
                    let fresh = all.iter().filter(|granted| granted.created);
                    for lease in fresh.flat_map(|granted| &granted.leases) {
                        // The refusal is what the user has to know of.
                        let _ = self.take_back(lease.id).await;
                    }
                    return Err(failure);
                }
            }
        }
        Ok(all)
    }

    /// The sockets of a lease that is handed over by giving them to its owner.
    pub(crate) fn sockets(&self, id: LeaseId) -> Result<Vec<OwnedFd>, Error> {
        match self {
            Self::Service(client) => Ok(descriptor::fetch(client.socket(), id)?),
            Self::Embedded(embedded) => Ok(embedded.sockets(id)),
        }
    }

    /// The service's socket, where one answers.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::Service(client) => Some(client.socket().to_owned()),
            Self::Embedded(_) => None,
        }
    }

    /// The sockets of a lease, for this process itself, which is its owner.
    pub(super) async fn give(&self, id: LeaseId) -> Result<Vec<OwnedFd>, Error> {
        match self {
            Self::Service(client) => Ok(descriptor::fetch(client.socket(), id)?),
            Self::Embedded(embedded) => {
                let given = embedded.service.give_sockets(&embedded.caller, id);
                let (_, sockets) = given.await?;
                embedded.service.leave_to(Guard::Owner, id);
                Ok(sockets)
            }
        }
    }

    /// Leaves a lease to the books where no service holds its port.
    pub(super) fn let_go(&self, id: LeaseId) {
        if let Self::Embedded(embedded) = self {
            embedded.service.leave_to(Guard::None, id);
        }
    }

    /// The living leases on a port.
    pub(crate) async fn leases_on(
        &self,
        protocol: Protocol,
        port: Port,
    ) -> Result<Vec<LeaseDocument>, Error> {
        match self {
            Self::Service(_) => Ok(self.port(protocol, port).await?.leases),
            Self::Embedded(Embedded { service, .. }) => {
                let leases = service.leases_on(protocol, port);
                let document = |lease: &Arc<Lease>| LeaseDocument::of(lease, service.clock());
                Ok(leases.iter().map(document).collect())
            }
        }
    }

    /// The living leases of a name, in every scope.
    pub(crate) async fn leases_named(&self, name: &Name) -> Result<Vec<LeaseDocument>, Error> {
        let wanted = LeaseQuery {
            name: Some(name.to_string()),
            ..LeaseQuery::default()
        };
        Ok(self.leases_like(wanted, usize::MAX).await?.0)
    }

    /// A lease, living or ended.
    pub(crate) async fn lease(&self, id: LeaseId) -> Result<LeaseDocument, Error> {
        match self {
            Self::Service(client) => Ok(client.get(&format!("/api/v1/leases/{id}")).await?),
            Self::Embedded(embedded) => {
                let service = &embedded.service;
                let document = |lease: &Lease| LeaseDocument::of(lease, service.clock());
                if let Some(lease) = service.lease(id) {
                    return Ok(document(&lease));
                }
                let stored = service.store().lease(id).await?;
                let stored = stored.map(|stored| document(&stored.lease));
                let missing = || Problem::new(Code::NotFound, "there is no such lease");
                Ok(stored.ok_or_else(missing)?)
            }
        }
    }

    /// All living leases, or all ended ones on record; newest first.
    pub(crate) async fn leases(&self, ended: bool) -> Result<Vec<LeaseDocument>, Error> {
        let wanted = LeaseQuery {
            state: ended.then(|| "ended".to_owned()),
            ..LeaseQuery::default()
        };
        Ok(self.leases_like(wanted, usize::MAX).await?.0)
    }

    /// The first `most` leases that are asked for, newest first, and whether there are more. Pages are
    /// followed to the end.
    pub(crate) async fn leases_like(
        &self,
        mut wanted: LeaseQuery,
        most: usize,
    ) -> Result<(Vec<LeaseDocument>, bool), Error> {
        let mut all: Vec<LeaseDocument> = Vec::new();
        while all.len() < most {
            let left = u32::try_from(most - all.len()).unwrap_or(PAGE);
            wanted.limit = Some(left.min(PAGE));
            let (page, more) = self.page(&wanted).await?;
            all.extend(page);
            wanted.before = all.last().map(|last| last.id);
            if !more {
                return Ok((all, false));
            }
        }
        Ok((all, true))
    }

    async fn page(&self, wanted: &LeaseQuery) -> Result<(Vec<LeaseDocument>, bool), Error> {
        match self {
            Self::Service(client) => Ok(page_of(client, wanted).await?),
            Self::Embedded(embedded) => {
                let viewer = Viewer::Known(embedded.caller.clone());
                Ok(leases::page(&embedded.service, &viewer, wanted).await?)
            }
        }
    }

    /// Gives a lease back.
    pub(crate) async fn release(&self, id: LeaseId) -> Result<(), Error> {
        match self {
            Self::Service(client) => Ok(client.delete(&format!("/api/v1/leases/{id}")).await?),
            Self::Embedded(embedded) => Ok(embedded.service.release(&embedded.caller, id).await?),
        }
    }

    /// Gives a lease back that its user did not ask for: its name goes on knowing its port.
    pub(crate) async fn take_back(&self, id: LeaseId) -> Result<(), Error> {
        match self {
            Self::Service(client) => {
                let path = format!("/api/v1/leases/{id}?remember=true");
                Ok(client.delete(&path).await?)
            }
            Self::Embedded(embedded) => {
                Ok(embedded.service.take_back(&embedded.caller, id).await?)
            }
        }
    }

    /// Makes a lease last longer.
    pub(crate) async fn renew(
        &self,
        id: LeaseId,
        ttl: Option<Duration>,
    ) -> Result<LeaseDocument, Error> {
        match self {
            Self::Service(client) => {
                let renewal = serde_json::json!({ "ttl": ttl.map(HumanDuration) });
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
    pub(crate) async fn port(&self, protocol: Protocol, port: Port) -> Result<PortDocument, Error> {
        match self {
            Self::Service(client) => Ok(client
                .get(&format!("/api/v1/ports/{protocol}/{port}"))
                .await?),
            Self::Embedded(embedded) => {
                let viewer = Viewer::Known(embedded.caller.clone());
                let service = &embedded.service;
                let sockets = ports::sockets(service, protocol, port).await;
                Ok(ports::about(service, &viewer, protocol, port, &sockets).await?)
            }
        }
    }

    /// Every process that listens on these ports, or on any.
    pub(crate) async fn listeners(
        &self,
        ports: Option<PortSet>,
        protocol: Option<Protocol>,
    ) -> Result<Vec<ListenerDocument>, Error> {
        let mut wanted = listeners::ListenerQuery {
            ports,
            protocol,
            limit: Some(PAGE),
            after: None,
        };
        let mut all = Vec::new();
        loop {
            let page = self.listeners_of(&wanted).await?;
            wanted.after = page.listeners.last().map(|last| last.port);
            all.extend(page.listeners);
            if page.next.is_none() {
                return Ok(all);
            }
        }
    }

    async fn listeners_of(&self, wanted: &listeners::ListenerQuery) -> Result<ListenerList, Error> {
        match self {
            Self::Service(client) => {
                let query = listeners::query(wanted);
                Ok(client.get(&format!("/api/v1/listeners?{query}")).await?)
            }
            Self::Embedded(Embedded {
                service, caller, ..
            }) => {
                let viewer = Viewer::Known(caller.clone());
                Ok(listeners::about(service, &viewer, wanted).await?)
            }
        }
    }

    /// The ports excluded by hand.
    pub(crate) async fn exclusions(&self) -> Result<Vec<Exclusion>, Error> {
        match self {
            Self::Service(client) => {
                let list: ExclusionList = client.get("/api/v1/exclusions").await?;
                Ok(list.exclusions)
            }
            Self::Embedded(embedded) => {
                let all = embedded.service.exclusions();
                Ok(all.iter().cloned().collect())
            }
        }
    }

    /// Excludes ports, all or none.
    pub(crate) async fn exclude(
        &self,
        protocol: Protocols,
        ports: &PortSet,
        reason: Option<String>,
    ) -> Result<RangeAnswer, Error> {
        let ports = ports.clone();
        match self {
            Self::Service(client) => {
                let wanted = RangeRequest {
                    ports,
                    protocol,
                    reason,
                };
                Ok(client.put("/api/v1/exclusions", &wanted).await?)
            }
            Self::Embedded(Embedded {
                service, caller, ..
            }) => {
                let excluded = service.exclude(caller, protocol, &ports, reason.as_deref());
                let excluded = excluded.await?;
                Ok(RangeAnswer::of(ports, protocol, &excluded, caller))
            }
        }
    }

    /// Includes ports again.
    pub(crate) async fn include(&self, protocol: Protocols, ports: &PortSet) -> Result<(), Error> {
        match self {
            Self::Service(client) => {
                let path = format!("/api/v1/exclusions?ports={ports}&protocol={protocol}");
                Ok(client.delete(&path).await?)
            }
            Self::Embedded(Embedded {
                service, caller, ..
            }) => Ok(service.include(caller, protocol, ports).await?),
        }
    }

    /// What the past adds up to.
    pub(crate) async fn stats(&self, wanted: &StatsQuery) -> Result<StatsDocument, Error> {
        match self {
            Self::Service(client) => {
                let query = serde_urlencoded::to_string(wanted)
                    .map_err(|error| Error::InvalidRequest(error.to_string()))?;
                Ok(client.get(&format!("/api/v1/stats?{query}")).await?)
            }
            Self::Embedded(embedded) => {
                let viewer = Viewer::Known(embedded.caller.clone());
                Ok(stats::about(&embedded.service, &viewer, wanted).await?)
            }
        }
    }

    /// Brings the totals up to date; a service does so by itself.
    pub(crate) async fn count(&self) -> Result<(), Error> {
        match self {
            Self::Service(_) => Ok(()),
            Self::Embedded(embedded) => Ok(embedded.service.count_attempts().await?),
        }
    }

    /// Deletes what is old.
    pub(crate) async fn prune(&self, request: &PruneRequest) -> Result<PruneDocument, Error> {
        match self {
            Self::Service(client) => Ok(client.post("/api/v1/history/prune", request).await?),
            Self::Embedded(embedded) => {
                let limits = Limits {
                    older_than: request.older_than.map(|span| span.0),
                    keep: request.keep,
                };
                let removed = embedded
                    .service
                    .prune(&embedded.caller, limits, request.dry_run)
                    .await?;
                Ok(PruneDocument {
                    version: VERSION,
                    dry_run: request.dry_run,
                    removed,
                })
            }
        }
    }

    /// One request answered, with its reasons.
    pub(crate) async fn allocation(
        &self,
        id: AllocationId,
    ) -> Result<AllocationRecordDocument, Error> {
        match self {
            Self::Service(client) => Ok(client.get(&format!("/api/v1/allocations/{id}")).await?),
            Self::Embedded(embedded) => {
                let viewer = Viewer::Known(embedded.caller.clone());
                let found = allocations::about(&embedded.service, &viewer, id).await?;
                found.ok_or_else(|| {
                    let detail = format!("there is no allocation {id}");
                    Problem::new(Code::NotFound, detail).into()
                })
            }
        }
    }

    /// Ends the work on the record; everything is written when this returns.
    pub(crate) async fn close(self) {
        if let Self::Embedded(embedded) = self {
            embedded.service.settle_history().await;
            embedded.service.store().close().await;
            drop(embedded.writer.await);
        }
    }
}

/// A page of a service's leases, and whether there are more.
async fn page_of(
    client: &Client,
    wanted: &LeaseQuery,
) -> Result<(Vec<LeaseDocument>, bool), ClientError> {
    let query = serde_urlencoded::to_string(wanted).unwrap_or_default();
    let page: LeaseList = client.get(&format!("/api/v1/leases?{query}")).await?;
    Ok((page.leases, page.next.is_some()))
}

/// The program that this process becomes has the hold and closes it by ending.
fn keep_through_exec(hold: Hold) {
    if let Err(error) = hold.survive_exec() {
        tracing::error!(%error, port = %hold.port(), "the program does not inherit the hold");
    }
    let descriptors = hold.into_descriptors().into_iter();
    descriptors.for_each(std::mem::forget);
}

impl Embedded {
    async fn open(settings: &Settings, lock: Lock) -> Result<Self, Error> {
        let directory = DataDirectory::open(&settings.data_dir)?;
        let options = StoreOptions {
            boot_id: process::boot_id().map_err(Error::system("no boot id"))?,
            machine_id: process::machine_id(),
            batch_max: settings.store.batch_max.get() as usize,
            checkpoint_interval: None,
        };
        let (store, writer) = Store::open(&directory.database()?, options).await?;
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

    /// The listeners that were made for a lease, or what holds it where none are needed.
    fn sockets(&self, id: LeaseId) -> Vec<OwnedFd> {
        let Some(hold) = self.service.take_hold(id) else {
            return Vec::new();
        };
        let listeners = hold.take_listeners();
        if hold.protocol().has_no_listeners() {
            return hold.into_descriptors();
        }
        keep_through_exec(hold);
        listeners
    }

    /// Lets the program that this process becomes inherit the hold of a lease.
    pub(crate) fn bequeath(&self, id: LeaseId) {
        if let Some(hold) = self.service.take_hold(id) {
            keep_through_exec(hold);
        }
    }
}
