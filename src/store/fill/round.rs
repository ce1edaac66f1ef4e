//! A round: many entries of the ledger, written in one transaction.

use std::collections::HashMap;

use rusqlite::{Connection, ErrorCode, Transaction, params};
use uuid::Uuid;

use super::tables::Tables;
use super::words::Words;
use crate::store::StoreError;
use crate::store::entry::{self, Entry, LeaseRow};
use crate::store::ledger::Numbered;

/// Writes the rows of all entries. A lease with several forms is written once, in its last form. The
/// transaction must be taken back if this fails: a savepoint would first copy each page that changes.
pub(super) fn write(
    transaction: &Transaction<'_>,
    words: &mut Words,
    entries: &[Numbered<'_>],
) -> Result<(), Failure> {
    let read: Result<Vec<Entry<'_>>, Failure> = entries.iter().map(read).collect();
    write_rows(transaction, words, &read?)?;
    Ok(())
}

fn read<'a>(entry: &Numbered<'a>) -> Result<Entry<'a>, Failure> {
    entry::decode(entry.entry).map_err(|error| Failure::Entry(error.to_string()))
}

/// Writes entry by entry, after [`write()`] failed at one of them.
pub(super) fn write_each(
    transaction: &mut Transaction<'_>,
    words: &mut Words,
    entries: &[Numbered<'_>],
) -> Result<(), Failure> {
    entries
        .iter()
        .try_for_each(|entry| write_alone(transaction, words, *entry))
}

/// Writes one entry, or returns the reason that it cannot be written.
pub(super) fn write_one(
    transaction: &Transaction<'_>,
    words: &mut Words,
    entry: Numbered<'_>,
) -> Result<(), StoreError> {
    write(transaction, words, &[entry]).map_err(|failure| match failure {
        Failure::Record(error) => error,
        Failure::Entry(reason) => StoreError::unwritable("a row", reason),
    })
}

/// Reason that entries were not written.
pub(super) enum Failure {
    /// The record takes nothing at the moment.
    Record(StoreError),
    /// The record refuses a row, now and later.
    Entry(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
                Self::Entry(error.to_string())
            }
            _ => Self::Record(error.into()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Record(error)
    }
}

fn write_rows(
    connection: &Connection,
    words: &mut Words,
    entries: &[Entry<'_>],
) -> rusqlite::Result<()> {
    let mut tables = Tables::new(connection, words);
    for entry in entries {
        let mut seqs = HashMap::new();
        for search in &entry.searches {
            seqs.extend(Some(search.allocation).zip(tables.search(search)?));
        }
        for row in &entry.allocations {
            tables.allocation(row, seqs.get(&row.id).copied())?;
        }
    }
    for row in last_forms(entries) {
        tables.lease(row)?;
    }
    for row in entries.iter().flat_map(|entry| &entry.claims) {
        row.write(connection)?;
    }
    tables.finish()
}

/// Returns the last form of each lease, in the order of their first forms.
fn last_forms<'e, 'a>(entries: &'e [Entry<'a>]) -> Vec<&'e LeaseRow<'a>> {
    let mut places: HashMap<Uuid, usize> = HashMap::new();
    let mut last: Vec<&LeaseRow<'_>> = Vec::new();
    for row in entries.iter().flat_map(|entry| &entry.leases) {
        let place = *places.entry(row.id).or_insert(last.len());
        match last.get_mut(place) {
            Some(before) if row.revision > before.revision => *before = row,
            Some(_) => {}
            None => last.push(row),
        }
    }
    last
}

/// Writes one entry. One that the tables refuse is set aside as it is, so that nothing acknowledged is
/// lost and the others go on.
fn write_alone(
    transaction: &mut Transaction<'_>,
    words: &mut Words,
    entry: Numbered<'_>,
) -> Result<(), Failure> {
    let savepoint = transaction.savepoint()?;
    let written = read(&entry).and_then(|read| Ok(write_rows(&savepoint, words, &[read])?));
    let refused = match written {
        Ok(()) => return Ok(savepoint.commit()?),
        Err(Failure::Record(error)) => return Err(Failure::Record(error)),
        Err(Failure::Entry(refused)) => refused,
    };
    // Takes it back.
    drop(savepoint);
    words.forget();
    let number = i64::try_from(entry.number).unwrap_or(i64::MAX);
    tracing::error!(
        number,
        error = refused,
        "tables refuse an entry of the ledger; it is kept in refused_entry"
    );
    transaction.execute(
        "insert into refused_entry (number, entry, error) values (?1, ?2, ?3)",
        params![number, entry.entry, refused],
    )?;
    Ok(())
}
