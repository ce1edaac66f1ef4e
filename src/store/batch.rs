//! Rows that one commit adds to the ledger.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::claim::{ClaimRow, Does};
use super::entry::{self, AllocationRow, AttemptRow, Kinds, LeaseRow, Search};
use super::explained::{self, Packed};
use super::ledger::Frame;
use super::{AllocationRecord, StoreError};
use crate::domain::attempt::Attempt;
use crate::domain::claim::Claim;
use crate::domain::lease::{BootTime, Lease};

/// Allocations, leases, claims and attempts to be written together. The caller encodes them, so that this work is
/// spread over the callers' threads.
#[derive(Debug)]
pub struct Batch {
    boot_id: Arc<str>,
    rows: Kinds,
    durable: bool,
    /// First row that cannot be written; it refuses the batch.
    refused: Option<StoreError>,
}

impl Batch {
    pub(super) fn new(boot_id: Arc<str>) -> Self {
        Self {
            boot_id,
            rows: Kinds::default(),
            durable: false,
            refused: None,
        }
    }

    /// Adds an allocation.
    #[must_use]
    pub fn allocation(mut self, record: &AllocationRecord) -> Self {
        let packed = explained::pack(&record.explanation);
        let added = self.rows.allocations.add(&allocation_row(record, &packed));
        self.note(added);
        self
    }

    /// Adds a lease, or its changed form. A named lease must outlive a power cut.
    #[must_use]
    pub fn lease(mut self, lease: &Lease) -> Self {
        self.durable |= lease.name.is_some();
        let added = lease_row(lease, &self.boot_id).and_then(|row| self.rows.leases.add(&row));
        self.note(added);
        self
    }

    /// Adds the attempts of one allocation.
    #[must_use]
    pub fn attempts(mut self, allocation: &AllocationRecord, attempts: &[Attempt]) -> Self {
        let added = search(allocation, attempts).and_then(|search| self.rows.searches.add(&search));
        self.note(added);
        self
    }

    /// Adds a claim, in place of an earlier one on its number.
    #[must_use]
    pub fn claim(self, claim: &Claim) -> Self {
        self.claim_row(Does::Put, claim)
    }

    pub(super) fn claim_row(mut self, does: Does, claim: &Claim) -> Self {
        let added = self.rows.claims.add(&ClaimRow::of(does, claim));
        self.note(added);
        self
    }

    /// Has the commit reach the disk before it is answered.
    #[cfg(feature = "fleet")]
    pub(super) const fn onto_disk(mut self) -> Self {
        self.durable = true;
        self
    }

    fn note(&mut self, added: Result<(), StoreError>) {
        if let Err(error) = added {
            self.refused.get_or_insert(error);
        }
    }

    /// Whether its commit must reach the disk before it is answered.
    pub(super) const fn is_durable(&self) -> bool {
        self.durable
    }

    /// Returns the entry of the ledger.
    pub(super) fn into_frame(self) -> Result<Frame, StoreError> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        Frame::of(|bytes| entry::encode(&self.rows, bytes))
    }
}

fn allocation_row<'a>(record: &'a AllocationRecord, packed: &'a Packed) -> AllocationRow<'a> {
    AllocationRow {
        id: record.id.0,
        at_ms: record.at.as_millisecond(),
        uid: record.uid,
        pool: text(&record.pool),
        refusal: maybe(record.refusal.as_deref()),
        detail: maybe(record.detail.as_deref()),
        attempt_count: record.attempt_count,
        duration_us: record.duration_us.try_into().unwrap_or(i64::MAX),
        shared: text(&packed.shared),
        explanation: &packed.own,
        random_would_meet: record.explanation.random_would_meet,
        free_count: record.free_count,
        trace_id: maybe(record.trace_id.as_deref()),
        span_id: maybe(record.span_id.as_deref()),
        retry_key: maybe(record.retry_key.as_deref()),
    }
}

fn search<'a>(
    allocation: &'a AllocationRecord,
    attempts: &'a [Attempt],
) -> Result<Search<'a>, StoreError> {
    Ok(Search {
        allocation: allocation.id.0,
        uid: allocation.uid,
        pool: text(&allocation.pool),
        strategy: text(&allocation.explanation.strategy),
        attempts: attempts.iter().map(attempt_row).collect::<Result<_, _>>()?,
    })
}

fn attempt_row(attempt: &Attempt) -> Result<AttemptRow<'_>, StoreError> {
    Ok(AttemptRow {
        at_ms: attempt.at.as_millisecond(),
        interface: text(&attempt.address.interface),
        address: attempt.address.to_string().into(),
        protocol: attempt.protocol.as_str().into(),
        port: attempt.port.get(),
        outcome: attempt.outcome.as_str().into(),
        errno: attempt.errno,
        duration_ns: attempt.duration.as_nanos().try_into().unwrap_or(i64::MAX),
        occupant: attempt.occupant.as_ref().map(json).transpose()?,
        span_id: maybe(attempt.span_id.as_deref()),
    })
}

fn lease_row<'a>(lease: &'a Lease, boot_id: &'a str) -> Result<LeaseRow<'a>, StoreError> {
    let boot_ms = |time: BootTime| millis(time.0);
    Ok(LeaseRow {
        id: lease.id.0,
        allocation: lease.allocation.0,
        name: lease.name.as_ref().map(|name| text(name.as_str())),
        scope_dir: scope_dir(lease)?,
        pool: text(&lease.pool),
        protocol: lease.protocol.as_str().into(),
        port: lease.port.get(),
        addresses: json(&lease.addresses)?,
        uid: lease.uid,
        handover: lease.handover.as_str().into(),
        guard: lease.guard.as_str().into(),
        state: lease.state.as_str().into(),
        granted_at_ms: lease.granted_at.as_millisecond(),
        ended_at_ms: lease.ended_at.map(Timestamp::as_millisecond),
        boot_id: text(boot_id),
        claim_by_boot_ms: lease.claim_by.map(boot_ms),
        expires_boot_ms: lease.expires.map(boot_ms),
        ttl_ms: lease.ttl.map(millis),
        owner: lease.owner.as_ref().map(json).transpose()?,
        labels: json(&lease.labels)?,
        trace_id: maybe(lease.trace_id.as_deref()),
        span_id: maybe(lease.span_id.as_deref()),
        revision: lease.revision.try_into().unwrap_or(i64::MAX),
        moved: lease.moved.as_ref().map(json).transpose()?,
        forgotten: lease.forgotten,
        idle_since_ms: lease.idle_since.map(Timestamp::as_millisecond),
        by_hand: lease.by_hand,
        scope_device: lease.scope_device.map(u64::cast_signed),
    })
}

fn scope_dir(lease: &Lease) -> Result<Option<Cow<'_, str>>, StoreError> {
    let Some(folder) = lease.scope.folder() else {
        return Ok(None);
    };
    match folder.to_str() {
        Some(folder) => Ok(Some(text(folder))),
        None => Err(StoreError::unwritable(
            "the folder of a name",
            "its path is not UTF-8",
        )),
    }
}

const fn text(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn maybe(text: Option<&str>) -> Option<Cow<'_, str>> {
    text.map(Cow::Borrowed)
}

fn json(value: &impl Serialize) -> Result<Cow<'static, str>, StoreError> {
    match serde_json::to_string(value) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(error) => Err(StoreError::unwritable("a value", error)),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
