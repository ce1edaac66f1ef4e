//! Damage of the record that was there at the start: commits of the ledger that are not whole, pages of
//! the tables that do not fit together, and leases that are not as they were written.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};

use super::{Store, StoreError, open, seal};

/// Maximum number of faults that a check lists.
const LISTED: usize = 5;

/// Logs how many commits are lost.
pub(super) fn tell_of_ledger(folder: &Path, damaged: u64) {
    if damaged > 0 {
        tracing::error!(commits = damaged, folder = %folder.display(), "the ledger is damaged: {}", lost(damaged));
    }
}

/// "2 commits are lost; …"
pub(super) fn lost(commits: u64) -> String {
    let are = if commits == 1 {
        "commit is"
    } else {
        "commits are"
    };
    format!(
        "{commits} {are} lost: leases granted in them are gone, and those that ended in them live"
    )
}

/// Lists the faults of the tables, at most `most` of each kind. `check`: SQLite's pragma for its pages.
pub(super) fn faults(
    connection: &Connection,
    check: &str,
    most: usize,
) -> rusqlite::Result<Vec<String>> {
    let mut faults = Vec::new();
    for look in [leases(connection, most), pages(connection, check, most)] {
        match look {
            Ok(found) => faults.extend(found),
            // It met damage, and could not go on.
            Err(error) if is_damage(&error) => faults.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(faults)
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    code.is_some_and(|code| matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn leases(connection: &Connection, most: usize) -> rusqlite::Result<Vec<String>> {
    let broken = seal::broken(connection, most)?;
    Ok(broken.iter().map(ToString::to_string).collect())
}

fn pages(connection: &Connection, check: &str, most: usize) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare(&format!("pragma {check}({most})"))?;
    let lines = check.query_map([], |row| row.get::<_, String>(0))?;
    let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
    Ok(if lines == ["ok"] { Vec::new() } else { lines })
}

impl Store {
    /// Checks every lease and every page of the tables once. It may take seconds, and keeps no commit
    /// waiting.
    pub async fn look_for_damage(&self) -> Result<(), StoreError> {
        let (file, access) = (Arc::clone(&self.file), self.parts().access);
        let look = move || {
            let connection = open::beside(&file, access)?;
            let found = faults(&connection, "quick_check", LISTED);
            open::close_filler(connection);
            Ok(found?)
        };
        let found: Result<_, StoreError> = tokio::task::spawn_blocking(look)
            .await
            .map_err(|_| StoreError::Closed)?;
        let found = found.map_err(|error| error.at(&self.file))?;
        if !found.is_empty() {
            let (file, found) = (self.file.display(), found.join("; "));
            tracing::error!(%file, found, "the record is damaged; stop the service and run `portbook doctor --record`");
            // Set once, here.
            let _ = self.damage.set(found);
        }
        Ok(())
    }

    /// Describes damage that was found since the start, with the way out. `None` if there is none.
    pub fn damage(&self) -> Option<String> {
        if let Some(found) = self.damage.get() {
            return Some(format!(
                "{} is damaged ({found}); stop the service and run `portbook doctor --record`",
                self.file.display()
            ));
        }
        let commits = self.parts().damaged_commits;
        (commits > 0).then(|| format!("the ledger was damaged at the start: {}", lost(commits)))
    }
}
