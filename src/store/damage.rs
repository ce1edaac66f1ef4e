//! Damage of the record that was there at the start: commits of the ledger that are not whole, and pages
//! of the tables that do not fit together.

use std::path::Path;

use super::cause::Cause;
use super::{Store, StoreError};

/// Maximum number of faults that a check lists.
const LISTED: u32 = 5;

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

impl Store {
    /// Checks every page of the tables once. It may take seconds, and keeps no commit waiting.
    pub async fn look_for_damage(&self) -> Result<(), StoreError> {
        let check = format!("pragma quick_check({LISTED})");
        let found = sqlx::query_scalar(sqlx::AssertSqlSafe(check))
            .fetch_all(&self.readers())
            .await;
        let found: Vec<String> = match found.map_err(|error| StoreError::from(error).at(&self.file))
        {
            // The check itself could not go on.
            Err(StoreError::Unusable {
                reason,
                cause: Cause::Damaged,
                ..
            }) => vec![reason],
            found => found?,
        };
        if found != ["ok"] {
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
