//! The backend of commands and embedding programs: the running service or, if there is none, the same
//! engine on the same record, opened for one question.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Error;
use super::embedded::Embedded;
use super::find::Target;
use crate::answers::allocations::{CreateLeases, ExplainAllocation};
use crate::answers::document::{
    AllocationDocument, AllocationRecordDocument, LeaseDocument, LeaseRequest, ListenerDocument,
    PortDocument, PruneDocument, PruneRequest, StatsDocument,
};
use crate::answers::exclusions::{
    ExcludePorts, IncludePorts, ListExclusions, RangeAnswer, RangeQuery, RangeRequest,
};
use crate::answers::leases::{
    LeaseQuery, ListLeases, Note, NoteLease, ReleaseLease, ReleaseQuery, RenewLease, Renewal,
    ShowLease,
};
use crate::answers::listeners::{ListListeners, ListenerQuery};
use crate::answers::operation::{Answered, Body, Key, PortPath, Query};
use crate::answers::ports::ShowPort;
use crate::answers::problem::Code;
use crate::answers::prune::PruneHistory;
use crate::answers::stats::{ShowStats, StatsQuery};
use crate::client::{Client, ClientError};
use crate::config::{Loaded, Settings};
use crate::domain::duration::HumanDuration;
use crate::domain::exclusion::Exclusion;
use crate::domain::lease::{AllocationId, LeaseId, Name};
use crate::domain::port::{Port, PortSet, Protocol, Protocols};
use crate::protocol::descriptor::{self, Wanted};
use crate::store::directory::DataDirectory;
use crate::telemetry::Stopwatch;

/// Interval and number of tries to find a service that is just starting: half a minute, since it takes
/// up all leases on record before it answers.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: u32 = 1500;

/// Number of rows in a page, the maximum of one answer.
const PAGE: u32 = 1000;

/// The running service, or the engine in this process.
pub(crate) enum Backend {
    Service(Client),
    Embedded(Embedded),
}

impl Backend {
    /// Finds the service, or opens the record.
    pub(crate) async fn open(loaded: &Loaded) -> Result<Self, Error> {
        Self::at(&Target::of(loaded)).await
    }

    /// [`open`](Self::open) for a target.
    pub(crate) async fn at(target: &Target) -> Result<Self, Error> {
        let data_dir = &target.settings.data_dir;
        // A service that is just starting has the lock before it answers: look again.
        let mut looks = tokio::time::interval(LOOK);
        for _ in 0..LOOKS {
            if let Some(client) = target.service_unless_ended().await? {
                return Ok(Self::Service(client));
            }
            let directory = DataDirectory::open(data_dir)?;
            match directory.lock().await? {
                Ok(lock) => {
                    let embedded = Embedded::open(&target.settings, lock).await?;
                    return Ok(Self::Embedded(embedded));
                }
                Err(holder) if !holder.is_service() => {
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

    /// Opens the record itself. `None` if a service has it.
    pub(crate) async fn of_record(settings: &Settings) -> Result<Option<Self>, Error> {
        let lock = DataDirectory::open(&settings.data_dir)?.lock().await?;
        let Ok(lock) = lock else {
            return Ok(None);
        };
        Ok(Some(Self::Embedded(Embedded::open(settings, lock).await?)))
    }

    /// Calls an operation of the service, or answers it here.
    pub(crate) async fn call<O>(&self, input: O::Input) -> Result<O::Output, Error>
    where
        O: Answered<Output: DeserializeOwned>,
    {
        match self {
            Self::Service(client) => Ok(client.call::<O>(&input).await?),
            Self::Embedded(embedded) => Ok(embedded.answer::<O>(input).await?),
        }
    }

    /// Asks for ports.
    pub(crate) async fn allocate(
        &self,
        request: LeaseRequest,
    ) -> Result<AllocationDocument, Error> {
        if let Self::Embedded(_) = self {
            request.clone().parse().map_err(Error::InvalidRequest)?;
        }
        match self {
            Self::Service(client) => wait_out(client, request).await,
            Self::Embedded(embedded) => {
                let input = (Body(request), Key::default());
                Ok(embedded.answer::<CreateLeases>(input).await?)
            }
        }
    }

    /// Asks for all of these, or none: a refusal gives earlier grants back.
    pub(crate) async fn allocate_all(
        &self,
        requests: Vec<LeaseRequest>,
    ) -> Result<Vec<AllocationDocument>, Error> {
        let mut all: Vec<AllocationDocument> = Vec::with_capacity(requests.len());
        for request in requests {
            match self.allocate(request).await {
                Ok(granted) => all.push(granted),
                Err(failure) => {
                    self.take_back_all(&all).await;
                    return Err(failure);
                }
            }
        }
        Ok(all)
    }

    /// Gives new grants back that are of no use to the user, who has to hear of the reason for that,
    /// and not of a failure here.
    pub(crate) async fn take_back_all(&self, granted: &[AllocationDocument]) {
        let fresh = granted.iter().filter(|granted| granted.created);
        for lease in fresh.flat_map(|granted| &granted.leases) {
            let _ = self.take_back(lease.id).await;
        }
    }

    /// The sockets of a lease with hand-over `fd`, for the program that this process becomes; `each` is
    /// whether each address is to have one.
    pub(crate) fn sockets(&self, id: LeaseId, each: bool) -> Result<Vec<OwnedFd>, Error> {
        let wanted = Wanted {
            lease: id,
            each,
            for_program: true,
        };
        match self {
            Self::Service(client) => Ok(descriptor::fetch_on_terms(client.socket(), wanted)?),
            Self::Embedded(embedded) => embedded.sockets(id, wanted.terms().shape),
        }
    }

    /// The service's socket. `None` if this process does the work.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::Service(client) => Some(client.socket().to_owned()),
            Self::Embedded(_) => None,
        }
    }

    /// The sockets of a lease whose owner is this process.
    pub(super) async fn give(&self, id: LeaseId) -> Result<Vec<OwnedFd>, Error> {
        match self {
            Self::Service(client) => Ok(descriptor::fetch(client.socket(), id)?),
            Self::Embedded(embedded) => embedded.give(id).await,
        }
    }

    /// Closes the hold of a lease that only the books keep from now on, unless a service holds it.
    pub(super) fn let_go(&self, id: LeaseId) {
        if let Self::Embedded(embedded) = self {
            embedded.let_go(id);
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
            Self::Embedded(embedded) => Ok(embedded.leases_on(protocol, port)),
        }
    }

    /// The living leases of a name, in every scope.
    pub(crate) async fn leases_named(&self, name: &Name) -> Result<Vec<LeaseDocument>, Error> {
        let query = LeaseQuery {
            name: Some(name.to_string()),
            ..LeaseQuery::default()
        };
        Ok(self.leases_like(query, usize::MAX).await?.0)
    }

    /// A lease, living or ended.
    pub(crate) async fn lease(&self, id: LeaseId) -> Result<LeaseDocument, Error> {
        self.call::<ShowLease>(id).await
    }

    /// All living leases, or all ended ones on record; newest first.
    pub(crate) async fn leases(&self, ended: bool) -> Result<Vec<LeaseDocument>, Error> {
        let query = LeaseQuery {
            state: ended.then(|| "ended".to_owned()),
            ..LeaseQuery::default()
        };
        Ok(self.leases_like(query, usize::MAX).await?.0)
    }

    /// The first `most` leases that match, newest first, and whether there are more. Follows pages.
    pub(crate) async fn leases_like(
        &self,
        mut query: LeaseQuery,
        most: usize,
    ) -> Result<(Vec<LeaseDocument>, bool), Error> {
        let mut all: Vec<LeaseDocument> = Vec::new();
        while all.len() < most {
            let left = u32::try_from(most - all.len()).unwrap_or(PAGE);
            query.limit = Some(left.min(PAGE));
            let page = self.call::<ListLeases>(Query(query.clone())).await?;
            all.extend(page.leases);
            query.before = all.last().map(|last| last.id);
            if page.next.is_none() {
                return Ok((all, false));
            }
        }
        Ok((all, true))
    }

    /// Releases a lease.
    pub(crate) async fn release(&self, id: LeaseId) -> Result<(), Error> {
        let query = ReleaseQuery::default();
        self.call::<ReleaseLease>((id, Query(query))).await
    }

    /// Releases a lease that its user did not ask for: its name keeps its former port.
    pub(crate) async fn take_back(&self, id: LeaseId) -> Result<(), Error> {
        let query = ReleaseQuery { remember: true };
        self.call::<ReleaseLease>((id, Query(query))).await
    }

    /// Renews a lease.
    pub(crate) async fn renew(
        &self,
        id: LeaseId,
        ttl: Option<Duration>,
    ) -> Result<LeaseDocument, Error> {
        let ttl = ttl.map(HumanDuration);
        self.call::<RenewLease>((id, Body(Renewal { ttl }))).await
    }

    /// Writes a note on a lease; an empty one removes it.
    pub(crate) async fn note(&self, id: LeaseId, note: String) -> Result<LeaseDocument, Error> {
        self.call::<NoteLease>((id, Body(Note { note }))).await
    }

    /// Leases, occupants and past of a port.
    pub(crate) async fn port(&self, protocol: Protocol, port: Port) -> Result<PortDocument, Error> {
        self.call::<ShowPort>(PortPath { protocol, port }).await
    }

    /// Every process that listens on these ports, or on any.
    pub(crate) async fn listeners(
        &self,
        ports: Option<PortSet>,
        protocol: Option<Protocol>,
    ) -> Result<Vec<ListenerDocument>, Error> {
        let mut query = ListenerQuery {
            ports,
            protocol,
            limit: Some(PAGE),
            after: None,
        };
        let mut all = Vec::new();
        loop {
            let page = self.call::<ListListeners>(Query(query.clone())).await?;
            query.after = page.listeners.last().map(|last| last.port);
            all.extend(page.listeners);
            if page.next.is_none() {
                return Ok(all);
            }
        }
    }

    /// The ports excluded by hand.
    pub(crate) async fn exclusions(&self) -> Result<Vec<Exclusion>, Error> {
        let list = self.call::<ListExclusions>(Query::default()).await?;
        Ok(list.exclusions)
    }

    /// Excludes ports, all or none.
    pub(crate) async fn exclude(
        &self,
        protocol: Protocols,
        ports: &PortSet,
        reason: Option<String>,
    ) -> Result<RangeAnswer, Error> {
        let request = RangeRequest {
            ports: ports.clone(),
            protocol,
            reason,
        };
        self.call::<ExcludePorts>(Body(request)).await
    }

    /// Includes ports again.
    pub(crate) async fn include(&self, protocol: Protocols, ports: &PortSet) -> Result<(), Error> {
        let ports = ports.clone();
        let query = RangeQuery { ports, protocol };
        self.call::<IncludePorts>(Query(query)).await
    }

    /// Statistics of the past.
    pub(crate) async fn stats(&self, query: &StatsQuery) -> Result<StatsDocument, Error> {
        self.call::<ShowStats>(Query(query.clone())).await
    }

    /// Brings the totals up to date; a service does so by itself.
    pub(crate) async fn count(&self) -> Result<(), Error> {
        match self {
            Self::Service(_) => Ok(()),
            Self::Embedded(embedded) => Ok(embedded.service.count_attempts().await?),
        }
    }

    /// Deletes old rows.
    pub(crate) async fn prune(&self, request: &PruneRequest) -> Result<PruneDocument, Error> {
        self.call::<PruneHistory>(Body(request.clone())).await
    }

    /// An earlier request with its reasons.
    pub(crate) async fn allocation(
        &self,
        id: AllocationId,
    ) -> Result<AllocationRecordDocument, Error> {
        self.call::<ExplainAllocation>(id).await
    }

    /// Ends the work on the record; everything is written when this returns.
    pub(crate) async fn close(self) {
        if let Self::Embedded(embedded) = self {
            embedded.close().await;
        }
    }
}

/// Maximum number of services that one request outlasts while it waits.
const MOST_SERVICES: usize = 16;

/// Asks a service for ports. A request that waits outlasts it: a service that ends tells those who
/// wait, and the one that took over is asked for the rest of the time.
async fn wait_out(client: &Client, mut request: LeaseRequest) -> Result<AllocationDocument, Error> {
    let (wait, waited) = (request.wait, Stopwatch::start());
    for _ in 1..MOST_SERVICES {
        let answer = ask(client, &request).await;
        let left = wait.map(|limit| limit.0.saturating_sub(waited.elapsed()));
        match (answer, left) {
            (Err(ClientError::Refused(problem)), Some(left))
                if problem.code == Code::NoService.as_str() =>
            {
                request.wait = Some(HumanDuration(left));
            }
            (answer, _) => return Ok(answer?),
        }
    }
    Ok(ask(client, &request).await?)
}

async fn ask(client: &Client, request: &LeaseRequest) -> Result<AllocationDocument, ClientError> {
    let input = (Body(request.clone()), Key::default());
    let more = request.longest();
    client.call_with::<CreateLeases>(&input, more).await
}
