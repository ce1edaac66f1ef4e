//! `/api/v1/ports/{tcp|udp}/{n}`: who is on one port.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::document::{
    LeaseDocument, OccupantDocument, OwnerDocument, PortDocument, ProcessDocument,
};
use super::leases::shown;
use super::problem::{Code, Problem};
use super::{Face, attempts, stats};
use crate::access::Viewer;
use crate::domain::attempt::Occupant;
use crate::domain::port::{Port, Protocol};
use crate::engine::service::Service;
use crate::host::occupancy::{self, Entry, Occupancy};
use crate::host::process;
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

/// A socket on a port, and who has it.
#[derive(Debug, Clone)]
pub struct Socket {
    /// The socket.
    pub entry: Entry,
    /// Not for everybody's eyes.
    occupant: Option<Occupant>,
}

impl Socket {
    /// A socket of somebody.
    pub const fn new(entry: Entry, occupant: Option<Occupant>) -> Self {
        Self { entry, occupant }
    }

    /// Who has it, as this viewer may see it; none where it is a hold of portbook's.
    pub fn seen_by(&self, viewer: &Viewer) -> Option<Occupant> {
        let mut occupant = self.occupant.clone()?;
        attempts::veil(&mut occupant, viewer);
        Some(occupant)
    }
}

/// The sockets on a port at this moment: portbook's own holds, then those of others, who listens
/// first. The kernel goes through its tables for it, and who is behind them is found in `/proc`; both
/// block, so it is done aside, and once a request.
pub async fn sockets(service: &Service, protocol: Protocol, port: Port) -> Vec<Socket> {
    let own = service.own_sockets(protocol, port);
    let look = move || {
        let entries = Occupancy::on_port(protocol, port).unwrap_or_default();
        named(entries, |entry| own.contains(&entry.inode))
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

fn named(entries: Vec<Entry>, is_own: impl Fn(&Entry) -> bool) -> Vec<Socket> {
    let (own, others): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(is_own);
    let own = own.into_iter().map(|entry| Socket::new(entry, None));
    let others = occupancy::behind(others).into_iter();
    let others = others.map(|(entry, occupant)| Socket::new(entry, Some(occupant)));
    own.chain(others).collect()
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
        occupants: occupants(sockets, viewer),
        attempts: tried.collect(),
        exclusion: service.exclusions().get(protocol, port).cloned(),
        record: record.map(Into::into),
    })
}

/// A lease with more about its owner, if the viewer may know who that is.
fn with_owner(mut lease: LeaseDocument) -> LeaseDocument {
    if let Some(owner) = &mut lease.owner {
        let OwnerDocument { pid, command, .. } = owner;
        owner.process = process::details(*pid, Some(command)).into();
    }
    lease
}

/// Who is on it, each once, but for portbook itself.
fn occupants(sockets: &[Socket], viewer: &Viewer) -> Vec<OccupantDocument> {
    let me = std::process::id();
    let mut seen: Vec<&Occupant> = Vec::new();
    let mut documents = Vec::new();
    for socket in sockets {
        let Some(occupant) = &socket.occupant else {
            continue;
        };
        if occupant.pid != Some(me) && !seen.contains(&occupant) {
            seen.push(occupant);
            documents.extend(socket.seen_by(viewer).map(with_process));
        }
    }
    documents
}

/// An occupant with more about its process, if the viewer may know which it is.
fn with_process(occupant: Occupant) -> OccupantDocument {
    let details = occupant
        .pid
        .map(|pid| process::details(pid, occupant.command.as_deref()));
    let user = occupant.uid.and_then(process::user_name);
    OccupantDocument {
        occupant,
        process: ProcessDocument {
            user,
            ..details.unwrap_or_default().into()
        },
    }
}
