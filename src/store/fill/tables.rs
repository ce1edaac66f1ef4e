//! Statements that write rows of entries into the tables `allocation_row`, `lease_row` and
//! `attempt_row`, and the totals of allocations. The views of the record do the same for other writers
//! (migrations/0017, 0018); here words are looked up once, not for each row.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result, params};

use super::words::Words;
use crate::store::entry::{AllocationRow, AttemptRow, LeaseRow, Search};
use crate::store::seal;

const ALLOCATION: &str = "insert into allocation_row ( \
     id, at_ms, uid, pool, refusal, detail, attempt_count, duration_us, shared, explanation, \
     trace_id, span_id, retry_key, first_attempt, last_attempt) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

const ALLOCATION_HOUR: &str = "insert into allocation_hour ( \
     hour, pool, uid, granted, refused, weighed, random_would_meet, met) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
     on conflict do update set granted = granted + excluded.granted, \
     refused = refused + excluded.refused, weighed = weighed + excluded.weighed, \
     random_would_meet = random_would_meet + excluded.random_would_meet, met = met + excluded.met";

const ATTEMPT: &str = "insert into attempt_row ( \
     allocation, at_ms, pool, interface, address, protocol, port, outcome, errno, duration_ns, \
     occupant, span_id, strategy, uid) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

/// An older form of a lease never replaces a newer one.
const LEASE: &str = "insert into lease_row ( \
     id, allocation, name, scope_dir, pool, protocol, port, addresses, uid, handover, guard, state, \
     granted_at_ms, ended_at_ms, boot, claim_by_boot_ms, expires_boot_ms, ttl_ms, owner, labels, \
     trace_id, revision, span_id, moved, forgotten, idle_since_ms, by_hand, scope_device, seal) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
     nullif(?20, '{}'), ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29) \
     on conflict (id) do update set name = excluded.name, guard = excluded.guard, state = excluded.state, \
     ended_at_ms = excluded.ended_at_ms, boot = excluded.boot, \
     claim_by_boot_ms = excluded.claim_by_boot_ms, expires_boot_ms = excluded.expires_boot_ms, \
     ttl_ms = excluded.ttl_ms, owner = excluded.owner, handover = excluded.handover, \
     labels = excluded.labels, moved = excluded.moved, forgotten = excluded.forgotten, \
     idle_since_ms = excluded.idle_since_ms, by_hand = excluded.by_hand, \
     scope_device = excluded.scope_device, revision = excluded.revision, seal = excluded.seal \
     where excluded.revision > lease_row.revision";

/// Milliseconds of an hour, in which allocations are summed up.
const HOUR_MS: i64 = 3_600_000;

/// Tables that a round writes.
pub(super) struct Tables<'r> {
    connection: &'r Connection,
    words: &'r mut Words,
    hours: BTreeMap<(i64, &'r str, u32), Sum>,
}

/// Allocations of one hour, pool and user.
#[derive(Default)]
struct Sum {
    granted: i64,
    refused: i64,
    weighed: i64,
    random_would_meet: f64,
    met: i64,
}

impl Sum {
    fn add(&mut self, row: &AllocationRow<'_>) {
        self.granted += i64::from(row.refusal.is_none());
        self.refused += i64::from(row.refusal.is_some());
        if let Some(chance) = row.random_would_meet {
            self.weighed += 1;
            self.random_would_meet += chance;
            self.met += i64::from(row.attempt_count.saturating_sub(row.free_count));
        }
    }
}

impl<'r> Tables<'r> {
    pub(super) const fn new(connection: &'r Connection, words: &'r mut Words) -> Self {
        Self {
            connection,
            words,
            hours: BTreeMap::new(),
        }
    }

    /// Writes the attempts of an allocation; returns the first and the last `seq`.
    pub(super) fn search(&mut self, search: &Search<'_>) -> Result<Option<(i64, i64)>> {
        let mut seqs = None;
        for row in &search.attempts {
            self.attempt(search, row)?;
            let seq = self.connection.last_insert_rowid();
            seqs = Some((seqs.map_or(seq, |(first, _)| first), seq));
        }
        Ok(seqs)
    }

    fn attempt(&mut self, search: &Search<'_>, row: &AttemptRow<'_>) -> Result<()> {
        let connection = self.connection;
        let mut id = |text: &str| self.words.id(connection, text, row.at_ms);
        connection.prepare_cached(ATTEMPT)?.execute(params![
            search.allocation.as_bytes(),
            row.at_ms,
            id(&search.pool)?,
            id(&row.interface)?,
            id(&row.address)?,
            id(&row.protocol)?,
            row.port,
            id(&row.outcome)?,
            row.errno,
            row.duration_ns,
            row.occupant,
            row.span_id,
            id(&search.strategy)?,
            search.uid,
        ])?;
        Ok(())
    }

    /// Writes an allocation. `seqs`: first and last `seq` of its attempts.
    pub(super) fn allocation(
        &mut self,
        row: &'r AllocationRow<'_>,
        seqs: Option<(i64, i64)>,
    ) -> Result<()> {
        let (connection, at_ms) = (self.connection, row.at_ms);
        let refusal = row.refusal.as_deref();
        connection.prepare_cached(ALLOCATION)?.execute(params![
            row.id.as_bytes(),
            at_ms,
            row.uid,
            self.words.id(connection, &row.pool, at_ms)?,
            self.words.maybe_id(connection, refusal, at_ms)?,
            row.detail,
            row.attempt_count,
            row.duration_us,
            self.words.id(connection, &row.shared, at_ms)?,
            row.explanation,
            row.trace_id,
            row.span_id,
            row.retry_key,
            seqs.map(|(first, _)| first),
            seqs.map(|(_, last)| last),
        ])?;
        let hour = (at_ms.div_euclid(HOUR_MS), &*row.pool, row.uid);
        self.hours.entry(hour).or_default().add(row);
        Ok(())
    }

    /// Writes a lease, or its changed form.
    pub(super) fn lease(&mut self, row: &LeaseRow<'_>) -> Result<()> {
        let connection = self.connection;
        let mut id = |text: &str| self.words.id(connection, text, row.granted_at_ms);
        connection.prepare_cached(LEASE)?.execute(params![
            row.id.as_bytes(),
            row.allocation.as_bytes(),
            row.name,
            row.scope_dir,
            id(&row.pool)?,
            id(&row.protocol)?,
            row.port,
            id(&row.addresses)?,
            row.uid,
            id(&row.handover)?,
            id(&row.guard)?,
            id(&row.state)?,
            row.granted_at_ms,
            row.ended_at_ms,
            id(&row.boot_id)?,
            row.claim_by_boot_ms,
            row.expires_boot_ms,
            row.ttl_ms,
            row.owner,
            row.labels,
            row.trace_id,
            row.revision,
            row.span_id,
            row.moved,
            row.forgotten,
            row.idle_since_ms,
            row.by_hand,
            row.scope_device,
            seal::of(row)?,
        ])?;
        Ok(())
    }

    /// Adds the allocations that were written to the totals.
    pub(super) fn finish(self) -> Result<()> {
        let mut total = self.connection.prepare_cached(ALLOCATION_HOUR)?;
        for ((hour, pool, uid), sum) in self.hours {
            total.execute(params![
                hour,
                pool,
                uid,
                sum.granted,
                sum.refused,
                sum.weighed,
                sum.random_would_meet,
                sum.met,
            ])?;
        }
        Ok(())
    }
}
