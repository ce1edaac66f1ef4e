//! `/ports/{protocol}/{n}`: everything about one port: who has it, what it costs, its past.

mod changing;
mod opinion;
mod strip;

use std::sync::Arc;

use actix_web::web::{Data, Path};
use askama::Template;
use jiff::Timestamp;

pub(super) use self::changing::{exclude, include, keep};

use self::changing::Choices;
use self::opinion::OpinionRow;
use self::strip::{LENGTH, Strip, Visit};
use super::errors::PageError;
use super::format::{When, percent};
use super::frame::Frame;
use super::map;
use super::page::Page;
use super::part::attempt::AttemptRow;
use super::part::badge::{Badge, Tone};
use super::part::lease::{Ends, LeaseRow};
use crate::access::Viewer;
use crate::api::AppState;
use crate::api::document::{LeaseDocument, OccupantDocument, PortRecord, SightingDocument};
use crate::api::ports::{self, Socket};
use crate::api::problem::{Code, Problem};
use crate::domain::address::BindAddress;
use crate::domain::attempt::{SocketState, printable};
use crate::domain::lease::{Lease, State};
use crate::domain::port::{Port, PortError, Protocol};
use crate::domain::relation::Relation;
use crate::domain::words::{UnknownWord, grouped, listed};
use crate::host::interface::Snapshot;
use crate::store::Seen;

/// So many of its latest leases are told of.
const LEASES: u32 = 30;

/// Maximum number of sightings in the strip.
const SEEN: u32 = 5000;

/// The page.
#[derive(Debug, Template)]
#[template(path = "port.html")]
pub(super) struct PortPage {
    frame: Frame,
    as_of: When,
    protocol: Protocol,
    other_protocol: Protocol,
    port: u16,
    before: Option<u16>,
    after: Option<u16>,
    map: String,
    choices: Choices,
    addresses: Vec<AddressRow>,
    leases: Vec<LeaseRow>,
    sockets: Vec<SocketRow>,
    numbers: Option<Numbers>,
    opinions: Vec<OpinionRow>,
    strip: Strip,
    visits: Vec<VisitRow>,
    past: Vec<PastRow>,
    attempts: Vec<AttemptRow>,
}

/// One address of the host.
#[derive(Debug)]
struct AddressRow {
    address: String,
    interface: String,
    state: Badge,
    who: String,
}

/// A socket on the port.
#[derive(Debug)]
struct SocketRow {
    who: String,
    state: &'static str,
    /// User, program, container and unit, as far as known and the reader's to know.
    facts: Vec<(&'static str, String)>,
}

/// What all attempts on it add up to.
#[derive(Debug)]
struct Numbers {
    attempts: String,
    got: String,
    in_use: String,
    last: Option<When>,
    last_refused: Option<When>,
    in_the_way: String,
}

/// Time in which a program of others was on the port.
#[derive(Debug)]
struct VisitRow {
    who: String,
    address: String,
    when: String,
}

impl VisitRow {
    fn of(seen: &SightingDocument) -> Self {
        let ms = |at: Timestamp| at.as_millisecond();
        let from = strip::clock(ms(seen.from));
        Self {
            who: seen.to_string(),
            address: seen.address.clone(),
            when: match seen.until {
                Some(until) => format!("{from} to {}", strip::clock(ms(until))),
                None => format!("since {from}"),
            },
        }
    }
}

/// A lease that has ended.
#[derive(Debug)]
struct PastRow {
    /// Its page, where the reader may see it.
    href: Option<String>,
    name: Option<String>,
    folder: Option<String>,
    uid: u32,
    state: Badge,
    granted: When,
    ended: Option<When>,
}

/// Shows the page of a port.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    path: Path<(String, String)>,
) -> Result<Page<PortPage>, PageError> {
    let (protocol, port) = parsed(&path)?;
    let service = &face.service;
    let now = service.clock().now();
    let sockets = ports::sockets(service, protocol, port).await;
    let about = ports::about(service, &viewer, protocol, port, &sockets).await;
    let about = about.map_err(Problem::from)?;
    let living = service.leases_on(protocol, port);
    let reader = service.store().reader();
    let leases = reader.leases_on(protocol, port, LEASES).await;
    let leases: Vec<Lease> = leases
        .map_err(Problem::from)?
        .into_iter()
        .map(|stored| stored.lease)
        .collect();
    let seen = reader
        .seen_on(protocol, port, strip::begin(now), SEEN)
        .await;
    let seen = seen.map_err(Problem::from)?;
    let watched = reader.watched_since().await.map_err(Problem::from)?;
    let opinions = service.opinions(protocol, port).map_err(Problem::from)?;
    Ok(Page(PortPage {
        frame,
        as_of: When::of(now, now),
        protocol,
        other_protocol: match protocol {
            Protocol::Tcp => Protocol::Udp,
            Protocol::Udp => Protocol::Tcp,
        },
        port: port.get(),
        before: port.get().checked_sub(1).filter(|before| *before > 0),
        after: port.get().checked_add(1),
        map: map::href_of(protocol, port),
        choices: Choices::of(&face, &viewer, protocol, port),
        addresses: addresses(&face, &viewer, &living, &sockets),
        leases: rows(about.leases, &viewer, now),
        sockets: about.occupants.into_iter().map(SocketRow::from).collect(),
        numbers: about.record.map(|record| Numbers::of(&record, now)),
        opinions: opinions.iter().map(OpinionRow::of).collect(),
        strip: strip_of(&living, &leases, &seen, watched, (&viewer, now)),
        visits: about.sightings.iter().map(VisitRow::of).collect(),
        past: past(&leases, &viewer, now),
        attempts: about
            .attempts
            .into_iter()
            .map(|attempt| AttemptRow::of(attempt, now))
            .collect(),
    }))
}

fn parsed((protocol, port): &(String, String)) -> Result<(Protocol, Port), Problem> {
    let protocol = protocol.parse().map_err(|_: UnknownWord| {
        let detail = "the protocol of a port is tcp or udp: /ports/tcp/8080";
        Problem::new(Code::InvalidRequest, detail)
    })?;
    let port = port
        .parse()
        .map_err(|error: PortError| Problem::new(Code::InvalidRequest, error.to_string()))?;
    Ok((protocol, port))
}

fn rows(leases: Vec<LeaseDocument>, viewer: &Viewer, now: Timestamp) -> Vec<LeaseRow> {
    let row = |lease: LeaseDocument| {
        let open = viewer.sees(lease.uid);
        LeaseRow::of(lease, open, None, now)
    };
    leases.into_iter().map(row).collect()
}

/// Every address of the host, with who has the port there.
fn addresses(
    face: &AppState,
    viewer: &Viewer,
    leases: &[Arc<Lease>],
    sockets: &[Socket],
) -> Vec<AddressRow> {
    let Ok(host) = face.service.interfaces().current() else {
        return Vec::new();
    };
    let addresses = bind_addresses(&host).into_iter();
    addresses
        .map(|address| AddressRow::of(&address, leases, sockets, viewer))
        .collect()
}

/// The wildcards, then every address.
fn bind_addresses(host: &Snapshot) -> Vec<BindAddress> {
    let wildcards = host.families.iter().copied().map(BindAddress::wildcard);
    let single = host.interfaces.iter().flat_map(|interface| {
        let addresses = interface.addresses.iter();
        addresses.map(|address| BindAddress {
            interface: Arc::clone(&interface.name),
            ip: address.ip,
            scope: address.scope,
        })
    });
    wildcards.chain(single).collect()
}

impl AddressRow {
    fn of(
        address: &BindAddress,
        leases: &[Arc<Lease>],
        sockets: &[Socket],
        viewer: &Viewer,
    ) -> Self {
        let (state, who) = state_on(address, leases, sockets, viewer);
        Self {
            address: address.to_string(),
            interface: address.interface.to_string(),
            state,
            who,
        }
    }
}

/// Who has the port on an address: a lease before any socket, since a lease's own sockets are there.
fn state_on(
    address: &BindAddress,
    leases: &[Arc<Lease>],
    sockets: &[Socket],
    viewer: &Viewer,
) -> (Badge, String) {
    let on_it = |lease: &&Arc<Lease>| {
        let mut addresses = lease.addresses.addresses().iter();
        addresses.any(|leased| leased.overlaps(address))
    };
    if let Some(lease) = leases.iter().find(on_it) {
        let who = match &lease.name {
            Some(name) if viewer.sees(lease.uid) => format!("lease {name}"),
            _ => format!("a lease of uid {}", lease.uid),
        };
        return (Badge::lease(lease.state), who);
    }
    let mut sockets = sockets.iter();
    // Who listens comes first.
    match sockets.find(|socket| socket.entry.overlaps(address)) {
        Some(socket) if socket.entry.state == SocketState::Lingering => (
            badge(Tone::Good, "free"),
            "closing connections only".to_owned(),
        ),
        Some(socket) => (badge(Tone::Bad, "taken"), whose(socket, viewer)),
        None => (badge(Tone::Good, "free"), "nobody".to_owned()),
    }
}

/// Whose a socket is: the process where the viewer may know it, else the user.
fn whose(socket: &Socket, viewer: &Viewer) -> String {
    let entry = &socket.entry;
    let process = socket.seen_by(viewer).filter(|seen| seen.pid.is_some());
    let who = process.map_or_else(|| "a socket".to_owned(), |process| process.to_string());
    let user = entry.uid.map(|uid| format!(", uid {uid}"));
    format!(
        "{who}, {}{}",
        entry.state.as_str(),
        user.unwrap_or_default()
    )
}

const fn badge(tone: Tone, word: &'static str) -> Badge {
    Badge { tone, word }
}

impl From<OccupantDocument> for SocketRow {
    fn from(found: OccupantDocument) -> Self {
        let process = found.process;
        let executable = process.executable;
        let is = match (found.relation, &found.holds) {
            (Relation::Owner, _) => "the lease's own".to_owned(),
            (Relation::Portbook, _) => "portbook's own".to_owned(),
            (Relation::Stranger, None) => "a stranger".to_owned(),
            (Relation::Stranger, Some(lease)) => {
                let name = lease.name.as_ref().map(ToString::to_string);
                let name = name.unwrap_or_else(|| "a lease".to_owned());
                format!(
                    "a stranger here; its program holds {name} on {}",
                    lease.port
                )
            }
        };
        let facts = [
            ("is", Some(is)),
            ("on", Some(found.addresses.join(" "))),
            ("user", process.user),
            (
                "program",
                executable.map(|file| file.to_string_lossy().into_owned()),
            ),
            ("container", process.container),
            ("unit", process.unit),
        ];
        let known = facts.into_iter();
        Self {
            who: found.occupant.to_string(),
            state: found.occupant.state.as_str(),
            facts: known
                .filter_map(|(word, text)| Some((word, printable(&text?))))
                .collect(),
        }
    }
}

impl Numbers {
    fn of(record: &PortRecord, now: Timestamp) -> Self {
        let outcomes = &record.outcomes;
        let (attempts, got) = (outcomes.attempts, outcomes.bound + outcomes.lingering);
        let names = record.occupants.iter().map(|occupant| {
            let who = match (&occupant.command, occupant.uid) {
                (Some(command), _) => printable(command),
                (None, Some(uid)) => format!("uid {uid}"),
                (None, None) => "somebody not named".to_owned(),
            };
            format!("{who} ({}×)", grouped(occupant.attempts))
        });
        let names: Vec<String> = names.collect();
        Self {
            attempts: grouped(attempts),
            got: percent(got, attempts),
            in_use: grouped(outcomes.in_use),
            last: record.last_at.map(|at| When::of(at, now)),
            last_refused: record.last_refused_at.map(|at| When::of(at, now)),
            in_the_way: listed(&names),
        }
    }
}

fn strip_of(
    living: &[Arc<Lease>],
    leases: &[Lease],
    seen: &[Seen],
    watched: Option<i64>,
    (viewer, now): (&Viewer, Timestamp),
) -> Strip {
    let now_ms = now.as_millisecond();
    let span = |lease: &Lease| {
        let ended = lease.ended_at.map_or(now_ms, Timestamp::as_millisecond);
        (lease.granted_at.as_millisecond(), ended)
    };
    let living = living.iter().map(|lease| span(lease));
    let ended = leases.iter().filter(|lease| lease.ended_at.is_some());
    let ours: Vec<strip::Span> = living.chain(ended.map(span)).collect();
    let others = seen.iter().filter_map(|seen| {
        let span = (seen.from_ms, seen.until_ms.unwrap_or(now_ms));
        let who = SightingDocument::of(seen.clone(), |uid| viewer.sees_program_of(uid))?;
        Some((span, who.to_string()))
    });
    let others: Vec<Visit> = others.collect();
    Strip::of(&ours, &others, watched, now)
}

fn past(leases: &[Lease], viewer: &Viewer, now: Timestamp) -> Vec<PastRow> {
    let ended = leases.iter().filter(|lease| lease.ended_at.is_some());
    let row = |lease: &Lease| {
        let open = viewer.sees(lease.uid);
        let name = lease.name.as_ref().filter(|_| open);
        PastRow {
            href: open.then(|| format!("/leases/{}", lease.id)),
            name: name.map(ToString::to_string),
            folder: lease
                .scope
                .folder()
                .filter(|_| open)
                .map(|folder| printable(&folder.display().to_string())),
            uid: lease.uid,
            state: Badge::lease(lease.state),
            granted: When::of(lease.granted_at, now),
            ended: lease.ended_at.map(|at| When::of(at, now)),
        }
    };
    ended.map(row).collect()
}

impl PortPage {
    /// Whether a lease or a socket of anybody is on it now.
    const fn is_free(&self) -> bool {
        self.leases.is_empty() && self.sockets.is_empty()
    }

    /// Whether a lease on it is in others' hands.
    fn is_lost(&self) -> bool {
        let lost = Badge::lease(State::Lost);
        self.leases.iter().any(|lease| lease.state == lost)
    }
}

#[cfg(test)]
mod tests;
