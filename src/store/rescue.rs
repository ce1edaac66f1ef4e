//! Check and repair of a record that no service has open. A repair copies what can be read into a new
//! file; the damaged one stays beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::ledger::{FILES, Pages, RecordId, id_of};
use super::lost::free_name;
use super::open::{self, Access};
use super::salvage::Copied;
use super::{StoreError, begin, damage, seal};
use crate::files;

/// Maximum number of faults that a check lists.
const LISTED: usize = 20;

/// Tables with one row, which a new record has too.
const OF_EACH_RECORD: &str = "_sqlx_migrations";

/// Result of a repair.
#[derive(Debug, Default)]
pub struct Rescued {
    /// Number of rows that were copied, by table.
    pub rows: BTreeMap<String, u64>,
    /// Number of rows known to be lost, by table.
    pub lost: BTreeMap<String, u64>,
    /// Whether rows are lost whose number cannot be told.
    pub has_unknown: bool,
    /// File that is left as it was.
    pub kept: PathBuf,
}

/// Whether a record is there, or what is left of one.
pub fn is_there(file: &Path) -> bool {
    file.exists() || begin::fault(file).is_some()
}

/// Checks a record and its ledger, and returns the faults in words. Nothing is changed.
pub fn check(file: &Path) -> Result<Vec<String>, StoreError> {
    if let Some(fault) = begin::fault(file) {
        return Ok(vec![fault]);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)
        .map_err(|error| StoreError::from(error).at(file))?;
    leave_log(&connection, true).map_err(|error| StoreError::from(error).at(file))?;
    let mut faults = match damage::faults(&connection, "integrity_check", LISTED) {
        Ok(faults) => faults,
        // A lack of room or of a right is no damage, and a repair would mend nothing.
        Err(error) => match StoreError::from(error).at(file) {
            error if error.has_no_place() => return Err(error),
            StoreError::Unusable { reason, .. } => vec![reason],
            error => vec![error.to_string()],
        },
    };
    // Leases and pages may meet the same damage.
    faults.dedup();
    if let Ok((id, filled)) = ledger_of(&connection, "main") {
        let folder = file.parent().unwrap_or(Path::new(""));
        let damaged = Pages::open(folder, id, filled)?.damaged();
        if damaged > 0 {
            faults.push(format!("the ledger: {}", damage::lost(damaged)));
        }
    }
    Ok(faults)
}

/// Sets whether SQLite leaves the log of a file alone when it closes the file: it would copy the log into
/// it, also into a damaged one.
fn leave_log(connection: &Connection, leave: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave)?;
    Ok(())
}

fn ledger_of(connection: &Connection, schema: &str) -> rusqlite::Result<(RecordId, u64)> {
    let query = format!("select id, filled from {schema}.ledger");
    connection.query_row(&query, [], |row| {
        let filled: i64 = row.get(1)?;
        Ok((row.get(0)?, filled.unsigned_abs()))
    })
}

/// Copies what can be read of a damaged record into a new file, and puts that in its place. In the lock
/// of the folder.
pub async fn repair(file: &Path) -> Result<Rescued, StoreError> {
    let new = file.with_extension("db.new");
    let failed = |error: std::io::Error| StoreError::ledger(&new, &error);
    // Left by a repair that was killed.
    let _ = std::fs::remove_file(&new);
    files::open_own(&new).map_err(failed)?;
    let opened = open::open(&new, None, false, Access::Shared).await?;
    open::close(opened.chores).await;
    let at = |error: rusqlite::Error| StoreError::from(error).at(&new);
    let connection = Connection::open(&new).map_err(at)?;
    let mut rescued = copy(&connection, file)?;
    // They are told as faults: the next check is of damage that comes after.
    let broken = seal::broken(&connection, usize::MAX).map_err(at)?;
    seal::unseal(&connection, &broken).map_err(at)?;
    open::close_filler(connection);
    // One that is missing leaves its log under the same name as the others do.
    files::open_own(file).map_err(|error| StoreError::of_file(file, error))?;
    rescued.kept = free_name(file);
    for ending in ["", "-wal", "-shm"] {
        let (from, to) = (with(file, ending), with(&rescued.kept, ending));
        match std::fs::rename(&from, &to) {
            Err(error) if ending.is_empty() => return Err(StoreError::ledger(&from, &error)),
            // A record that was closed in order has no log.
            _ => {}
        }
    }
    std::fs::rename(&new, file).map_err(failed)?;
    Ok(rescued)
}

pub(super) fn with(file: &Path, ending: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// Copies what can be read of a damaged record, or of the log of one that lost its file.
fn copy(connection: &Connection, damaged: &Path) -> Result<Rescued, StoreError> {
    let at = |error: rusqlite::Error| StoreError::from(error).at(damaged);
    if begin::fault(damaged).is_none() {
        return copy_all(connection, damaged, damaged).map_err(at);
    }
    let pages = Copied::of(damaged).map_err(|error| StoreError::ledger(damaged, &error))?;
    let from = pages.as_ref().map_or(damaged, Copied::path);
    let mut rescued = copy_all(connection, from, damaged).map_err(at)?;
    // The log need not have all that the file had.
    rescued.has_unknown = true;
    Ok(rescued)
}

/// Copies what can be read of the file `from`, which stands for the record `damaged`.
fn copy_all(connection: &Connection, from: &Path, damaged: &Path) -> rusqlite::Result<Rescued> {
    let mut rescued = Rescued::default();
    leave_log(connection, true)?;
    if attach(connection, from).is_err() {
        rescued.has_unknown = true;
        leave_log(connection, false)?;
        adopt_ledger(connection, damaged)?;
        return Ok(rescued);
    }
    let mut tables = connection.prepare(
        "select name, wr from pragma_table_list where schema = 'main' and type = 'table' \
         and name not like 'sqlite\\_%' escape '\\' and name <> ?1",
    )?;
    let tables = tables.query_map([OF_EACH_RECORD], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))
    })?;
    let tables: Vec<(String, bool)> = tables.collect::<Result<_, _>>()?;
    for (table, is_keyed) in tables {
        // An older record lacks some tables; a damaged schema has none that can be read.
        let count = copy_table(connection, &table, is_keyed).unwrap_or(0);
        let count_before = format!("select count(*) from old.{table}");
        let before = connection.query_row(&count_before, [], |row| row.get::<_, i64>(0));
        rescued.has_unknown |= before.as_ref().is_err_and(damage::is_damage);
        let before = before.map_or(count, i64::unsigned_abs);
        let lost = before.saturating_sub(count);
        if lost > 0 {
            rescued.lost.insert(table.clone(), lost);
        }
        rescued.rows.insert(table, count);
    }
    if ledger_of(connection, "old").is_err() {
        adopt_ledger(connection, damaged)?;
    }
    connection.execute_batch("detach old")?;
    leave_log(connection, false)?;
    Ok(rescued)
}

/// Attaches a file whose schema can be read. SQLite would take an empty one for a new one, and delete its
/// log.
fn attach(connection: &Connection, from: &Path) -> rusqlite::Result<()> {
    if begin::fault(from).is_some() {
        return Err(rusqlite::Error::InvalidQuery);
    }
    connection.execute("attach ?1 as old", params![from.to_string_lossy()])?;
    Ok(())
}

/// Gives a new record the id that the ledger beside the damaged one repeats, so that it is filled from it.
fn adopt_ledger(connection: &Connection, damaged: &Path) -> rusqlite::Result<()> {
    let ids = FILES
        .iter()
        .filter_map(|name| id_of(&damaged.with_file_name(name)));
    if let Some(id) = ids.into_iter().next() {
        connection.execute("update ledger set id = ?1", params![id])?;
    }
    Ok(())
}

/// Copies the rows of a table that can be read. Returns their number.
fn copy_table(connection: &Connection, table: &str, is_keyed: bool) -> rusqlite::Result<u64> {
    let columns = columns(connection, table)?;
    let columns = columns.join(", ");
    let into = format!(
        "insert or replace into main.{table} ({columns}) select {columns} from old.{table}"
    );
    let transaction = connection.unchecked_transaction()?;
    if is_keyed {
        // Small tables of sums, which have no numbers of rows: all rows, or as many as come first.
        let all = connection.execute(&into, []);
        if all.is_err() {
            copy_first(connection, table, &columns)?;
        }
    } else {
        copy_by_number(connection, table, &into)?;
    }
    let count = format!("select count(*) from main.{table}");
    let count: i64 = connection.query_row(&count, [], |row| row.get(0))?;
    transaction.commit()?;
    Ok(count.unsigned_abs())
}

/// Copies row by row, and jumps over rows that cannot be read: one, two, four, … at a time.
fn copy_by_number(connection: &Connection, table: &str, into: &str) -> rusqlite::Result<()> {
    let next = format!("select min(rowid) from old.{table} where rowid > ?1");
    let mut next = connection.prepare(&next)?;
    let mut one = connection.prepare(&format!("{into} where rowid = ?1"))?;
    let (mut last, mut jump) = (i64::MIN, 1_i64);
    loop {
        let found = next.query_row([last], |row| row.get::<_, Option<i64>>(0));
        match found {
            Ok(None) => return Ok(()),
            Ok(Some(number)) => {
                last = number;
                if one.execute([number]).is_ok() {
                    jump = 1;
                    continue;
                }
            }
            // Numbers are positive: the first page may be the one that cannot be read.
            Err(_) => last = last.max(0),
        }
        let Some(after) = last.checked_add(jump) else {
            return Ok(());
        };
        (last, jump) = (after, jump.saturating_mul(2));
    }
}

/// Copies the rows before the first that cannot be read.
fn copy_first(connection: &Connection, table: &str, columns: &str) -> rusqlite::Result<()> {
    let marks = vec!["?"; columns.split(", ").count()].join(", ");
    let mut insert = connection.prepare(&format!(
        "insert or replace into main.{table} ({columns}) values ({marks})"
    ))?;
    let mut read = connection.prepare(&format!("select {columns} from old.{table}"))?;
    let width = read.column_count();
    let mut rows = read.query([])?;
    while let Ok(Some(row)) = rows.next() {
        let values = (0..width).map(|index| row.get::<_, rusqlite::types::Value>(index));
        let values: Vec<_> = values.collect::<Result<_, _>>()?;
        insert.execute(rusqlite::params_from_iter(values))?;
    }
    Ok(())
}

/// Returns the columns that the table has in both records.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut columns = connection.prepare(
        "select name from pragma_table_info(?1, 'main') \
         where name in (select name from pragma_table_info(?1, 'old'))",
    )?;
    let columns = columns.query_map([table], |row| row.get(0))?;
    columns.collect()
}
