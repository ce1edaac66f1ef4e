//! Every process that listens on this host, for a lease or not.

use std::collections::VecDeque;
use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::ListenerDocument;
use super::occupants::{self, Group, Socket};
use super::operation::{Answered, Context, Description, Method, Operation, Output, Query, Tag};
use super::paging;
use super::problem::{Code, Problem};
use super::viewer::Viewer;
use crate::domain::port::{Port, PortSet, Protocol, Protocols, ports_in_text};
use crate::engine::refusal::Refusal;
use crate::host::occupancy::{Entry, Occupancy};

/// Filters of a list of listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
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

/// A page of listeners.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ListenerList {
    /// By port, TCP first.
    pub listeners: Vec<ListenerDocument>,
    /// Path of the next page. `None` on the last one.
    pub next: Option<String>,
}

impl Output for ListenerList {}

pub struct ListListeners;

impl Operation for ListListeners {
    type Input = Query<ListenerQuery>;
    type Output = ListenerList;
    const METHOD: Method = Method::Get;
    const PATH: &'static str = "/api/v1/listeners";
    const ID: &'static str = "listListeners";

    fn describe(described: Description) -> Description {
        described
            .about(Tag::Ports, "List listeners")
            .says(
                "Every process that listens on this host, for a lease or not, according to the kernel's \
                 tables right now. A process of another user is listed without its name. `next` leads to \
                 the next page.",
            )
            .answers::<ListenerList>(
                200,
                "The listeners.",
                include_str!("example/listeners.json"),
            )
            .refused(&[Code::HostError])
    }
}

impl Answered for ListListeners {
    async fn answer(
        context: Context<'_>,
        Query(query): Query<ListenerQuery>,
    ) -> Result<ListenerList, Problem> {
        let limit = paging::limit(query.limit)?;
        if query.ports.as_ref().is_some_and(PortSet::is_empty) {
            return Err(Problem::invalid(
                "ports: name one port at least, such as 3000-3010, or leave it out",
            ));
        }
        let (kin, viewer) = (context.service.kin(None), context.viewer.clone());
        let look = move || {
            let mut entries = listening(&query)?;
            entries.retain(|entry| !kin.is_hold(entry));
            let mut sockets = occupants::behind(entries, &kin);
            sockets.sort_by_key(|socket| (socket.entry.port, socket.entry.protocol));
            Ok(page(&sockets, &viewer, &query, limit as usize))
        };
        // The walk of `/proc` blocks.
        let found = tokio::task::spawn_blocking(look).await;
        let found = found.unwrap_or_else(|error| Err(io::Error::other(error)));
        found.map_err(|error| Refusal::SocketTables(error).into())
    }
}

fn listening(query: &ListenerQuery) -> io::Result<Vec<Entry>> {
    let protocols = query.protocol.map_or(Protocols::Both, Protocols::from);
    let mut entries = Vec::new();
    for protocol in protocols.each() {
        entries.append(&mut Occupancy::listening(*protocol)?);
    }
    entries.retain(|entry| {
        let ports = query.ports.as_ref();
        ports.is_none_or(|ports| ports.contains(entry.port))
            && query.after.is_none_or(|after| entry.port > after)
    });
    Ok(entries)
}

/// The first groups up to `limit`, and the rest of the last port.
fn page(sockets: &[Socket], viewer: &Viewer, query: &ListenerQuery, limit: usize) -> ListenerList {
    let mut groups: VecDeque<Group<'_>> = occupants::grouped(sockets).into();
    let mut page = ListenerList::default();
    let mut last = None;
    while let Some(group) = groups.pop_front() {
        if page.listeners.len() >= limit && last != Some(group.port) {
            let next = ListenerQuery {
                after: last,
                ..query.clone()
            };
            page.next = Some(paging::next::<ListListeners>(&next));
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
