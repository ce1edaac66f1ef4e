//! `/`: what needs attention, what there is, and what happened lately.

mod attention;
mod landing;
mod past;
mod rates;
mod saved;
mod tiles;

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use askama::Template;
use jiff::Timestamp;

use self::attention::{Facts, Item};
use self::landing::Landing;
use self::past::Past;
use self::rates::Rates;
use self::saved::SavedView;
use self::tiles::{Counts, Tile};
use super::format::When;
use super::frame::{Frame, Params};
use super::page::Page;
use super::part::attempt::AttemptRow;
use super::part::bar::LENGTH;
use super::part::capacity::{self, KINDS, PoolBars};
use super::part::event::EventRow;
use super::part::interface::InterfaceRow;
use super::part::lease::{Ends, LeaseRow, urgency};
use crate::access::Viewer;
use crate::api::document::{InterfaceDocument, LeaseDocument};
use crate::api::{AppState, attempts, interfaces, leases};
use crate::domain::event::{Event, EventKind};
use crate::domain::health::Check;
use crate::domain::lease::Lease;
use crate::domain::words::grouped;
use crate::engine::capacity::Capacity;
use crate::store::AttemptFilter;

/// How many rows of each table fit an overview; each has a page of its own with all of them.
const LEASES: usize = 15;
const ATTEMPTS: u32 = 15;
const EVENTS: usize = 12;

/// More than the journal keeps.
const ALL_EVENTS: usize = 100_000;

/// How long the page waits for what asks the disk: the rest is shown when that hangs.
const PATIENCE: Duration = Duration::from_millis(400);

/// The page.
#[derive(Debug, Template)]
#[template(path = "overview.html")]
pub(super) struct Overview {
    frame: Frame,
    now: When,
    notices: Vec<String>,
    landing: Landing,
    attention: Vec<Item>,
    tiles: Vec<Tile>,
    pools: Vec<PoolBars>,
    rates: Rates,
    saved: Option<SavedView>,
    leases: LeaseTable,
    attempts: Vec<AttemptRow>,
    interfaces: Vec<InterfaceRow>,
    events: Vec<EventRow>,
}

/// The table of leases, which may be longer than the page shows.
#[derive(Debug)]
struct LeaseTable {
    rows: Vec<LeaseRow>,
    /// How many are in trouble.
    trouble: usize,
    /// "15 of 5,000", where there are more.
    cut: Option<String>,
}

/// Shows the page. What cannot be read is said in a notice; the rest is shown all the same.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    params: Params,
) -> Page<Overview> {
    let service = &face.service;
    let now = service.clock().now();
    let mut notices = Vec::new();
    let living = service.leases();
    let interfaces = interface_rows(&face, &mut notices);
    let capacities = capacities(&face, &mut notices);
    // One waits for the writer and the other does not.
    let (checks, past) = tokio::join!(checks(&face), Past::of(&face, &viewer, now, &mut notices));
    let attention = attention::items(&Facts {
        checks: &checks,
        leases: &living,
        capacities: &capacities,
        past: &past,
        warnings: &face.loaded().warnings,
    });
    let tiles = tiles::tiles(&Counts {
        leases: &living,
        capacities: &capacities,
        past: &past,
        checks: &checks,
        boot: service.clock().boot(),
    });
    let events = seen_events(&face, &viewer);
    Page(Overview {
        frame,
        now: When::of(now, now),
        landing: Landing::of(&face, &viewer, &living),
        attention,
        tiles,
        pools: capacities.iter().map(capacity::bars).collect(),
        rates: Rates::of(&past, &params),
        saved: saved::view(&service.settings(), &past.allocations),
        leases: lease_table(&face, &viewer, living, &events, now),
        attempts: attempt_rows(&face, &viewer, now, &mut notices).await,
        events: events
            .iter()
            .take(EVENTS)
            .map(|event| EventRow::of(event, now))
            .collect(),
        interfaces,
        notices,
    })
}

/// What the service finds of itself; nothing where it does not answer soon.
async fn checks(face: &AppState) -> Vec<Check> {
    let looked = tokio::time::timeout(PATIENCE, face.service.health()).await;
    looked.unwrap_or_default()
}

fn capacities(face: &AppState, notices: &mut Vec<String>) -> Vec<Capacity> {
    face.service.capacities().unwrap_or_else(|error| {
        notices.push(format!("How full the pools are is not known: {error}."));
        Vec::new()
    })
}

fn lease_table(
    face: &AppState,
    viewer: &Viewer,
    mut living: Vec<Arc<Lease>>,
    events: &[Event],
    now: Timestamp,
) -> LeaseTable {
    living.sort_by_key(|lease| (urgency(lease.state), std::cmp::Reverse(lease.id)));
    let trouble = living
        .iter()
        .filter(|lease| urgency(lease.state) < 2)
        .count();
    let cut = living.len() > LEASES;
    let row = |lease: &Arc<Lease>| {
        let document = LeaseDocument::of(lease, face.service.clock());
        let shown = leases::shown(document, viewer);
        LeaseRow::of(shown, viewer.sees(lease.uid), taken_by(events, lease), now)
    };
    LeaseTable {
        rows: living.iter().take(LEASES).map(row).collect(),
        trouble,
        cut: cut.then(|| format!("{LEASES} of {}", grouped(living.len()))),
    }
}

/// Who was found on a leased port, as the journal told it last.
fn taken_by<'a>(events: &'a [Event], lease: &Lease) -> Option<&'a str> {
    let conflict = events
        .iter()
        .find(|event| event.kind == EventKind::LateConflict && event.lease == Some(lease.id));
    conflict.map(|event| &*event.detail)
}

async fn attempt_rows(
    face: &AppState,
    viewer: &Viewer,
    now: Timestamp,
    notices: &mut Vec<String>,
) -> Vec<AttemptRow> {
    let filter = AttemptFilter {
        uid: viewer.only_user(),
        limit: ATTEMPTS,
        ..AttemptFilter::default()
    };
    match face.service.store().attempts(&filter).await {
        Ok(attempts) => attempts
            .into_iter()
            .map(|attempt| AttemptRow::of(attempts::shown(attempt, viewer), now))
            .collect(),
        Err(error) => {
            tracing::error!(%error, "the record is unavailable");
            notices.push(format!("The attempts cannot be read: {error}."));
            Vec::new()
        }
    }
}

fn interface_rows(face: &AppState, notices: &mut Vec<String>) -> Vec<InterfaceRow> {
    match face.service.interfaces().current() {
        Ok(host) => interfaces::documents(&host)
            .into_iter()
            .map(|interface: InterfaceDocument| InterfaceRow::from(interface))
            .collect(),
        Err(error) => {
            notices.push(format!("The interfaces cannot be read: {error}."));
            Vec::new()
        }
    }
}

/// The events that this reader may see, newest first.
fn seen_events(face: &AppState, viewer: &Viewer) -> Vec<Event> {
    let events = face.service.journal().latest(ALL_EVENTS).into_iter();
    let shown = events.filter_map(|event| event.shown(|uid| viewer.sees(uid)));
    shown.collect()
}

#[cfg(test)]
mod tests;
