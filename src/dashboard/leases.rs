//! `/leases`: all leases, those in trouble first; and `/leases/release`, which releases several.

mod filter;
mod group;
mod order;
mod paging;

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::{Data, Form};
use askama::Template;
use jiff::Timestamp;

use self::filter::{Column, Filter};
use self::group::{By, Group, Heads};
use self::paging::Pager;
use super::errors::PageError;
use super::filters;
use super::frame::{Frame, Params};
use super::page::{Page, see};
use super::part::form::Choice;
use super::part::lease::LeaseRow;
use super::part::rows;
use super::releasing::{self, Wish};
use crate::access::Viewer;
use crate::answers::leases::{self, Seen};
use crate::api::AppState;
use crate::api::problem::Problem;
use crate::domain::event::EventKind;
use crate::domain::lease::LeaseId;
use crate::store::{LeaseFilter, StoredLease};

/// Number of ended leases in one read, and maximum number of reads for a page: a filter that few
/// leases pass must not keep the record's reader busy for long.
const READ_AT_ONCE: u32 = 1000;
const READS: u32 = 20;

/// Columns that a reader may leave out: the class of their cells, and their heading. The style sheet knows the
/// place of each.
const CHOOSABLE: [(&str, &str); 6] = [
    ("owner", "Owner"),
    ("addresses", "Addresses"),
    ("guard", "Guard"),
    ("pool", "Pool"),
    ("granted", "Granted"),
    ("ends", "Ends"),
];

#[derive(Debug, Template)]
#[template(path = "leases.html")]
pub(super) struct LeasesPage {
    frame: Frame,
    now: Timestamp,
    filter: Filter,
    columns: Vec<Column>,
    states: Vec<Choice>,
    pools: Vec<Choice>,
    ends: Vec<Choice>,
    sizes: Vec<Choice>,
    grouping: Vec<Choice>,
    /// The rows; none if they are in groups.
    rows: Vec<LeaseRow>,
    groups: Vec<Group>,
    /// Number of rows and their order, in words.
    says: String,
    pager: Pager,
    /// Query of this page, to which a release returns.
    back: String,
}

/// Shows the leases that pass the filter in the address.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    mut frame: Frame,
    params: Params,
) -> Result<Page<LeasesPage>, PageError> {
    releasing::announce(&face, &viewer, &mut frame, &params, "/leases/undo").await;
    let filter = Filter::of(&params)?;
    let now = face.service.clock().now();
    let found = if filter.ended {
        ended(&face, &viewer, &filter).await?
    } else {
        living(&face, &viewer, &filter)
    };
    let says = filter.says(found.total, face.service.lease_count());
    let pools = face.service.settings().pools.clone();
    let grouping = By::choices(&params, &found.labels);
    let rows = shown_rows(&face, &viewer, &found.rows, frame.user.is_some(), &params);
    let (rows, groups) = match &filter.by {
        Some(by) => (
            Vec::new(),
            found.heads.groups(by, &found.rows, rows, &params),
        ),
        None => (rows, Vec::new()),
    };
    Ok(Page(LeasesPage {
        rows,
        groups,
        grouping,
        pager: if filter.ended {
            Pager::onward(&params, found.next)
        } else {
            Pager::of(&params, found.begin, found.total, found.next)
        },
        sizes: rows::choices(&params),
        says,
        columns: filter.columns(),
        states: filter::states(&params),
        pools: filter::pools(&params, pools.keys()),
        ends: filter.ends_choices(),
        back: params.without("").query(),
        filter,
        frame,
        now,
    }))
}

impl LeasesPage {
    /// The same page with all its leases chosen, for browsers without scripts.
    fn choose_all(&self) -> String {
        let params = Params::parse(self.back.trim_start_matches('?'));
        params.with("choose", "all").link("/leases")
    }
}

/// The rows of leases; those that the user can release are choosable.
fn shown_rows(
    face: &AppState,
    viewer: &Viewer,
    leases: &[Seen],
    has_user: bool,
    params: &Params,
) -> Vec<LeaseRow> {
    let all = params.get("choose") == Some("all");
    let taken = taken_by(face, viewer);
    let row = |seen: &Seen| {
        let lease = seen.lease();
        let conflict = taken.iter().find(|(id, _)| *id == lease.id);
        let row = LeaseRow::of(leases::document(&face.service, lease), viewer);
        let living = !row.lease.state.is_ended();
        let choosable = has_user && row.open && living && !row.lease.is_own();
        LeaseRow {
            taken_by: conflict.map(|(_, who)| who.clone()),
            choosable,
            chosen: choosable && all,
            ..row
        }
    };
    leases.iter().map(row).collect()
}

/// A page of leases.
struct Found {
    rows: Vec<Seen>,
    /// Number of leases that pass the filter: all living ones, or the ended ones of this page.
    total: usize,
    /// Index of the first row among all that pass.
    begin: usize,
    /// The lease before the next page, and its index. `None` on the last page.
    next: Option<(LeaseId, usize)>,
    heads: Heads,
    /// Keys of the labels of all these leases.
    labels: BTreeSet<String>,
}

fn living(face: &AppState, viewer: &Viewer, filter: &Filter) -> Found {
    let now = face.service.clock().boot();
    let living = face.service.leases().into_iter();
    let mut found: Vec<Seen> = living
        .map(|lease| Seen::new(lease, viewer))
        .filter(|seen| filter.matches(seen, now))
        .collect();
    let heads = filter.arrange(&mut found);
    let total = found.len();
    let begin = filter.begin(&found);
    let end = total.min(begin + filter.rows);
    let rows = found.get(begin..end).unwrap_or_default().to_vec();
    let last = rows.last().filter(|_| end < total);
    Found {
        next: last.map(|last| (last.lease().id, end)),
        rows,
        begin,
        total,
        heads,
        labels: group::label_keys(&found),
    }
}

/// Ended leases: newest first from page to page, in the order asked for on each page. The record
/// checks some conditions; for the others it is read until a page is full, within a bound. So a page
/// may be short and still have another one after it.
async fn ended(face: &AppState, viewer: &Viewer, filter: &Filter) -> Result<Found, Problem> {
    let now = face.service.clock().boot();
    let mut wanted = LeaseFilter {
        viewer: viewer.only_user(),
        name: filter.get("name").map(str::to_owned),
        label: filter.get("label").map(str::to_owned),
        pool: filter.get("pool").map(str::to_owned),
        state: filter.end_state,
        before: filter.after,
        limit: READ_AT_ONCE,
    };
    let mut rows: Vec<Seen> = Vec::new();
    let mut next = None;
    for read in 1..=READS {
        let (found, is_last) = read_ended(face, viewer, &mut wanted).await?;
        rows.extend(found.into_iter().filter(|seen| filter.matches(seen, now)));
        if rows.len() > filter.rows {
            rows.truncate(filter.rows);
            next = rows.last().map(|last| last.lease().id);
            break;
        }
        if is_last {
            break;
        }
        next = wanted.before.filter(|_| read == READS);
    }
    let heads = filter.arrange(&mut rows);
    Ok(Found {
        heads,
        labels: group::label_keys(&rows),
        total: rows.len(),
        begin: 0,
        rows,
        next: next.map(|after| (after, 0)),
    })
}

/// Reads the next ended leases and moves the filter behind them; also whether they are the last.
async fn read_ended(
    face: &AppState,
    viewer: &Viewer,
    wanted: &mut LeaseFilter,
) -> Result<(Vec<Seen>, bool), Problem> {
    let read = face.service.store().ended_leases(wanted).await?;
    wanted.before = read.last().map(|last| last.lease.id).or(wanted.before);
    let is_last = read.len() < READ_AT_ONCE as usize;
    let seen = |stored: StoredLease| Seen::new(Arc::new(stored.lease), viewer);
    Ok((read.into_iter().map(seen).collect(), is_last))
}

/// The outsiders last reported on leased ports.
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

/// `POST /leases/release`: releases the chosen leases, and returns to the same list.
pub(super) async fn release(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    form: Form<Vec<(String, String)>>,
) -> Result<HttpResponse, PageError> {
    viewer.caller()?;
    let (back, chosen) = releasing::chosen(&form);
    if chosen.is_empty() {
        return Ok(see(&back.with("said", "nothing").link("/leases")));
    }
    let ids: Vec<String> = chosen.iter().map(ToString::to_string).collect();
    let after = back.with("released", &ids.join(",")).link("/leases");
    let wish = Wish {
        chosen,
        forced: form.iter().any(|(key, _)| key == "force"),
        action: "/leases/release",
        from: back.link("/leases"),
        back: &back,
    };
    releasing::release(&face, &viewer, frame, wish, &after).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::part::lease::tests_support::row;
    use crate::domain::lease::tests_support::lease;

    fn page(rows: Vec<LeaseRow>) -> LeasesPage {
        LeasesPage {
            frame: Frame::default(),
            now: Timestamp::UNIX_EPOCH,
            filter: Filter::default(),
            columns: Vec::new(),
            states: Vec::new(),
            pools: Vec::new(),
            ends: Vec::new(),
            sizes: Vec::new(),
            grouping: Vec::new(),
            groups: Vec::new(),
            says: String::new(),
            rows,
            pager: Pager::default(),
            back: String::new(),
        }
    }

    #[test]
    fn empty_list_tells_the_next_step() {
        let page = page(Vec::new());
        assert!(page.render().unwrap().contains("portbook run --name web"));
    }

    #[test]
    fn only_choosable_leases_have_a_checkbox() {
        let shown = |choosable| {
            let row = LeaseRow {
                choosable,
                ..row(&lease(20_000))
            };
            page(vec![row]).render().unwrap()
        };
        assert!(shown(true).contains("type=\"checkbox\" name=\"id\""));
        assert!(!shown(false).contains("type=\"checkbox\" name=\"id\""));
    }
}
