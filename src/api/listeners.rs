//! `/api/v1/listeners`: every process that listens on this host, of a lease or not.

use std::collections::VecDeque;

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AppState;
use super::document::ListenerDocument;
use super::occupants::{self, Group, Socket};
use super::paging::{self, DEFAULT_LIMIT};
use super::problem::{Code, Problem};
use crate::access::Viewer;
use crate::domain::port::{Port, PortSet, Protocol, Protocols, ports_in_text};
use crate::engine::refusal::Refusal;
use crate::engine::service::Service;
use crate::host::occupancy::Occupancy;

/// `GET /api/v1/listeners?…`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ListenerQuery")]
pub struct ListenerQuery {
    /// On these ports: `3000`, `3000-3010`, or several with commas between them.
    #[schemars(schema_with = "ports_in_text")]
    pub ports: Option<PortSet>,
    /// `tcp` or `udp`; both if it is left out.
    pub protocol: Option<Protocol>,
    /// Maximum number of rows, 1 to 1000; 100 if it is left out. Listeners of one port are never
    /// parted, so an answer can have a few more.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Only those on ports above this one.
    pub after: Option<Port>,
}

/// The listeners of a page.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ListenerList")]
pub struct ListenerList {
    /// By port, TCP first.
    pub listeners: Vec<ListenerDocument>,
    /// Path of the next page. `None` on the last one.
    pub next: Option<String>,
}

/// Lists listeners.
pub async fn list(
    face: Data<AppState>,
    viewer: Viewer,
    wanted: Query<ListenerQuery>,
) -> Result<HttpResponse, Problem> {
    paging::limit(wanted.limit)?;
    if wanted.ports.as_ref().is_some_and(PortSet::is_empty) {
        let detail = "ports: name one port at least, such as 3000-3010, or leave it out";
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let found = about(&face.service, &viewer, &wanted).await?;
    Ok(HttpResponse::Ok().json(found))
}

/// A page of the listeners that are wanted, as this viewer may see them. The walk of `/proc` blocks,
/// so it is done aside.
pub async fn about(
    service: &Service,
    viewer: &Viewer,
    wanted: &ListenerQuery,
) -> Result<ListenerList, Problem> {
    let kin = service.kin(None);
    let (viewer, wanted) = (viewer.clone(), wanted.clone());
    let look = move || {
        let mut entries = listening(&wanted)?;
        entries.retain(|entry| !kin.is_hold(entry));
        let mut sockets = occupants::behind(entries, &kin);
        sockets.sort_by_key(|socket| (socket.entry.port, socket.entry.protocol));
        Ok(page(&sockets, &viewer, &wanted))
    };
    let found = tokio::task::spawn_blocking(look).await;
    let found = found.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    found.map_err(|error| Refusal::SocketTables(error).into())
}

fn listening(wanted: &ListenerQuery) -> std::io::Result<Vec<crate::host::occupancy::Entry>> {
    let protocols = wanted.protocol.map_or(Protocols::Both, Protocols::from);
    let mut entries = Vec::new();
    for protocol in protocols.each() {
        entries.append(&mut Occupancy::listening(*protocol)?);
    }
    entries.retain(|entry| {
        let ports = wanted.ports.as_ref();
        ports.is_none_or(|ports| ports.contains(entry.port))
            && wanted.after.is_none_or(|after| entry.port > after)
    });
    Ok(entries)
}

/// The first groups, as many as fit, and never a part of a port.
fn page(sockets: &[Socket], viewer: &Viewer, wanted: &ListenerQuery) -> ListenerList {
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT) as usize;
    let mut groups: VecDeque<Group<'_>> = occupants::grouped(sockets).into();
    let mut page = ListenerList::default();
    let mut last = None;
    while let Some(group) = groups.pop_front() {
        if page.listeners.len() >= limit && last != Some(group.port) {
            page.next = last.map(|last| next(wanted, last));
            break;
        }
        last = Some(group.port);
        let document = group.document(viewer);
        page.listeners
            .extend(document.map(|occupant| ListenerDocument {
                protocol: group.protocol,
                port: group.port,
                occupant,
            }));
    }
    page
}

fn next(wanted: &ListenerQuery, last: Port) -> String {
    let wanted = ListenerQuery {
        after: Some(last),
        ..wanted.clone()
    };
    format!("/api/v1/listeners?{}", query(&wanted))
}

/// As an address has it.
pub fn query(wanted: &ListenerQuery) -> String {
    // Plain words and numbers: it cannot fail.
    serde_urlencoded::to_string(wanted).unwrap_or_default()
}
