//! `/ports/{protocol}/{n}`: one port: its leases and sockets, its expected cost, and its history.

mod changing;
mod occupancy;
mod opinion;

use std::sync::Arc;

use actix_web::web::{Data, Path};
use askama::Template;
use jiff::Timestamp;

pub(super) use self::changing::{exclude, include, keep};

use self::changing::Choices;
use self::occupancy::AddressRow;
use super::chart::strip::{self, LENGTH, Strip, Visit};
use super::errors::PageError;
use super::filters;
use super::format::percent;
use super::frame::Frame;
use super::map;
use super::page::Page;
use super::part::badge::{Badge, Tone};
use super::part::lease::{LeaseRow, is_web_address, urgency};
use crate::access::Viewer;
use crate::answers::document::{
    LeaseDocument, OccupantStats, PortDocument, PortRecord, SightingDocument,
};
use crate::answers::ports;
use crate::api::AppState;
use crate::api::problem::{Code, Problem};
use crate::domain::attempt::{SocketState, printable};
use crate::domain::lease::{Lease, State};
use crate::domain::port::{Port, PortError, Protocol};
use crate::domain::words::{UnknownWord, grouped, listed};
use crate::engine::survey::Opinion;
use crate::store::{Seen, StoreError};

/// Maximum number of leases in the strip and in the table of ended ones.
const LEASES: u32 = 30;

/// Maximum number of sightings in the strip.
const SEEN: u32 = 5000;

#[derive(Debug, Template)]
#[template(path = "port.html")]
pub(super) struct PortPage {
    frame: Frame,
    now: Timestamp,
    about: PortDocument,
    choices: Choices,
    addresses: Vec<AddressRow>,
    leases: Vec<LeaseRow>,
    opinions: Vec<Opinion>,
    strip: Strip,
    /// Ended leases, the latest first.
    past: Vec<LeaseRow>,
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
    let sockets = sockets.map_err(Problem::from)?;
    let about = ports::about(service, &viewer, protocol, port, &sockets).await;
    let about = about.map_err(Problem::from)?;
    let living = service.leases_on(protocol, port);
    let record = Record::read(&face, protocol, port, now).await;
    let record = record.map_err(Problem::from)?;
    let opinions = service.opinions(protocol, port).map_err(Problem::from)?;
    let leases = about.leases.iter().cloned();
    let ended = record.leases.iter().filter(|it| it.ended_at.is_some());
    let ended = ended.map(|lease| LeaseDocument::as_recorded(lease, service.clock()));
    Ok(Page(PortPage {
        choices: Choices::of(&face, &viewer, protocol, port),
        addresses: occupancy::addresses(&face, &viewer, &living, &sockets),
        leases: leases.map(|lease| LeaseRow::of(lease, &viewer)).collect(),
        strip: record.strip(&living, &viewer, !opinions.is_empty(), now),
        past: ended.map(|lease| LeaseRow::of(lease, &viewer)).collect(),
        opinions,
        about,
        frame,
        now,
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

/// The past of a port on record.
struct Record {
    leases: Vec<Lease>,
    seen: Vec<Seen>,
    /// Time of the first snapshot in milliseconds.
    watched: Option<i64>,
}

impl Record {
    async fn read(
        face: &AppState,
        protocol: Protocol,
        port: Port,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let reader = face.service.store().reader();
        let leases = reader.leases_on(protocol, port, LEASES).await?;
        let begin = strip::begin(now);
        Ok(Self {
            leases: leases.into_iter().map(|stored| stored.lease).collect(),
            seen: reader.seen_on(protocol, port, begin, SEEN).await?,
            watched: reader.watched_since().await?,
        })
    }

    fn strip(
        &self,
        living: &[Arc<Lease>],
        viewer: &Viewer,
        in_pool: bool,
        now: Timestamp,
    ) -> Strip {
        let now_ms = now.as_millisecond();
        let span = |lease: &Lease| {
            let ended = lease.ended_at.map_or(now_ms, Timestamp::as_millisecond);
            (lease.granted_at.as_millisecond(), ended)
        };
        let living = living.iter().map(|lease| span(lease));
        let ended = self.leases.iter().filter(|lease| lease.ended_at.is_some());
        let ours: Vec<strip::Span> = living.chain(ended.map(span)).collect();
        let others = self.seen.iter().filter_map(|seen| {
            let span = (seen.from_ms, seen.until_ms.unwrap_or(now_ms));
            let who = SightingDocument::of(seen.clone(), |uid| viewer.sees_program_of(uid))?;
            Some((span, who.to_string()))
        });
        let others: Vec<Visit> = others.collect();
        Strip::of(&ours, &others, self.watched, in_pool, now)
    }
}

impl PortPage {
    const fn other_protocol(&self) -> Protocol {
        match self.about.protocol {
            Protocol::Tcp => Protocol::Udp,
            Protocol::Udp => Protocol::Tcp,
        }
    }

    fn before(&self) -> Option<Port> {
        Port::new(self.about.port.get() - 1)
    }

    fn after(&self) -> Option<Port> {
        Port::new(self.about.port.get().wrapping_add(1))
    }

    fn map(&self) -> String {
        map::href_of(self.about.protocol, self.about.port)
    }

    /// Whether no lease and no socket is on the port.
    const fn is_free(&self) -> bool {
        self.leases.is_empty() && self.about.occupants.is_empty() && self.about.redirected.is_none()
    }

    /// The state of the port in a word.
    fn state(&self) -> Badge {
        if self.choices.excluded.is_some() && self.is_free() {
            return Badge::new(Tone::Plain, "excluded");
        }
        if self.about.redirected.is_some() {
            return Badge::new(Tone::Bad, "redirected");
        }
        let worst = self
            .leases
            .iter()
            .min_by_key(|row| urgency(row.lease.state));
        match worst {
            Some(row) => row.state(),
            None if self.is_free() => Badge::new(Tone::Good, "free"),
            None => Badge::new(Tone::Bad, "in use"),
        }
    }

    /// Address for a browser: of a lease, or of a program that listens without one.
    fn url(&self) -> Option<String> {
        let mut leases = self.leases.iter();
        if let Some(url) = leases.find_map(LeaseRow::url) {
            return Some(url.to_owned());
        }
        if self.about.protocol != Protocol::Tcp || self.about.redirected.is_some() {
            return None;
        }
        let occupants = self.about.occupants.iter();
        let mut listening = occupants.filter(|it| it.occupant.state == SocketState::Listening);
        let url = listening.find_map(|it| local_url(it.addresses.first()?))?;
        is_web_address(&url).then_some(url)
    }

    fn is_lost(&self) -> bool {
        let mut leases = self.leases.iter();
        leases.any(|row| row.lease.state == State::Lost)
    }
}

/// Address for a browser on this host, of a socket's local address with its port.
fn local_url(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host {
        "0.0.0.0" | "*" => "127.0.0.1".to_owned(),
        "[::]" => "[::1]".to_owned(),
        other => other.replace('%', "%25"),
    };
    Some(format!("http://{host}:{port}"))
}

/// Share of the attempts that got the port.
fn succeeded(record: &PortRecord) -> String {
    let outcomes = &record.outcomes;
    percent(outcomes.bound + outcomes.lingering, outcomes.attempts)
}

/// The occupants that refused attempts, with their numbers.
fn in_the_way(record: &PortRecord) -> String {
    let name = |occupant: &OccupantStats| {
        let who = match (&occupant.command, occupant.uid) {
            (Some(command), _) => printable(command),
            (None, Some(uid)) => format!("uid {uid}"),
            (None, None) => "an unknown program".to_owned(),
        };
        format!("{who} ({}×)", grouped(occupant.attempts))
    };
    let names: Vec<String> = record.occupants.iter().map(name).collect();
    listed(&names)
}

/// The time of a sighting.
fn when(seen: &SightingDocument) -> String {
    let from = strip::clock(seen.from);
    match seen.until {
        Some(until) => format!("{from} to {}", strip::clock(until)),
        None => format!("since {from}"),
    }
}

/// The addresses of a pool in the opinion.
fn group(opinion: &Opinion) -> String {
    let addresses = opinion.group.addresses().iter();
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    addresses.join(", ")
}

#[cfg(test)]
mod tests;
