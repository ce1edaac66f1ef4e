//! `/`: items that need attention, numbers, charts, and the latest leases, attempts and events.

mod attention;
mod facts;
mod landing;
mod past;
mod saved;
mod tiles;

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use askama::Template;
use jiff::Timestamp;

use self::attention::Item;
use self::facts::Facts;
use self::landing::Landing;
use self::past::Past;
use self::saved::SavedView;
use self::tiles::Tile;
use super::chart::LENGTH;
use super::chart::capacity::{self, KINDS, PoolBars};
use super::chart::rates::Rates;
use super::filters;
use super::frame::{Frame, Params};
use super::page::Page;
use super::part::lease::{LeaseRow, urgency};
use crate::access::Viewer;
use crate::answers::document::{AttemptDocument, InterfaceDocument};
use crate::answers::interfaces;
use crate::answers::leases;
use crate::api::{AppState, attempts};
use crate::domain::event::{Event, EventKind};
use crate::domain::health::Check;
use crate::domain::lease::Lease;
use crate::domain::words::grouped;
use crate::engine::capacity::Capacity;
use crate::store::AttemptFilter;

/// Maximum numbers of rows; each table has a page of its own with all of them.
const LEASES: usize = 7;
const ATTEMPTS: u32 = 3;
const EVENTS: usize = 6;

/// More than the journal keeps.
const ALL_EVENTS: usize = 100_000;

/// Maximum wait for the health checks: the page shows the rest if the disk hangs.
const PATIENCE: Duration = Duration::from_millis(400);

#[derive(Debug, Template)]
#[template(path = "overview.html")]
pub(super) struct Overview {
    frame: Frame,
    now: Timestamp,
    notices: Vec<String>,
    landing: Landing,
    attention: Vec<Item>,
    tiles: Vec<Tile>,
    pools: Vec<PoolBars>,
    rates: Rates,
    saved: Option<SavedView>,
    leases: LeaseTable,
    attempts: Vec<AttemptDocument>,
    interfaces: Vec<InterfaceDocument>,
    events: Vec<Event>,
}

/// The table of leases, which may be longer than the page shows.
#[derive(Debug, Default)]
struct LeaseTable {
    rows: Vec<LeaseRow>,
    /// Number of leases in trouble.
    trouble: usize,
    /// "15 of 5,000" if there are more.
    cut: Option<String>,
}

/// Shows the page. A notice tells of parts that cannot be read; the others are shown.
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
    // The checks wait for a commit, the totals do not.
    let (checks, past) = tokio::join!(checks(&face), Past::of(&face, &viewer, now, &mut notices));
    let events = seen_events(&face, &viewer);
    let as_table = params.get("rates") == Some("table");
    let facts = Facts {
        checks: &checks,
        leases: &living,
        capacities: &capacities,
        past: &past,
        warnings: &face.loaded().warnings,
        boot: service.clock().boot(),
    };
    Page(Overview {
        landing: Landing::of(&face, &viewer, &living),
        attention: attention::items(&facts),
        tiles: tiles::tiles(&facts),
        pools: capacities.iter().map(capacity::bars).collect(),
        rates: Rates::of(past.first_hour, &past.allocations, &past.attempts, as_table),
        saved: saved::view(&service.settings(), &past.allocations),
        leases: lease_table(&face, &viewer, living, &events),
        attempts: latest_attempts(&face, &viewer, &mut notices).await,
        events: events.into_iter().take(EVENTS).collect(),
        interfaces,
        notices,
        now,
        frame,
    })
}

/// The health checks; empty if the service does not answer in time.
async fn checks(face: &AppState) -> Vec<Check> {
    let looked = tokio::time::timeout(PATIENCE, face.service.health()).await;
    looked.unwrap_or_default()
}

fn capacities(face: &AppState, notices: &mut Vec<String>) -> Vec<Capacity> {
    face.service.capacities().unwrap_or_else(|error| {
        notices.push(format!("The usage of the pools is not known: {error}."));
        Vec::new()
    })
}

fn lease_table(
    face: &AppState,
    viewer: &Viewer,
    mut living: Vec<Arc<Lease>>,
    events: &[Event],
) -> LeaseTable {
    living.sort_by_key(|lease| {
        let newest_first = std::cmp::Reverse(lease.id);
        (urgency(lease.state), lease.is_spare(), newest_first)
    });
    let in_trouble = |lease: &&Arc<Lease>| urgency(lease.state) < 2;
    let cut = living.len() > LEASES;
    let row = |lease: &Arc<Lease>| {
        let document = leases::document(&face.service, lease);
        LeaseRow {
            taken_by: taken_by(events, lease).map(str::to_owned),
            ..LeaseRow::of(document, viewer)
        }
    };
    LeaseTable {
        rows: living.iter().take(LEASES).map(row).collect(),
        trouble: living.iter().filter(in_trouble).count(),
        cut: cut.then(|| format!("{LEASES} of {}", grouped(living.len()))),
    }
}

/// The outsider last reported on a leased port.
fn taken_by<'a>(events: &'a [Event], lease: &Lease) -> Option<&'a str> {
    let conflict = events
        .iter()
        .find(|event| event.kind == EventKind::LateConflict && event.lease == Some(lease.id));
    conflict.map(|event| &*event.detail)
}

async fn latest_attempts(
    face: &AppState,
    viewer: &Viewer,
    notices: &mut Vec<String>,
) -> Vec<AttemptDocument> {
    let filter = AttemptFilter {
        uid: viewer.only_user(),
        limit: ATTEMPTS,
        ..AttemptFilter::default()
    };
    match face.service.store().attempts(&filter).await {
        Ok(attempts) => attempts
            .into_iter()
            .map(|attempt| attempts::shown(attempt, viewer))
            .collect(),
        Err(error) => {
            tracing::error!(%error, "could not read the attempts of the overview; they show as empty");
            notices.push(format!("The attempts cannot be read: {error}."));
            Vec::new()
        }
    }
}

fn interface_rows(face: &AppState, notices: &mut Vec<String>) -> Vec<InterfaceDocument> {
    match face.service.interfaces().current() {
        Ok(host) => interfaces::documents(&host),
        Err(error) => {
            notices.push(format!("The interfaces cannot be read: {error}."));
            Vec::new()
        }
    }
}

/// The events that this viewer may see, newest first.
fn seen_events(face: &AppState, viewer: &Viewer) -> Vec<Event> {
    let events = face.service.journal().latest(ALL_EVENTS).into_iter();
    let shown = events.filter_map(|event| event.shown(|uid| viewer.sees(uid)));
    shown.collect()
}

#[cfg(test)]
mod tests;
