//! One port: its leases, its occupants and its past.

use std::net::IpAddr;

use super::document::{
    LeaseDocument, OccupantDocument, OwnerDocument, PortDocument, ProcessDocument, SightingDocument,
};
pub use super::occupants::Socket;
use super::operation::{
    Answered, Context, Description, Method, Operation, Output, PortPath, Tag, TcpPortPath,
};
use super::problem::{Code, Problem};
use super::viewer::Viewer;
use super::{leases, occupants, stats, veil};
use crate::domain::address::{AddressGroup, BindAddress, Family};
use crate::domain::attempt::{Occupant, SocketState};
use crate::domain::container;
use crate::domain::port::{Port, Protocol};
use crate::engine::refusal::Refusal;
use crate::engine::service::Service;
use crate::host::occupancy::{Entry, Occupancy};
use crate::host::process;
use crate::host::redirect::{addresses_to_try, redirected_at};
use crate::store::{AttemptFilter, StoreError};

/// Maximum number of attempts in the document, the latest first.
const ATTEMPTS: u32 = 20;

/// Maximum number of sightings, the latest first.
const SIGHTINGS: u32 = 20;

const OCCUPANTS: &str = "\
Its leases, its processes according to the kernel's tables right now, its attempts, and the programs that \
snapshots saw there. A process of another user is listed without its name.";

impl Output for PortDocument {}

pub struct ShowPort;

impl Operation for ShowPort {
    type Input = PortPath;
    type Output = PortDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/ports/{protocol}/{port}";
    const ID: &'static str = "showPort";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "Show a port")
            .says(OCCUPANTS)
            .answers::<PortDocument>(200, "The port.", include_str!("example/port.json"))
            .refused(&[
                Code::InvalidRequest,
                Code::HostError,
                Code::StoreUnavailable,
            ])
    }
}

impl Answered for ShowPort {
    async fn answer(context: Context<'_>, path: PortPath) -> Result<PortDocument, Problem> {
        let Context { service, viewer } = context;
        let sockets = sockets(service, path.protocol, path.port).await?;
        Ok(about(service, viewer, path.protocol, path.port, &sockets).await?)
    }
}

pub struct ShowTcpPort;

impl Operation for ShowTcpPort {
    type Input = TcpPortPath;
    type Output = PortDocument;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/ports/{port}";
    const ID: &'static str = "showTcpPort";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "Show a TCP port")
            .says(OCCUPANTS)
            .answers::<PortDocument>(200, "The port.", include_str!("example/port.json"))
            .refused(&[
                Code::InvalidRequest,
                Code::HostError,
                Code::StoreUnavailable,
            ])
    }
}

impl Answered for ShowTcpPort {
    async fn answer(
        context: Context<'_>,
        TcpPortPath(port): TcpPortPath,
    ) -> Result<PortDocument, Problem> {
        let path = PortPath {
            protocol: Protocol::Tcp,
            port,
        };
        ShowPort::answer(context, path).await
    }
}

/// The sockets on a port right now: portbook's own holds, then others, listening ones first. Reads the
/// kernel's tables and `/proc`; both block, so this runs on a thread for blocking work. Call it once a
/// request. Refused if the kernel's tables are unreadable.
pub async fn sockets(
    service: &Service,
    protocol: Protocol,
    port: Port,
) -> Result<Vec<Socket>, Refusal> {
    let (own, kin) = (
        service.own_sockets(protocol, port),
        service.kin(Some((protocol, port))),
    );
    let look = move || {
        let entries = Occupancy::on_port(protocol, port)?;
        let (own, others): (Vec<Entry>, Vec<Entry>) = entries
            .into_iter()
            .partition(|entry| own.contains(&entry.inode));
        let own = own.into_iter().map(|entry| Socket::new(entry, None));
        Ok(own.chain(occupants::behind(others, &kin)).collect())
    };
    let found = tokio::task::spawn_blocking(look).await;
    let found = found.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    found.map_err(Refusal::SocketTables)
}

/// The document of a port with these sockets, as this viewer may see it.
pub async fn about(
    service: &Service,
    viewer: &Viewer,
    protocol: Protocol,
    port: Port,
    sockets: &[Socket],
) -> Result<PortDocument, StoreError> {
    let living = service.leases_on(protocol, port);
    let shown = living
        .iter()
        .map(|lease| leases::shown(leases::document(service, lease), viewer));
    let record = stats::of_port(service, viewer, protocol.as_str(), port.get()).await?;
    let filter = AttemptFilter {
        ports: Some(port.get()..=port.get()),
        protocol: Some(protocol),
        uid: viewer.only_user(),
        limit: ATTEMPTS,
        ..AttemptFilter::default()
    };
    let tried = service.store().attempts(&filter).await?;
    let tried = tried
        .into_iter()
        .map(|attempt| veil::shown(attempt, viewer));
    Ok(PortDocument {
        protocol,
        port,
        leases: shown.map(with_owner).collect(),
        occupants: named(service, viewer, (protocol, port), sockets).await,
        redirected: redirected(service, protocol, port, sockets).await,
        attempts: tried.collect(),
        exclusion: service.exclusions().get(protocol, port).cloned(),
        record,
        sightings: sightings(service, viewer, protocol, port).await?,
    })
}

/// The occupants of a port, with the names of containers for which they listen. A name that an
/// unprivileged service was told is its user's to see, like the engine's socket.
async fn named(
    service: &Service,
    viewer: &Viewer,
    place: (Protocol, Port),
    sockets: &[Socket],
) -> Vec<OccupantDocument> {
    let mut occupants = occupants::of_others(sockets, viewer);
    let may_be_proxy = |one: &OccupantDocument| {
        let command = one.occupant.command.as_deref();
        one.occupant.state == SocketState::Listening && command.is_none_or(container::is_proxy)
    };
    if occupants.iter().any(may_be_proxy) {
        service.refresh_containers().await;
    }
    for one in occupants.iter_mut().filter(|one| may_be_proxy(one)) {
        let Occupant {
            pid, uid, command, ..
        } = &one.occupant;
        if viewer.sees_program_of(*uid) || viewer.sees_program_of(None) {
            let command = command.as_deref().unwrap_or_default();
            let name = service.container_of(place, pid.unwrap_or_default(), command);
            one.process.container_name = name;
        }
    }
    occupants
}

/// Address at which a packet filter redirects a port on which no process listens.
async fn redirected(
    service: &Service,
    protocol: Protocol,
    port: Port,
    sockets: &[Socket],
) -> Option<IpAddr> {
    let listens = |socket: &Socket| socket.entry.state == SocketState::Listening;
    if protocol != Protocol::Tcp || sockets.iter().any(listens) {
        return None;
    }
    let host = service.interfaces().current().ok()?;
    let any = AddressGroup::new([BindAddress::wildcard(Family::Ipv4)]);
    redirected_at(&addresses_to_try(&any, &host), port).await
}

/// Programs outside portbook that snapshots saw on the port, the latest first.
async fn sightings(
    service: &Service,
    viewer: &Viewer,
    protocol: Protocol,
    port: Port,
) -> Result<Vec<SightingDocument>, StoreError> {
    if let Err(error) = service.write_sightings().await {
        tracing::warn!(%error, "could not write the latest sightings; older ones are shown");
    }
    let reader = service.store().reader();
    let seen = reader.seen_on(protocol, port, i64::MIN, SIGHTINGS).await?;
    let shown = |seen| SightingDocument::of(seen, |uid| viewer.sees_program_of(uid));
    Ok(seen.into_iter().filter_map(shown).collect())
}

/// Adds details of the owner, if the viewer may see the owner.
fn with_owner(mut lease: LeaseDocument) -> LeaseDocument {
    if let Some(owner) = &mut lease.owner {
        let OwnerDocument { pid, command, .. } = owner;
        let container_name = owner.process.container_name.take();
        owner.process = ProcessDocument {
            container_name,
            ..process::details(*pid, Some(command)).into()
        };
    }
    lease
}
