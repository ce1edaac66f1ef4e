//! Rows that one commit writes: `batch.sql` reads the columns that are set here.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::column::Nanos;
use super::rows::Rows;
use super::{AllocationRecord, StoreError};
use crate::domain::attempt::Attempt;
use crate::domain::lease::{BootTime, Lease};

/// Allocations, leases and attempts to be written together. The caller turns them into JSON, so that
/// this work is spread over the callers' threads.
#[derive(Debug)]
pub struct Batch {
    boot_id: Arc<str>,
    allocations: Rows,
    leases: Rows,
    attempts: Rows,
    durable: bool,
}

impl Batch {
    pub(super) fn new(boot_id: Arc<str>) -> Self {
        Self {
            boot_id,
            allocations: Rows::default(),
            leases: Rows::default(),
            attempts: Rows::default(),
            durable: false,
        }
    }

    /// Adds an allocation.
    #[must_use]
    pub fn allocation(mut self, record: &AllocationRecord) -> Self {
        self.allocations.add(|row| {
            row.set("id", record.id.0.simple())
                .set("at_ms", record.at.as_millisecond())
                .set("uid", record.uid)
                .set("pool", &record.pool)
                .set("refusal", &record.refusal)
                .set("detail", &record.detail)
                .set("attempt_count", record.attempt_count)
                .set("duration_us", record.duration_us)
                .set("explanation", &record.explanation)
                .set("trace_id", &record.trace_id)
                .set("span_id", &record.span_id)
                .set("retry_key", &record.retry_key);
        });
        self
    }

    /// Adds a lease, or its changed form. A named lease must outlive a power cut.
    #[must_use]
    pub fn lease(mut self, lease: &Lease) -> Self {
        self.durable |= lease.name.is_some();
        let boot_ms = |time: BootTime| millis(time.0);
        self.leases.add(|row| {
            row.set("id", lease.id.0.simple())
                .set("allocation", lease.allocation.0.simple())
                .set("name", &lease.name)
                .set("scope_dir", lease.scope.folder())
                .set("pool", &lease.pool)
                .set("protocol", lease.protocol)
                .set("port", lease.port)
                .set("addresses", &lease.addresses)
                .set("uid", lease.uid)
                .set("handover", lease.handover)
                .set("guard", lease.guard)
                .set("state", lease.state)
                .set("granted_at_ms", lease.granted_at.as_millisecond())
                .set("ended_at_ms", lease.ended_at.map(Timestamp::as_millisecond))
                .set("boot_id", &self.boot_id)
                .set("claim_by_boot_ms", lease.claim_by.map(boot_ms))
                .set("expires_boot_ms", lease.expires.map(boot_ms))
                .set("ttl_ms", lease.ttl.map(millis))
                .set("owner", &lease.owner)
                .set("labels", &lease.labels)
                .set("trace_id", &lease.trace_id)
                .set("span_id", &lease.span_id)
                .set("revision", lease.revision)
                .set("moved", &lease.moved)
                .set("forgotten", u8::from(lease.forgotten))
                .set(
                    "idle_since_ms",
                    lease.idle_since.map(Timestamp::as_millisecond),
                )
                .set("by_hand", u8::from(lease.by_hand))
                // SQLite has signed numbers only: the bits stay the same.
                .set("scope_device", lease.scope_device.map(u64::cast_signed));
        });
        self
    }

    /// Adds the attempts of one allocation.
    #[must_use]
    pub fn attempts(mut self, allocation: &AllocationRecord, attempts: &[Attempt]) -> Self {
        for attempt in attempts {
            self.attempts.add(|row| {
                row.set("allocation", allocation.id.0.simple())
                    .set("at_ms", attempt.at.as_millisecond())
                    .set("pool", &allocation.pool)
                    .set("interface", &attempt.address.interface)
                    .set("address", attempt.address.to_string())
                    .set("protocol", attempt.protocol)
                    .set("port", attempt.port)
                    .set("outcome", attempt.outcome)
                    .set("errno", attempt.errno)
                    .set("duration_ns", Nanos::from(attempt.duration))
                    .set("occupant", &attempt.occupant)
                    .set("trace_id", &allocation.trace_id)
                    .set("span_id", &attempt.span_id)
                    .set("strategy", &allocation.explanation.strategy)
                    .set("uid", allocation.uid);
            });
        }
        self
    }

    /// Whether its commit must reach the disk before it is answered.
    pub(super) const fn is_durable(&self) -> bool {
        self.durable
    }

    /// Adds the rows of another batch.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.allocations.append(&other.allocations);
        self.leases.append(&other.leases);
        self.attempts.append(&other.attempts);
        self.durable |= other.durable;
    }

    /// Writes all rows in one statement, which is one transaction.
    pub(super) async fn write(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query("insert into batch values (?1, ?2, ?3)")
            .bind(self.allocations.array())
            .bind(self.leases.array())
            .bind(self.attempts.array())
            .execute(connection)
            .await?;
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
