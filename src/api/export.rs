//! The record as a stream of rows: CSV for spreadsheets, JSON lines for programs. Page by page, so that
//! millions of rows take no more memory than a few hundred, and no page holds up a commit.

use actix_web::web::Bytes;
use futures_util::stream::{Stream, try_unfold};
use serde_json::Value;

use super::attempts::{AttemptQuery, shown, veil_words};
use super::csv;
use super::problem::{Code, Problem};
use crate::access::Viewer;
use crate::store::{
    AttemptFilter, AttemptRecord, ExportFilter, ExportRow, ExportTable, Reader, StoreError,
};

mod filter;
pub(in crate::api) mod kind;
mod rest;

pub use kind::{Format, Kind};

/// Number of rows that are read and written at a time.
const PAGE: u32 = 256;

/// Columns of an attempt in a spreadsheet, each with its place in the JSON document (RFC 6901).
const ATTEMPT: [(&str, &str); 17] = [
    ("seq", "/seq"),
    ("at", "/at"),
    ("allocation", "/allocation"),
    ("pool", "/pool"),
    ("interface", "/interface"),
    ("address", "/address"),
    ("protocol", "/protocol"),
    ("port", "/port"),
    ("outcome", "/outcome"),
    ("errno", "/errno"),
    ("duration_us", "/duration_us"),
    ("occupant_pid", "/occupant/pid"),
    ("occupant_uid", "/occupant/uid"),
    ("occupant_command", "/occupant/command"),
    ("occupant_state", "/occupant/state"),
    ("trace_id", "/trace_id"),
    ("span_id", "/span_id"),
];

/// An export, and the position that it has reached.
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
    Table(ExportTable, ExportFilter),
}

impl Export {
    /// Begins an export of the rows that are wanted, as far as this viewer may see them.
    pub async fn open(
        reader: Reader,
        viewer: Viewer,
        kind: Kind,
        wanted: &AttemptQuery,
        now: jiff::Timestamp,
    ) -> Result<Self, Problem> {
        check(kind, wanted)?;
        let page = match kind.table() {
            None => Page::Attempts(reader.bounded(wanted.filter(&viewer, now)?).await?),
            Some(table) => {
                let filter = filter::of_table(kind, table, wanted, &viewer, now)?;
                Page::Table(table, filter)
            }
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

    /// Returns the rows, some at a time.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> {
        try_unfold(self, async |mut export| {
            let text = export.next_page().await?;
            Ok(text.map(|text| (Bytes::from(text), export)))
        })
    }

    async fn next_page(&mut self) -> Result<Option<String>, StoreError> {
        let mut text = String::new();
        if !self.is_begun && self.format == Format::Csv {
            csv::heading(&mut text, &self.heading());
        }
        self.is_begun = true;
        let limit = self.left.min(PAGE);
        if limit > 0 {
            let rows = self.add_rows(&mut text, limit).await?;
            self.left -= u32::try_from(rows).unwrap_or(self.left).min(self.left);
        }
        Ok((!text.is_empty()).then_some(text))
    }

    fn heading(&self) -> Vec<&'static str> {
        match self.page {
            Page::Attempts(_) => ATTEMPT.iter().map(|(name, _)| *name).collect(),
            Page::Table(table, _) => table.heading(),
        }
    }

    /// Adds the next rows, at most `limit`, and returns their number.
    async fn add_rows(&mut self, text: &mut String, limit: u32) -> Result<usize, StoreError> {
        match &mut self.page {
            Page::Attempts(filter) => {
                filter.limit = limit;
                let attempts = self.reader.attempts(filter).await?;
                let last = attempts.last().and_then(|last| last.seq);
                filter.before = last.or(filter.before);
                let rows = attempts.len();
                for attempt in attempts {
                    attempt_line(text, &shown(attempt, &self.viewer), self.format);
                }
                Ok(rows)
            }
            Page::Table(table, filter) => {
                filter.of.limit = limit;
                let mut rows = self.reader.export(*table, filter).await?;
                let last = rows.last().map(|row| row.key.clone());
                filter.after = last.or(filter.after.take());
                for row in &mut rows {
                    veil(*table, row, &self.viewer);
                    table_line(text, *table, row, self.format);
                }
                Ok(rows.len())
            }
        }
    }
}

fn attempt_line(text: &mut String, attempt: &AttemptRecord, format: Format) {
    if format == Format::Jsonl {
        return csv::json_line(text, attempt);
    }
    // Plain values into memory: it cannot fail.
    let document = serde_json::to_value(attempt).unwrap_or_default();
    let cell = |(_, place): &(&str, &str)| document.pointer(place).unwrap_or(&Value::Null);
    csv::line(text, ATTEMPT.iter().map(cell));
}

fn table_line(text: &mut String, table: ExportTable, row: &ExportRow, format: Format) {
    match format {
        Format::Jsonl => csv::json_line(text, row),
        Format::Csv => csv::line(text, table.heading().iter().map(|name| row.get(name))),
    }
}

/// Hides the name of a program from other users.
fn veil(table: ExportTable, row: &mut ExportRow, viewer: &Viewer) {
    let uid = |column| row.get(column).as_u64().and_then(|uid| uid.try_into().ok());
    match table {
        ExportTable::Conflicts => {
            let uid = uid("occupant_uid");
            if let Value::String(mut occupant) = row.get("occupant").clone() {
                veil_words(&mut occupant, uid, viewer);
                row.set("occupant", occupant.into());
            }
        }
        ExportTable::Sightings if !viewer.sees_program_of(uid("uid")) => {
            row.set("command", Value::Null);
        }
        _ => {}
    }
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
