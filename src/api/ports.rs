//! `/api/v1/ports/{tcp|udp}/{n}`: who is on one port.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::document::{LeaseDocument, PortDocument};
use super::leases::shown;
use super::problem::{Code, Problem};
use super::{Face, attempts};
use crate::access::Viewer;
use crate::domain::address::{BindAddress, Family};
use crate::domain::attempt::Occupant;
use crate::domain::port::{Port, Protocol};
use crate::engine::service::Service;
use crate::host::occupancy;
use crate::store::{AttemptFilter, StoreError};

/// How many of its latest attempts are told.
const ATTEMPTS: u32 = 20;

/// The same for TCP, which is what most people mean by a port.
pub async fn show_tcp(
    face: Data<Face>,
    viewer: Viewer,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let both = Path::from((Protocol::Tcp.as_str().to_owned(), path.into_inner()));
    show(face, viewer, both).await
}

/// Who is on a port, lease or occupant, and what was tried on it.
pub async fn show(
    face: Data<Face>,
    viewer: Viewer,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let invalid = |wrong: String| Problem::new(Code::InvalidRequest, wrong);
    let (protocol, port) = path.into_inner();
    let protocol: Protocol = protocol
        .parse()
        .map_err(|_| invalid(format!("\"{protocol}\" is neither tcp nor udp")))?;
    let port: Port = port
        .parse()
        .map_err(|error: crate::domain::port::PortError| invalid(error.to_string()))?;
    let mut found = about(&face.service, &viewer, protocol, port).await?;
    found.leases = found
        .leases
        .into_iter()
        .map(|lease| shown(lease, &viewer))
        .collect();
    for occupant in &mut found.occupants {
        attempts::veil(occupant, &viewer);
    }
    Ok(HttpResponse::Ok().json(found))
}

/// Everything known of one port.
pub async fn about(
    service: &Service,
    viewer: &Viewer,
    protocol: Protocol,
    port: Port,
) -> Result<PortDocument, StoreError> {
    let leases = service.leases_on(protocol, port);
    let filter = AttemptFilter {
        port: Some(port.get()),
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
        leases: leases
            .iter()
            .map(|lease| LeaseDocument::of(lease, service.clock()))
            .collect(),
        occupants: occupants(protocol, port).await,
        attempts: tried
            .filter(|attempt| attempt.protocol == protocol.as_str())
            .collect(),
    })
}

/// Who is on it, but for portbook's own holds. The walk of `/proc` blocks, so it is done aside.
async fn occupants(protocol: Protocol, port: Port) -> Vec<Occupant> {
    let everywhere = [Family::Ipv4, Family::Ipv6].map(BindAddress::wildcard);
    let me = std::process::id();
    let look = move || occupancy::occupants(protocol, port, &everywhere);
    let mut occupants = tokio::task::spawn_blocking(look).await.unwrap_or_default();
    occupants.retain(|occupant| occupant.pid != Some(me));
    occupants
}
