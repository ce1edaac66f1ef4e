//! `/api/v1/ports/{tcp|udp}/{n}`: who is on one port.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::document::{LeaseDocument, OwnerDocument, PortDocument, SightingDocument};
use super::leases::shown;
pub use super::occupants::Socket;
use super::problem::{Code, Problem};
use super::{AppState, attempts, occupants, stats};
use crate::access::Viewer;
use crate::domain::port::{Port, Protocol};
use crate::engine::service::Service;
use crate::host::occupancy::{Entry, Occupancy};
use crate::host::process;
use crate::store::{AttemptFilter, StoreError};

/// How many of its latest attempts are told.
const ATTEMPTS: u32 = 20;

/// Maximum number of sightings, the latest first.
const SIGHTINGS: u32 = 20;

/// The same for TCP, which is what most people mean by a port.
pub async fn show_tcp(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let both = Path::from((Protocol::Tcp.as_str().to_owned(), path.into_inner()));
    show(face, viewer, both).await
}

/// Who is on a port, lease or occupant, and what was tried on it.
pub async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (protocol, port) = parsed(&path)?;
    let sockets = sockets(&face.service, protocol, port).await;
    let found = about(&face.service, &viewer, protocol, port, &sockets).await?;
    Ok(HttpResponse::Ok().json(found))
}

/// The port that an address names.
pub(super) fn parsed((protocol, port): &(String, String)) -> Result<(Protocol, Port), Problem> {
    let invalid = |wrong: String| Problem::new(Code::InvalidRequest, wrong);
    let protocol: Protocol = protocol
        .parse()
        .map_err(|_| invalid(format!("\"{protocol}\" is neither tcp nor udp")))?;
    let port: Port = port
        .parse()
        .map_err(|error: crate::domain::port::PortError| invalid(error.to_string()))?;
    Ok((protocol, port))
}

/// The sockets on a port at this moment: portbook's own holds, then those of others, who listens
/// first. The kernel goes through its tables for it, and who is behind them is found in `/proc`; both
/// block, so it is done aside, and once a request.
pub async fn sockets(service: &Service, protocol: Protocol, port: Port) -> Vec<Socket> {
    let (own, kin) = (
        service.own_sockets(protocol, port),
        service.kin(Some((protocol, port))),
    );
    let look = move || {
        let entries = Occupancy::on_port(protocol, port).unwrap_or_default();
        let (own, others): (Vec<Entry>, Vec<Entry>) = entries
            .into_iter()
            .partition(|entry| own.contains(&entry.inode));
        let own = own.into_iter().map(|entry| Socket::new(entry, None));
        own.chain(occupants::behind(others, &kin)).collect()
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

/// Everything of one port, with these sockets on it, that this viewer may know.
pub async fn about(
    service: &Service,
    viewer: &Viewer,
    protocol: Protocol,
    port: Port,
    sockets: &[Socket],
) -> Result<PortDocument, StoreError> {
    let leases = service.leases_on(protocol, port);
    let leases = leases
        .iter()
        .map(|lease| shown(LeaseDocument::of(lease, service.clock()), viewer));
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
        .map(|attempt| attempts::shown(attempt, viewer));
    Ok(PortDocument {
        protocol,
        port,
        leases: leases.map(with_owner).collect(),
        occupants: occupants::of_others(sockets, viewer),
        attempts: tried.collect(),
        exclusion: service.exclusions().get(protocol, port).cloned(),
        record,
        sightings: sightings(service, viewer, protocol, port).await?,
    })
}

/// Others who were seen on it, the latest first.
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

/// A lease with more about its owner, if the viewer may know who that is.
fn with_owner(mut lease: LeaseDocument) -> LeaseDocument {
    if let Some(owner) = &mut lease.owner {
        let OwnerDocument { pid, command, .. } = owner;
        owner.process = process::details(*pid, Some(command)).into();
    }
    lease
}
