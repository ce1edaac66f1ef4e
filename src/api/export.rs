//! The record as a stream of rows: CSV for spreadsheets, JSON lines for programs. Page by page, so
//! that millions of rows take no more memory than a few hundred, and no page holds up whoever
//! writes.

use actix_web::web::Bytes;
use futures_util::stream::{Stream, try_unfold};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attempts::{AttemptQuery, port_range, shown, veil_words};
use super::csv::{self, Cell};
use super::document::AttemptDocument;
use super::problem::{Code, Problem};
use crate::access::Viewer;
use crate::store::{
    AttemptFilter, DayFilter, DayRecord, ExportTable, LedgerFilter, Reader, StoreError,
};

mod rest;

pub use rest::attempts_before;

/// How many rows are read and written at a time.
const PAGE: u32 = 256;

/// How an export is written.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated values (RFC 4180).
    #[default]
    Csv,
    /// One JSON document a line.
    Jsonl,
}

impl Format {
    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/jsonl",
        }
    }
}

/// What an export is of.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Attempts, newest first.
    #[default]
    Attempts,
    /// What they add up to for each day, pool, interface, protocol, port and user, latest day first.
    Days,
    /// Each look at the sockets of others, oldest first.
    Snapshots,
    /// Who was seen there, from one snapshot to another without a gap, oldest first.
    Sightings,
    /// Outsiders found on leased ports, oldest first.
    Conflicts,
    /// Leases that have ended, oldest first.
    Endings,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Attempts,
        Self::Days,
        Self::Snapshots,
        Self::Sightings,
        Self::Conflicts,
        Self::Endings,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Days => "days",
            Self::Snapshots => "snapshots",
            Self::Sightings => "sightings",
            Self::Conflicts => "conflicts",
            Self::Endings => "endings",
        }
    }
}

/// Where an export has got to.
pub struct Export {
    reader: Reader,
    viewer: Viewer,
    format: Format,
    left: u32,
    is_begun: bool,
    page: Page,
}

enum Page {
    Attempts(AttemptFilter),
    Days(DayFilter),
    ExportTable(ExportTable, LedgerFilter),
}

impl Export {
    /// An export of what is wanted, as far as this viewer may see it.
    pub async fn open(
        reader: Reader,
        viewer: Viewer,
        kind: Kind,
        wanted: &AttemptQuery,
        now: jiff::Timestamp,
    ) -> Result<Self, Problem> {
        check(kind, wanted)?;
        let page = match kind {
            Kind::Attempts => {
                let filter = wanted.filter(&viewer, now)?;
                Page::Attempts(reader.bounded(filter).await?)
            }
            Kind::Days => {
                let filter = wanted.filter(&viewer, now)?;
                Page::Days(days(&filter, wanted.after.as_deref())?)
            }
            Kind::Snapshots => ledger(ExportTable::Snapshots, wanted, &viewer, now)?,
            Kind::Sightings => ledger(ExportTable::Sightings, wanted, &viewer, now)?,
            Kind::Conflicts => ledger(ExportTable::Conflicts, wanted, &viewer, now)?,
            Kind::Endings => ledger(ExportTable::Endings, wanted, &viewer, now)?,
        };
        Ok(Self {
            reader,
            viewer,
            format: wanted.format.unwrap_or_default(),
            left: wanted.limit.unwrap_or(u32::MAX),
            is_begun: false,
            page,
        })
    }

    /// The rows, some at a time.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> {
        try_unfold(self, async |mut export| {
            let text = export.next_page().await?;
            Ok(text.map(|text| (Bytes::from(text), export)))
        })
    }

    async fn next_page(&mut self) -> Result<Option<String>, StoreError> {
        let mut text = String::new();
        if !self.is_begun && self.format == Format::Csv {
            csv::line(
                &mut text,
                self.heading().iter().map(|name| Cell::Text(name)),
            );
        }
        self.is_begun = true;
        let limit = self.left.min(PAGE);
        let rows = match &mut self.page {
            _ if limit == 0 => 0,
            Page::Attempts(filter) => {
                filter.limit = limit;
                let attempts = self.reader.attempts(filter).await?;
                filter.before = attempts.last().map(|last| last.seq).or(filter.before);
                let rows = attempts.len();
                for attempt in attempts {
                    attempt_line(&mut text, &shown(attempt, &self.viewer), self.format);
                }
                rows
            }
            Page::Days(filter) => {
                filter.limit = limit;
                let days = self.reader.days(filter).await?;
                for day in &days {
                    day_line(&mut text, day, self.format);
                }
                let rows = days.len();
                let last = days.last().map(DayRecord::key);
                filter.before = last.or(filter.before.take());
                rows
            }
            Page::ExportTable(ledger, filter) => {
                filter.limit = limit;
                let mut rows = self.reader.ledger(*ledger, filter).await?;
                let last = rows.last().map(|row| ledger.row(row));
                filter.after = last.or(filter.after.take());
                for row in &mut rows {
                    veil_row(*ledger, row, &self.viewer);
                    ledger_line(&mut text, *ledger, row, self.format);
                }
                rows.len()
            }
        };
        self.left -= u32::try_from(rows).unwrap_or(self.left).min(self.left);
        Ok((!text.is_empty()).then_some(text))
    }

    const fn heading(&self) -> &'static [&'static str] {
        match self.page {
            Page::Attempts(_) => &ATTEMPT,
            Page::Days(_) => &DAY,
            Page::ExportTable(ledger, _) => ledger.columns(),
        }
    }
}

const ATTEMPT: [&str; 17] = [
    "seq",
    "at",
    "allocation",
    "pool",
    "interface",
    "address",
    "protocol",
    "port",
    "outcome",
    "errno",
    "duration_us",
    "occupant_pid",
    "occupant_uid",
    "occupant_command",
    "occupant_state",
    "trace_id",
    "span_id",
];

fn attempt_line(text: &mut String, attempt: &AttemptDocument, format: Format) {
    if format == Format::Jsonl {
        return csv::json_line(text, attempt);
    }
    let occupant = attempt.occupant.as_ref();
    let at = attempt.at.to_string();
    let allocation = attempt.allocation.map(|id| id.to_string());
    csv::line(
        text,
        [
            Cell::number(attempt.seq),
            Cell::Text(&at),
            Cell::text(allocation.as_deref()),
            Cell::text(attempt.pool.as_deref()),
            Cell::Text(&attempt.interface),
            Cell::Text(&attempt.address),
            Cell::Text(&attempt.protocol),
            Cell::number(Some(attempt.port)),
            Cell::Text(&attempt.outcome),
            Cell::number(attempt.errno),
            Cell::number(Some(attempt.duration_us)),
            Cell::number(occupant.and_then(|occupant| occupant.pid)),
            Cell::number(occupant.and_then(|occupant| occupant.uid)),
            Cell::text(occupant.and_then(|occupant| occupant.command.as_deref())),
            Cell::text(occupant.map(|occupant| occupant.state.as_str())),
            Cell::text(attempt.trace_id.as_deref()),
            Cell::text(attempt.span_id.as_deref()),
        ],
    );
}

const DAY: [&str; 14] = [
    "day",
    "pool",
    "interface",
    "protocol",
    "port",
    "uid",
    "attempts",
    "bound",
    "lingering",
    "in_use",
    "not_permitted",
    "address_not_available",
    "failed",
    "last_at",
];

#[derive(Serialize)]
struct DayDocument<'a> {
    day: &'a str,
    pool: &'a str,
    interface: &'a str,
    protocol: &'a str,
    port: u16,
    uid: Option<i64>,
    attempts: i64,
    bound: i64,
    lingering: i64,
    in_use: i64,
    not_permitted: i64,
    address_not_available: i64,
    failed: i64,
    last_at: Option<jiff::Timestamp>,
}

fn day_line(text: &mut String, day: &DayRecord, format: Format) {
    let date = day.date();
    let document = DayDocument {
        day: &date,
        pool: &day.pool,
        interface: &day.interface,
        protocol: &day.protocol,
        port: day.port,
        uid: Some(day.uid).filter(|uid| *uid >= 0),
        attempts: day.attempts(),
        bound: day.bound,
        lingering: day.lingering,
        in_use: day.in_use,
        not_permitted: day.not_permitted,
        address_not_available: day.address_not_available,
        failed: day.failed,
        last_at: jiff::Timestamp::from_millisecond(day.last_ms).ok(),
    };
    if format == Format::Jsonl {
        return csv::json_line(text, &document);
    }
    let last_at = document.last_at.map(|at| at.to_string());
    csv::line(
        text,
        [
            Cell::Text(document.day),
            Cell::Text(document.pool),
            Cell::Text(document.interface),
            Cell::Text(document.protocol),
            Cell::number(Some(document.port)),
            Cell::number(document.uid),
            Cell::number(Some(document.attempts)),
            Cell::number(Some(document.bound)),
            Cell::number(Some(document.lingering)),
            Cell::number(Some(document.in_use)),
            Cell::number(Some(document.not_permitted)),
            Cell::number(Some(document.address_not_available)),
            Cell::number(Some(document.failed)),
            Cell::text(last_at.as_deref()),
        ],
    );
}

/// A program's name is for its own user: the last two cells of a late conflict and of a sighting.
fn veil_row(ledger: ExportTable, row: &mut [Value], viewer: &Viewer) {
    let [.., who, uid] = row else { return };
    let uid = uid.as_u64().and_then(|uid| u32::try_from(uid).ok());
    match (ledger, who) {
        (ExportTable::Conflicts, Value::String(who)) => veil_words(who, uid, viewer),
        (ExportTable::Sightings, who) if !viewer.sees_program_of(uid) => *who = Value::Null,
        _ => {}
    }
}

fn ledger_line(text: &mut String, ledger: ExportTable, row: &[Value], format: Format) {
    if format == Format::Jsonl {
        return csv::json_line(text, &ledger.row(row));
    }
    csv::line(
        text,
        row.iter().map(|value| match value {
            Value::Null => Cell::Empty,
            Value::String(words) => Cell::Text(words),
            other => Cell::Number(other.to_string()),
        }),
    );
}

/// Refuses what no export, or not this one, can heed.
fn check(kind: Kind, wanted: &AttemptQuery) -> Result<(), Problem> {
    let detail = if wanted.limit == Some(0) {
        "limit: 0 rows are none: ask for 1 at least, or leave it out for all"
    } else if kind == Kind::Attempts && wanted.after.is_some() {
        "after: attempts go on before a `seq`: use before"
    } else {
        return Ok(());
    };
    Err(Problem::new(Code::InvalidRequest, detail))
}

/// Filters of the rows of a ledger; one that it does not have is refused.
fn ledger(
    ledger: ExportTable,
    wanted: &AttemptQuery,
    viewer: &Viewer,
    now: jiff::Timestamp,
) -> Result<Page, Problem> {
    if let Some(word) = foreign_filter(ledger, wanted) {
        let detail = format!("{}: leave the filter \"{word}\" out", reason(ledger));
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let ports = wanted.port.as_deref().map(port_range).transpose();
    let uid = if ledger.is_owned() {
        wanted.user(viewer)?
    } else {
        wanted.uid
    };
    let filter = LedgerFilter {
        uid,
        ports: ports.map_err(|wrong| Problem::new(Code::InvalidRequest, wrong))?,
        protocol: wanted.protocol,
        pool: wanted.pool.clone(),
        name: wanted.name.clone(),
        since: wanted.since.map(|moment| moment.from(now)),
        until: wanted.until.map(|moment| moment.from(now)),
        after: rest::ledger_row(ledger, wanted.after.as_deref())?,
        skip: 0,
        limit: PAGE,
    };
    Ok(Page::ExportTable(ledger, filter))
}

/// The first filter that is wanted and that a ledger does not have.
fn foreign_filter(ledger: ExportTable, wanted: &AttemptQuery) -> Option<&'static str> {
    let of_ports = ledger != ExportTable::Snapshots;
    let of_leases = matches!(ledger, ExportTable::Conflicts | ExportTable::Endings);
    let asked = [
        ("port", wanted.port.is_some(), of_ports),
        ("protocol", wanted.protocol.is_some(), of_ports),
        ("uid", wanted.uid.is_some(), of_ports),
        ("pool", wanted.pool.is_some(), of_leases),
        ("name", wanted.name.is_some(), of_leases),
        ("interface", wanted.interface.is_some(), false),
        ("outcome", wanted.outcome.is_some(), false),
        ("errno", wanted.errno.is_some(), false),
        ("strategy", wanted.strategy.is_some(), false),
        ("allocation", wanted.allocation.is_some(), false),
        ("before", wanted.before.is_some(), false),
    ];
    let mut foreign = asked.into_iter().filter(|(_, asked, has)| *asked && !has);
    foreign.next().map(|(word, ..)| word)
}

/// Filters of a ledger, for people.
const fn reason(ledger: ExportTable) -> &'static str {
    match ledger {
        ExportTable::Snapshots => "snapshots are filtered by since and until",
        ExportTable::Sightings => "sightings are filtered by port, protocol, uid, since and until",
        ExportTable::Conflicts => {
            "conflicts are filtered by port, protocol, pool, name, uid, since and until"
        }
        ExportTable::Endings => {
            "endings are filtered by port, protocol, pool, name, uid, since and until"
        }
    }
}

/// Days that the attempts of a filter fall into.
fn days(filter: &AttemptFilter, after: Option<&str>) -> Result<DayFilter, Problem> {
    let single = filter.allocation.is_some()
        || filter.outcome.is_some()
        || filter.errno.is_some()
        || filter.name.is_some()
        || filter.strategy.is_some()
        || filter.before.is_some();
    if single {
        let detail = "days have no allocation, outcome, errno, name, strategy or before: leave them out, or \
             export attempts";
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    Ok(DayFilter {
        ports: filter.ports.clone(),
        protocol: filter.protocol,
        pool: filter.pool.clone(),
        interface: filter.interface.clone(),
        uid: filter.uid,
        since: filter.since,
        until: filter.until,
        before: rest::day_key(after)?,
        skip: 0,
        limit: filter.limit,
    })
}
