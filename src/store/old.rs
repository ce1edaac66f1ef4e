//! Conditions of the rows that are old. In each of them ?1 and ?2 are times in milliseconds: that of rows,
//! and that of totals.

/// Condition of an ended lease that may go.
pub(super) const LEASE_MAY_GO: &str = "lease.ended_at_ms < ?1 and ( \
     lease.name is null or lease.ended_at_ms < ?2 or exists ( \
         select 1 from lease newer where newer.name = lease.name and newer.id > lease.id \
         and newer.uid = lease.uid and newer.scope_dir is lease.scope_dir \
         and newer.protocol = lease.protocol))";

/// Condition of an allocation that may go.
pub(super) const ALLOCATION_MAY_GO: &str = "at_ms < ?1 \
     and not exists (select 1 from attempt where allocation = allocation.id) \
     and not exists (select 1 from lease where allocation = allocation.id)";

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
    Table("attempt_hour", OLD_HOUR, "hour, pool, uid"),
    Table("allocation_hour", OLD_HOUR, "hour, pool, uid"),
];
