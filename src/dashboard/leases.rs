//! `/leases`: who has what, those in trouble first; and `/leases/release`, which gives many back.

mod filter;

use actix_web::HttpResponse;
use actix_web::web::{Data, Form};
use askama::Template;
use jiff::Timestamp;

use self::filter::{Column, Filter};
use super::errors::PageError;
use super::frame::{Frame, Params};
use super::page::{Page, see};
use super::part::form::Choice;
use super::part::lease::{Ends, LeaseRow};
use super::releasing::{self, Wish};
use crate::access::Viewer;
use crate::api::document::LeaseDocument;
use crate::api::problem::Problem;
use crate::api::{AppState, leases};
use crate::domain::event::EventKind;
use crate::domain::lease::LeaseId;
use crate::domain::words::grouped;
use crate::store::LeaseFilter;

/// How near an end may be asked for: the word in the address, and what it says.
const ENDS: [(&str, &str); 3] = [("10m", "10 minutes"), ("1h", "an hour"), ("1d", "a day")];

/// How many rows a page has.
const ROWS: usize = 100;

/// Number of ended leases read at once for a page, and how often at most: a condition that few of them
/// meet must not keep the record's reader for long.
const READ_AT_ONCE: u32 = 1000;
const READINGS: u32 = 20;

/// The page.
#[derive(Debug, Template)]
#[template(path = "leases.html")]
pub(super) struct LeasesPage {
    frame: Frame,
    filter: Filter,
    columns: Vec<Column>,
    states: Vec<Choice>,
    pools: Vec<String>,
    ends: Vec<Near>,
    rows: Vec<LeaseRow>,
    total: String,
    next: Option<String>,
    /// The query of this page, which a release comes back to.
    back: String,
}

/// A choice of how near an end is.
#[derive(Debug)]
struct Near {
    value: String,
    label: String,
    chosen: bool,
}

/// The choices, and what the address says where that is none of them.
fn ends(filter: &Filter) -> Vec<Near> {
    let choice = |value: &str, label: &str| Near {
        chosen: value.parse().ok() == filter.ends,
        value: value.to_owned(),
        label: label.to_owned(),
    };
    let mut choices: Vec<Near> = ENDS
        .iter()
        .map(|(value, label)| choice(value, label))
        .collect();
    let is_usual = choices.iter().any(|near| near.chosen);
    if let Some(other) = filter.ends.filter(|_| !is_usual) {
        choices.push(choice(&other.to_string(), &other.to_string()));
    }
    choices
}

/// Shows the leases that the address asks for.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    mut frame: Frame,
    params: Params,
) -> Result<Page<LeasesPage>, PageError> {
    if let Some(ids) = params.get("released") {
        frame.said = releasing::told(&face, &viewer, ids).await.map(Into::into);
    }
    let filter = Filter::of(&params)?;
    let now = face.service.clock().now();
    let found = if filter.ended {
        ended(&face, &viewer, &filter, now).await?
    } else {
        living(&face, &viewer, &filter, now)
    };
    let (page, total) = (&found.rows, grouped(found.total));
    let next = found.next.map(|(after, row)| {
        let params = params.with("after", &after.to_string());
        format!("/leases{}", params.with("row", &row.to_string()).query())
    });
    let taken = taken_by(&face, &viewer);
    let row = |lease: &LeaseDocument| {
        let by = taken
            .iter()
            .find_map(|(id, who)| (*id == lease.id).then_some(who.as_str()));
        let open = viewer.sees(lease.uid);
        let mut row = LeaseRow::of(lease.clone(), open, by, now);
        row.choosable = frame.user.is_some() && open && !lease.state.is_ended();
        row
    };
    Ok(Page(LeasesPage {
        rows: page.iter().map(row).collect(),
        columns: filter.columns(&params),
        states: filter::states(&params),
        pools: face.service.settings().pools.keys().cloned().collect(),
        ends: ends(&filter),
        total,
        next,
        back: params.without("").query(),
        filter,
        frame,
    }))
}

/// A page of leases.
struct Found {
    rows: Vec<LeaseDocument>,
    /// Number of leases that are asked for: living ones altogether, ended ones on this page.
    total: usize,
    /// The lease that the next page comes after, and its place; `None` on the last page.
    next: Option<(LeaseId, usize)>,
}

fn living(face: &AppState, viewer: &Viewer, filter: &Filter, now: Timestamp) -> Found {
    let clock = face.service.clock();
    let living = face.service.leases();
    let mut found: Vec<LeaseDocument> = living
        .iter()
        .map(|lease| leases::shown(LeaseDocument::of(lease, clock), viewer))
        .filter(|lease| filter.matches(lease, now))
        .collect();
    filter.sort(&mut found);
    let total = found.len();
    let begin = filter.begin(&found);
    let end = total.min(begin + ROWS);
    let rows = found.get(begin..end).unwrap_or_default().to_vec();
    let last = rows.last().filter(|_| end < total);
    Found {
        next: last.map(|last| (last.id, end)),
        rows,
        total,
    }
}

/// Ended leases, newest first from page to page, in the order asked for on each. The record knows some
/// of the conditions; for the others it is read until a page is full, within a bound, so that a page may
/// be short and still have one after it.
async fn ended(
    face: &AppState,
    viewer: &Viewer,
    filter: &Filter,
    now: Timestamp,
) -> Result<Found, Problem> {
    let clock = face.service.clock();
    let mut wanted = LeaseFilter {
        viewer: viewer.only_user(),
        name: filter.name.clone(),
        label: filter.label.clone(),
        pool: filter.pool.clone(),
        state: filter.end_state,
        before: filter.after,
        limit: READ_AT_ONCE,
    };
    let mut rows: Vec<LeaseDocument> = Vec::new();
    let mut next = None;
    for reading in 1..=READINGS {
        let read = face.service.store().ended_leases(&wanted).await?;
        wanted.before = read.last().map(|last| last.lease.id).or(wanted.before);
        let read_all = read.len() < READ_AT_ONCE as usize;
        let shown = read
            .iter()
            .map(|stored| leases::shown(LeaseDocument::of(&stored.lease, clock), viewer));
        rows.extend(shown.filter(|lease| filter.matches(lease, now)));
        if rows.len() > ROWS {
            rows.truncate(ROWS);
            next = rows.last().map(|last| last.id);
            break;
        }
        if read_all {
            break;
        }
        next = wanted.before.filter(|_| reading == READINGS);
    }
    filter.sort(&mut rows);
    Ok(Found {
        total: rows.len(),
        rows,
        next: next.map(|after| (after, 0)),
    })
}

/// Who was found on leased ports, as the journal told it last.
fn taken_by(face: &AppState, viewer: &Viewer) -> Vec<(LeaseId, String)> {
    let mut events = face.service.journal().latest(usize::MAX);
    events.retain(|event| event.kind == EventKind::LateConflict);
    let shown = events
        .into_iter()
        .filter_map(|event| event.shown(|uid| viewer.sees(uid)));
    shown
        .filter_map(|event| Some((event.lease?, event.detail)))
        .collect()
}

/// `POST /leases/release`: gives all the chosen ones back, and comes back to the list as it was.
pub(super) async fn release(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    form: Form<Vec<(String, String)>>,
) -> Result<HttpResponse, PageError> {
    viewer.caller()?;
    let value = |key: &str| {
        form.iter()
            .find_map(|(name, value)| (name == key).then_some(&**value))
    };
    let back = value("back").unwrap_or_default().trim_start_matches('?');
    let back = Params::parse(back).without("");
    let chosen = form.iter().filter(|(key, _)| key == "id");
    let chosen: Vec<LeaseId> = chosen.filter_map(|(_, id)| id.parse().ok()).collect();
    if chosen.is_empty() {
        return Ok(see(&list(&back.with("said", "nothing"))));
    }
    let ids: Vec<String> = chosen.iter().map(ToString::to_string).collect();
    let after = list(&back.with("released", &ids.join(",")));
    let wish = Wish {
        chosen,
        forced: value("force").is_some(),
        action: "/leases/release",
        from: list(&back),
        back: &back,
    };
    releasing::release(&face, &viewer, frame, wish, &after).await
}

fn list(params: &Params) -> String {
    format!("/leases{}", params.query())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support::lease;
    use crate::host::clock::Clock;

    fn page(rows: Vec<LeaseRow>) -> LeasesPage {
        LeasesPage {
            frame: Frame::default(),
            filter: Filter::default(),
            columns: Vec::new(),
            states: Vec::new(),
            pools: Vec::new(),
            ends: Vec::new(),
            total: rows.len().to_string(),
            rows,
            next: None,
            back: String::new(),
        }
    }

    #[test]
    fn a_page_of_nothing_says_what_to_do() {
        let page = page(Vec::new());
        assert!(page.render().unwrap().contains("portbook run --name web"));
    }

    #[test]
    fn only_what_may_be_released_can_be_chosen() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let row = |choosable| {
            let document = LeaseDocument::of(&lease(20_000), &Clock::manual());
            let mut row = LeaseRow::of(document, true, None, now);
            row.choosable = choosable;
            row
        };
        let shown = |choosable| page(vec![row(choosable)]).render().unwrap();
        assert!(shown(true).contains("type=\"checkbox\""));
        assert!(!shown(false).contains("type=\"checkbox\""));
    }
}
