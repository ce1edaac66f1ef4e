//! `/attempts`: the attempts that pass the filter in the address, with a chart and their occupants.

mod query;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use actix_web::web::Data;
use askama::Template;
use jiff::Timestamp;

use super::chart::LENGTH;
use super::chart::histogram::{HEIGHT, Histogram, WIDTH};
use super::errors::PageError;
use super::filters;
use super::format::moment;
use super::frame::{Frame, Params};
use super::page::Page;
use super::part::form::Field;
use super::part::rows;
use crate::access::Viewer;
use crate::answers::document::AttemptDocument;
use crate::api::AppState;
use crate::api::attempts::{shown, veil};
use crate::api::problem::Problem;
use crate::config::Telemetry;
use crate::domain::attempt::{Occupant, printable};
use crate::domain::words::counted;
use crate::store::{AttemptFilter, AttemptRecord, InTheWay, Reader};

/// Maximum number of occupants.
const WAYS: usize = 10;

#[derive(Debug, Template)]
#[template(path = "attempts.html")]
pub(super) struct Attempts {
    frame: Frame,
    now: Timestamp,
    fields: Vec<Field>,
    /// The fault of the filter; then the page lists nothing.
    wrong: Option<String>,
    /// Whether a filter is set.
    narrowed: bool,
    found: Found,
    older: Option<String>,
    newest: Option<String>,
    csv: String,
    json: String,
}

/// An attempt with the link to its trace.
#[derive(Debug)]
struct Tried {
    attempt: AttemptDocument,
    /// `None` if there is no trace, or no viewer for traces.
    trace: Option<String>,
}

/// An occupant with its attempts.
#[derive(Debug)]
struct Way {
    /// A text from outside, printable.
    who: String,
    attempts: i64,
    last: Timestamp,
}

/// The attempts that pass the filter.
#[derive(Debug, Default)]
struct Found {
    histogram: Option<Histogram>,
    /// Most frequent first.
    ways: Vec<Way>,
    rows: Vec<Tried>,
    /// Key of the next page.
    next: Option<i64>,
}

impl Found {
    /// Number of attempts that pass the filter, in words.
    fn count(&self) -> Option<String> {
        let histogram = self.histogram.as_ref()?;
        let all: i64 = histogram.totals.iter().map(|(_, count)| *count).sum();
        let count = counted(all, "attempt");
        Some(if histogram.is_cut {
            format!("more than {count}")
        } else {
            count
        })
    }

    /// Length of the bar of an occupant, beside the most frequent one.
    fn bar(&self, attempts: i64) -> i64 {
        let most = self.ways.first().map_or(1, |way| way.attempts);
        attempts * i64::from(LENGTH) / most.max(1)
    }
}

/// Shows the page.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    params: Params,
) -> Result<Page<Attempts>, PageError> {
    let now = face.service.clock().now();
    let (found, wrong) = match filter(&params, &viewer, now) {
        Ok(filter) => (find(&face, filter, &params, &viewer).await?, None),
        Err(wrong) => (Found::default(), Some(wrong)),
    };
    let older = found
        .next
        .map(|seq| params.with("before", &seq.to_string()));
    let newest = params.get("before").map(|_| params.without("before"));
    Ok(Page(Attempts {
        fields: query::fields(&face, &params),
        narrowed: query::of_filter(&params) != Params::default(),
        csv: query::export(&params, "csv"),
        json: query::export(&params, "jsonl"),
        older: older.map(|params| params.link("/attempts")),
        newest: newest.map(|params| params.link("/attempts")),
        found,
        frame,
        wrong,
        now,
    }))
}

fn filter(params: &Params, viewer: &Viewer, now: Timestamp) -> Result<AttemptFilter, String> {
    let wanted = query::wanted(params)?;
    let filter = wanted.filter(viewer, now);
    filter.map_err(|problem| problem.detail)
}

async fn find(
    face: &AppState,
    filter: AttemptFilter,
    params: &Params,
    viewer: &Viewer,
) -> Result<Found, Problem> {
    let reader = face.service.store().reader();
    let (page, rows) = (filter.before, rows::size(params));
    let all = AttemptFilter {
        before: None,
        ..filter
    };
    let all = reader.bounded(all).await?;
    let times = reader.attempt_times(&all).await?;
    let Some(histogram) = Histogram::of(&times, params) else {
        // The longest search is the one that finds nothing, so it is made once.
        return Ok(Found::default());
    };
    let ways = ways(reader.in_the_way(&all).await?, viewer);
    let (records, next) = records(&reader, all, page, rows).await?;
    let telemetry = &face.service.settings().telemetry;
    let row = |record| Tried::of(record, viewer, telemetry);
    Ok(Found {
        histogram: Some(histogram),
        ways,
        rows: records.into_iter().map(row).collect(),
        next,
    })
}

/// One page of attempts, and the key of the next one.
async fn records(
    reader: &Reader,
    filter: AttemptFilter,
    before: Option<i64>,
    rows: usize,
) -> Result<(Vec<AttemptRecord>, Option<i64>), Problem> {
    let filter = AttemptFilter {
        before: before.into_iter().chain(filter.before).min(),
        // One more tells whether there is another page.
        limit: u32::try_from(rows + 1).unwrap_or(u32::MAX),
        ..filter
    };
    let mut records = reader.attempts(&filter).await?;
    let more = records.len() > rows;
    records.truncate(rows);
    let last = records.last().and_then(|record| record.seq);
    Ok((records, last.filter(|_| more)))
}

impl Tried {
    fn of(record: AttemptRecord, viewer: &Viewer, telemetry: &Telemetry) -> Self {
        let (trace, span) = (record.trace_id.as_deref(), record.span_id.as_deref());
        Self {
            trace: trace.and_then(|trace| telemetry.trace_link(trace, span)),
            attempt: shown(record, viewer),
        }
    }
}

/// The occupants as this viewer may see them. Those that look alike to the viewer are one.
fn ways(found: Vec<InTheWay>, viewer: &Viewer) -> Vec<Way> {
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for way in found {
        let (attempts, last_ms) = (way.attempts, way.last_ms);
        let sum = sums.entry(who(way, viewer)).or_default();
        *sum = (sum.0 + attempts, sum.1.max(last_ms));
    }
    let way = |(who, (attempts, last_ms))| Way {
        who,
        attempts,
        last: moment(last_ms),
    };
    let mut ways: Vec<Way> = sums.into_iter().map(way).collect();
    ways.sort_by_key(|way| Reverse(way.attempts));
    ways.truncate(WAYS);
    ways
}

fn who(way: InTheWay, viewer: &Viewer) -> String {
    let mut occupant = Occupant {
        uid: way.uid,
        command: way.command,
        ..Occupant::default()
    };
    veil(&mut occupant, viewer);
    match (occupant.command.as_deref(), occupant.uid) {
        (Some(command), Some(uid)) => format!("{} of uid {uid}", printable(command)),
        (Some(command), None) => printable(command),
        (None, _) => occupant.to_string(),
    }
}

#[cfg(test)]
mod tests;
