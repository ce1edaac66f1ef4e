//! Space of the file: pages that pruning left free go back to the file system, a few in each step.

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;

/// Value of `pragma auto_vacuum` in a file that can give space back.
const INCREMENTAL: i64 = 2;

/// Copies the log into the file, and cuts it.
const INTO_FILE: &str = "pragma wal_checkpoint(truncate)";

/// Number of free pages that stay, to be used again (1 MB).
const KEPT_PAGES: i64 = 256;

/// Gives at most `pages` free pages back. Returns whether there are more.
pub(super) async fn give_back(
    connection: &mut SqliteConnection,
    pages: u32,
) -> Result<bool, sqlx::Error> {
    let free: i64 = sqlx::query_scalar("pragma freelist_count")
        .fetch_one(&mut *connection)
        .await?;
    let beyond = free - KEPT_PAGES;
    if beyond <= 0 {
        return Ok(false);
    }
    let give = format!("pragma incremental_vacuum({})", beyond.min(pages.into()));
    sqlx::query(AssertSqlSafe(give)).execute(connection).await?;
    Ok(beyond > pages.into())
}

/// Writes a file anew that cannot give space back yet, without the space that it does not use. `is_new`: it
/// has no rows, which need no mention, and its tables are in the log alone.
pub(super) async fn prepare(connection: &mut SqliteConnection, is_new: bool) {
    if let Err(error) = rewrite(connection, is_new).await {
        tracing::warn!(%error, "could not write the record anew; it keeps its free space until the next start");
    }
}

async fn rewrite(connection: &mut SqliteConnection, is_new: bool) -> sqlx::Result<()> {
    let mode: i64 = sqlx::query_scalar("pragma auto_vacuum")
        .fetch_one(&mut *connection)
        .await?;
    if mode == INCREMENTAL {
        if is_new {
            sqlx::raw_sql(INTO_FILE).execute(connection).await?;
        }
        return Ok(());
    }
    if !is_new {
        tracing::info!("writing the record anew, without free space");
    }
    sqlx::raw_sql("pragma auto_vacuum = incremental; vacuum")
        .execute(&mut *connection)
        .await?;
    sqlx::raw_sql(INTO_FILE).execute(connection).await?;
    Ok(())
}
