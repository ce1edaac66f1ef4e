//! Conditions of the rows that are old. In each of them ?1 and ?2 are times in milliseconds: that of rows,
//! and that of totals.

/// Condition of an ended lease that may go.
pub(super) const LEASE_MAY_GO: &str = "lease_row.ended_at_ms < ?1 and ( \
     lease_row.name is null or lease_row.ended_at_ms < ?2 or exists ( \
         select 1 from lease_row newer where newer.name = lease_row.name \
         and newer.id > lease_row.id and newer.uid = lease_row.uid \
         and newer.scope_dir is lease_row.scope_dir and newer.protocol = lease_row.protocol))";

/// Condition of an allocation that may go. Attempts go in the order of `seq`.
pub(super) const ALLOCATION_MAY_GO: &str = "at_ms < ?1 \
     and coalesce(last_attempt < (select min(seq) from attempt_row), true) \
     and not exists (select 1 from lease_row where allocation = allocation_row.id)";

/// Deletes the words of rows that are gone. A row's day is not before that of its allocation, and the
/// oldest allocation is the first; a day is left for clocks that were set back.
pub(super) const FORGET_WORDS: &str = "delete from word where day < ( \
     select at_ms / 86400000 - 1 from allocation_row order by id limit 1)";

/// A small table, the condition of its old rows, and its key.
pub(super) struct Table(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) &'static str,
);

/// A sighting goes before the snapshots that tell its time.
pub(super) const SNAPSHOT_LOG: [Table; 3] = [
    Table(
        "sighting",
        "last_seq < (select min(seq) from snapshot where at_ms >= ?1)",
        "protocol, port, address, scope, dual, first_seq",
    ),
    Table(
        "snapshot",
        "at_ms < ?1 and seq < (select max(seq) from snapshot)",
        "seq",
    ),
    Table("late_conflict", "at_ms < ?1", "seq"),
];

const OLD_DAY: &str = "day < ?2 / 86400000";
const OLD_HOUR: &str = "hour < ?2 / 3600000";

/// An hour of attempts stays as long as they do, since they are found by it.
const OLD_HOUR_OF_ATTEMPTS: &str = "hour < ?2 / 3600000 \
     and coalesce(last_seq < (select min(seq) from attempt_row), true)";

pub(super) const TOTALS: [Table; 6] = [
    Table("place_day", OLD_DAY, "day, pool, interface, uid"),
    Table(
        "attempt_day",
        OLD_DAY,
        "day, pool, interface, protocol, port, uid",
    ),
    Table(
        "occupant_day",
        OLD_DAY,
        "day, pool, protocol, port, uid, command, occupant_uid",
    ),
    Table("lease_day", OLD_DAY, "day, pool, uid, state, lifetime_ms"),
    Table("attempt_hour", OLD_HOUR_OF_ATTEMPTS, "hour, pool, uid"),
    Table("allocation_hour", OLD_HOUR, "hour, pool, uid"),
];
