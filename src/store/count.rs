//! Counting attempts: those on record that are not counted yet go into the totals of their day.
//!
//! Reading and adding up run on a reader. The chore adds only a few sums, in the transaction
//! that moves the mark of what is counted. So no allocation waits for it, and no attempt is counted
//! twice or left out, whenever the process ends.

use std::time::Duration;

use super::{Reader, Store, StoreError};

/// Number of attempts that the first step reads.
const FIRST_ROWS: u32 = 128;

/// Maximum number of attempts that a step reads.
const MOST_ROWS: u32 = 16_384;

/// Number of sums that a step may add while allocations may wait to be written.
const GENTLE_SUMS: usize = 96;

/// Number of sums that a step may add in a command, which is alone.
const HASTY_SUMS: usize = 4096;

/// Pause between two steps, so that other writes can run.
const PAUSE: Duration = Duration::from_millis(2);

/// Sums of attempts, not yet in the totals.
#[derive(Debug)]
struct Counts {
    first: i64,
    last: i64,
    sums: usize,
    attempts: String,
    occupants: String,
}

impl Reader {
    /// Returns the sums of the next attempts that are not counted yet. `None` if all are counted. The
    /// numbers of outcomes are those of migrations/0017.
    async fn uncounted(&self, rows: u32) -> Result<Option<Counts>, StoreError> {
        let first: i64 = sqlx::query_scalar("select attempt_seq from counted")
            .fetch_one(&self.pool)
            .await?;
        let sums: Vec<(String, i64)> = sqlx::query_as(
            "select json_object( \
                 'hour', hour, 'pool', (select text from word where id = pool), \
                 'interface', (select text from word where id = interface), \
                 'protocol', (select text from word where id = protocol), \
                 'port', port, 'uid', uid, 'bound', sum(outcome = 1), \
                 'lingering', sum(outcome = 2), 'in_use', sum(outcome = 3), \
                 'not_permitted', sum(outcome = 4), 'address_not_available', sum(outcome = 5), \
                 'failed', sum(outcome not in (1, 2, 3, 4, 5)), \
                 'last_ms', max(at_ms), \
                 'last_refused_ms', max(iif(outcome in (1, 2), null, at_ms)), \
                 'first_seq', min(seq), 'last_seq', max(seq) \
             ), max(seq) \
             from ( \
                 select *, at_ms / 3600000 as hour \
                 from attempt_row where seq > ?1 order by seq limit ?2 \
             ) \
             group by hour, pool, interface, protocol, port, uid",
        )
        .bind(first)
        .bind(rows)
        .fetch_all(&self.pool)
        .await?;
        let Some(last) = sums.iter().map(|(_, last)| *last).max() else {
            return Ok(None);
        };
        Ok(Some(Counts {
            first,
            last,
            sums: sums.len(),
            attempts: array(sums.into_iter().map(|(sum, _)| sum)),
            occupants: self.uncounted_occupants(first, last).await?,
        }))
    }

    async fn uncounted_occupants(&self, first: i64, last: i64) -> Result<String, StoreError> {
        let sums: Vec<String> = sqlx::query_scalar(
            "select json_object( \
                 'day', at_ms / 86400000, 'pool', pool, 'protocol', protocol, 'port', port, \
                 'uid', uid, 'command', command, 'occupant_uid', occupant_uid, \
                 'attempts', count(*) \
             ) \
             from ( \
                 select \
                     *, \
                     coalesce(occupant ->> '$.command', '') as command, \
                     coalesce(occupant ->> '$.uid', -1) as occupant_uid \
                 from attempt where seq > ?1 and seq <= ?2 and occupant is not null \
             ) \
             group by at_ms / 86400000, pool, protocol, port, uid, command, occupant_uid",
        )
        .bind(first)
        .bind(last)
        .fetch_all(&self.pool)
        .await?;
        Ok(array(sums.into_iter()))
    }
}

fn array(rows: impl Iterator<Item = String>) -> String {
    format!("[{}]", rows.collect::<Vec<_>>().join(","))
}

impl Store {
    /// Counts every attempt that is not counted yet. `gently`: in steps so small that they do not delay
    /// allocations.
    pub async fn count_attempts(&self, gently: bool) -> Result<(), StoreError> {
        let most = if gently { GENTLE_SUMS } else { HASTY_SUMS };
        let mut rows = FIRST_ROWS;
        while let Some(counts) = self.reader().uncounted(rows).await? {
            let sums = counts.sums;
            if sums > 2 * most && rows > FIRST_ROWS {
                rows = FIRST_ROWS;
                continue;
            }
            self.chore(false, |connection| Box::pin(add(connection, counts)))
                .await?;
            rows = match sums {
                few if few < most / 2 => (rows * 2).min(MOST_ROWS),
                many if many > most => (rows / 2).max(FIRST_ROWS),
                _ => rows,
            };
            if gently {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }
}

async fn add(connection: &mut sqlx::SqliteConnection, counts: Counts) -> Result<(), StoreError> {
    // Here and not when the record is opened: a short command counts nothing.
    sqlx::raw_sql(include_str!("count.sql"))
        .execute(&mut *connection)
        .await?;
    sqlx::query("insert into counting values (?1, ?2, ?3, ?4)")
        .bind(counts.first)
        .bind(counts.last)
        .bind(counts.attempts)
        .bind(counts.occupants)
        .execute(connection)
        .await?;
    Ok(())
}
