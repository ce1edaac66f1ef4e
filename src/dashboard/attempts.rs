//! `/attempts`: every single try to bind, filtered as the address says.

mod filters;
mod histogram;

use std::collections::BTreeMap;

use actix_web::web::Data;
use askama::Template;
use jiff::Timestamp;

use self::histogram::{HEIGHT, Histogram, WIDTH};
use super::errors::PageError;
use super::format::When;
use super::frame::{Frame, Params};
use super::page::Page;
use super::part::attempt::AttemptRow;
use super::part::bar;
use super::part::form::Field;
use crate::access::Viewer;
use crate::api::AppState;
use crate::api::attempts::{shown, veil};
use crate::api::problem::Problem;
use crate::config::Telemetry;
use crate::domain::attempt::Occupant;
use crate::domain::words::grouped;
use crate::store::{AttemptFilter, AttemptRecord, InTheWay, Reader};

/// How many rows are on a page.
const ROWS: usize = 100;

/// How many of those in the way are told of.
const WAYS: usize = 10;

/// The page.
#[derive(Debug, Template)]
#[template(path = "attempts.html")]
pub(super) struct Attempts {
    frame: Frame,
    fields: Vec<Field>,
    /// What is wrong with the filter; then nothing is listed.
    wrong: Option<String>,
    /// Whether anything is filtered.
    narrowed: bool,
    histogram: Option<Histogram>,
    ways: Vec<WayRow>,
    rows: Vec<Tried>,
    /// Earlier rows.
    older: Option<String>,
    /// The newest ones again.
    newest: Option<String>,
    csv: String,
    json: String,
}

/// A row with the way to its allocation.
#[derive(Debug)]
struct Tried {
    row: AttemptRow,
    allocation: Option<String>,
    /// Where its trace can be looked at, if anywhere.
    trace: Option<String>,
}

/// What a page of attempts depends on beside the record.
struct Asked<'a> {
    params: &'a Params,
    viewer: &'a Viewer,
    telemetry: &'a Telemetry,
    now: Timestamp,
}

impl Tried {
    fn of(record: AttemptRecord, asked: &Asked<'_>) -> Self {
        let (trace, span) = (record.trace_id.as_deref(), record.span_id.as_deref());
        Self {
            allocation: record.allocation.map(|id| id.to_string()),
            trace: trace.and_then(|trace| asked.telemetry.trace_link(trace, span)),
            row: AttemptRow::of(shown(record, asked.viewer), asked.now),
        }
    }
}

/// Somebody who was in the way.
#[derive(Debug)]
struct WayRow {
    /// Anybody's text.
    who: String,
    attempts: String,
    /// Beside the one who was most often.
    bar: u32,
    last: When,
}

/// What the filter finds.
#[derive(Debug, Default)]
struct Found {
    histogram: Option<Histogram>,
    ways: Vec<WayRow>,
    rows: Vec<Tried>,
    next: Option<i64>,
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
        Ok(filter) => {
            let (reader, settings) = (face.service.store().reader(), face.service.settings());
            let asked = Asked {
                params: &params,
                viewer: &viewer,
                telemetry: &settings.telemetry,
                now,
            };
            (find(&reader, filter, &asked).await?, None)
        }
        Err(wrong) => (Found::default(), Some(wrong)),
    };
    let link = |params: Params| format!("/attempts{}", params.query());
    let older = found
        .next
        .map(|seq| params.with("before", &seq.to_string()));
    Ok(Page(Attempts {
        fields: filters::fields(&face, &params),
        narrowed: filters::of_filter(&params) != Params::default(),
        csv: filters::export(&params, "csv"),
        json: filters::export(&params, "jsonl"),
        older: older.map(link),
        newest: params.get("before").map(|_| link(params.without("before"))),
        histogram: found.histogram,
        ways: found.ways,
        rows: found.rows,
        frame,
        wrong,
    }))
}

fn filter(params: &Params, viewer: &Viewer, now: Timestamp) -> Result<AttemptFilter, String> {
    let wanted = filters::wanted(params)?;
    let filter = wanted.filter(viewer, now);
    filter.map_err(|problem| problem.detail)
}

async fn find(reader: &Reader, filter: AttemptFilter, asked: &Asked<'_>) -> Result<Found, Problem> {
    let now = asked.now;
    let page = filter.before;
    let all = AttemptFilter {
        before: None,
        ..filter
    };
    let all = reader.bounded(all).await?;
    let times = reader.attempt_times(&all).await?;
    let Some(histogram) = Histogram::of(&times, asked.params, now) else {
        // To find that there is no attempt takes longest: all are looked at. Once is enough.
        return Ok(Found::default());
    };
    let ways = ways(reader.in_the_way(&all).await?, asked.viewer, now);
    let (rows, next) = rows(reader, all, page, asked).await?;
    Ok(Found {
        histogram: Some(histogram),
        ways,
        rows,
        next,
    })
}

/// One page of rows, those before one where it is not the first, and where the next begins.
async fn rows(
    reader: &Reader,
    filter: AttemptFilter,
    before: Option<i64>,
    asked: &Asked<'_>,
) -> Result<(Vec<Tried>, Option<i64>), Problem> {
    let filter = AttemptFilter {
        before: before.into_iter().chain(filter.before).min(),
        // One more tells whether there is another page.
        limit: u32::try_from(ROWS + 1).unwrap_or(u32::MAX),
        ..filter
    };
    let mut records = reader.attempts(&filter).await?;
    let more = records.len() > ROWS;
    records.truncate(ROWS);
    let last = records.last().and_then(|record| record.seq);
    let rows = records.into_iter().map(|record| Tried::of(record, asked));
    let rows = rows.collect();
    Ok((rows, last.filter(|_| more)))
}

/// Those in the way as this viewer may see them; who then look alike are one.
fn ways(found: Vec<InTheWay>, viewer: &Viewer, now: Timestamp) -> Vec<WayRow> {
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for way in found {
        let (attempts, last_ms) = (way.attempts, way.last_ms);
        let sum = sums.entry(who(way, viewer)).or_default();
        *sum = (sum.0 + attempts, sum.1.max(last_ms));
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, (attempts, _))| std::cmp::Reverse(*attempts));
    sums.truncate(WAYS);
    let most = sums.first().map_or(0, |(_, (attempts, _))| *attempts);
    let row = |(who, (attempts, last_ms)): (String, (i64, i64))| WayRow {
        who,
        attempts: grouped(attempts),
        bar: u32::try_from(attempts * i64::from(bar::LENGTH) / most.max(1)).unwrap_or(0),
        last: When::of(
            Timestamp::from_millisecond(last_ms).unwrap_or(Timestamp::UNIX_EPOCH),
            now,
        ),
    };
    sums.into_iter().map(row).collect()
}

fn who(way: InTheWay, viewer: &Viewer) -> String {
    let mut occupant = Occupant {
        uid: way.uid,
        command: way.command,
        ..Occupant::default()
    };
    veil(&mut occupant, viewer);
    match (occupant.command.as_deref(), occupant.uid) {
        (Some(command), Some(uid)) => {
            let command = crate::domain::attempt::printable(command);
            format!("{command} of uid {uid}")
        }
        (Some(command), None) => crate::domain::attempt::printable(command),
        (None, _) => occupant.to_string(),
    }
}

#[cfg(test)]
mod tests;
