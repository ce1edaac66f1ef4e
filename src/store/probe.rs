//! The way in which a record is opened: with the index of SQLite's log in a file, or in memory where the disk
//! has no room for that file.

use std::path::Path;

use rusqlite::config::DbConfig;

use super::open::{self, Access, Opened};
use super::{StoreError, StoreOptions};

/// Opens the file. A service does so also on a full disk, which has no room for the index of SQLite's log.
pub(super) async fn opened(
    file: &Path,
    options: &StoreOptions,
    serves: bool,
) -> Result<(Opened, Access), StoreError> {
    let open = |access| open::open(file, options.machine_id.as_deref(), serves, access);
    let shared = match index(file) {
        Err(error) if serves && error.is_full() => Err(error),
        _ => open(Access::Shared).await,
    };
    match shared {
        Err(error) if serves && error.lasts() => {
            let alone = open(Access::Alone).await;
            alone.map_or(Err(error), |opened| Ok((opened, Access::Alone)))
        }
        opened => Ok((opened?, Access::Shared)),
    }
}

/// Checks that there is room for the file of the index. The connection is closed when this returns. That
/// of sqlx is closed later, on its own thread, and until then SQLite has one index for all of this process:
/// [`Access::Alone`] would get the one that has failed.
fn index(file: &Path) -> Result<(), StoreError> {
    if !file.exists() {
        return Ok(());
    }
    let connection = open::beside(file, Access::Shared)?;
    let read = || {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))
    };
    read().map_err(|error| StoreError::from(error).at(file))
}
