//! Seals: a checksum in each row of the table `lease_row`. SQLite checks that pages fit together, not that
//! a byte within a row is the one that was written: such a byte may change a port, or end a lease.
//!
//! A seal is the CRC-32 of the row, encoded as in the ledger, below the last 16 bits of its revision. A row
//! of another revision was written by a portbook that knows no seals.

use std::borrow::Cow;

use rusqlite::{Connection, Error, Result, Row};
use uuid::Uuid;

use super::entry::LeaseRow;

/// Number of bits of a checksum.
const CHECKSUM_BITS: u32 = 32;

/// Bits of a revision that a seal repeats.
const REVISION: i64 = 0xffff;

/// Living leases come first: those are guarded.
const SEALED: &str =
    "select * from lease where seal is not null order by ended_at_ms is not null, id";

/// Returns the seal of a row.
pub(super) fn of(row: &LeaseRow<'_>) -> Result<i64> {
    let bytes = postcard::to_extend(row, Vec::new())
        .map_err(|error| Error::ToSqlConversionFailure(error.into()))?;
    let checksum = i64::from(crc32fast::hash(&bytes));
    Ok((row.revision & REVISION) << CHECKSUM_BITS | checksum)
}

/// Lists the leases whose rows are not those that were sealed, at most `most` of them.
pub(super) fn broken(connection: &Connection, most: usize) -> Result<Vec<Broken>> {
    let mut sealed = connection.prepare(SEALED)?;
    let mut rows = sealed.query([])?;
    let mut broken = Vec::new();
    while let Some(row) = rows.next()? {
        if broken.len() == most {
            break;
        }
        broken.extend(look(row));
    }
    Ok(broken)
}

/// Takes the seals from these rows: they are kept as they are, and known.
pub(super) fn unseal(connection: &Connection, broken: &[Broken]) -> Result<()> {
    let mut unseal = connection.prepare("update lease_row set seal = null where id = ?1")?;
    for lease in broken {
        unseal.execute([&lease.id])?;
    }
    Ok(())
}

/// A lease whose row is not the one that was sealed.
#[derive(Debug)]
pub(super) struct Broken {
    id: Vec<u8>,
    port: i64,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, port } = self;
        match Uuid::from_slice(id) {
            Ok(id) => write!(f, "lease {id} (port {port}) is not as it was written"),
            Err(_) => write!(f, "a lease (port {port}) is not as it was written"),
        }
    }
}

/// Returns the lease if its row does not have its seal.
fn look(row: &Row<'_>) -> Option<Broken> {
    let is_whole = read(row).and_then(|lease| {
        let (seal, found) = (row.get::<_, i64>("seal")?, of(&lease)?);
        let is_older = (seal ^ found) >> CHECKSUM_BITS != 0;
        Ok(is_older || seal == found)
    });
    if is_whole.unwrap_or(false) {
        return None;
    }
    Some(Broken {
        id: row.get("id").unwrap_or_default(),
        port: row.get("port").unwrap_or_default(),
    })
}

/// Reads a row as it was encoded.
fn read(row: &Row<'_>) -> Result<LeaseRow<'static>> {
    let text = |column: &str| row.get(column).map(Cow::Owned);
    let maybe = |column: &str| -> Result<Option<Cow<'static, str>>> {
        Ok(row.get::<_, Option<String>>(column)?.map(Cow::Owned))
    };
    let id = |column: &str| row.get(column).map(Uuid::from_bytes);
    Ok(LeaseRow {
        id: id("id")?,
        allocation: id("allocation")?,
        name: maybe("name")?,
        scope_dir: maybe("scope_dir")?,
        pool: text("pool")?,
        protocol: text("protocol")?,
        port: row.get("port")?,
        addresses: text("addresses")?,
        uid: row.get("uid")?,
        handover: text("handover")?,
        guard: text("guard")?,
        state: text("state")?,
        granted_at_ms: row.get("granted_at_ms")?,
        ended_at_ms: row.get("ended_at_ms")?,
        boot_id: text("boot_id")?,
        claim_by_boot_ms: row.get("claim_by_boot_ms")?,
        expires_boot_ms: row.get("expires_boot_ms")?,
        ttl_ms: row.get("ttl_ms")?,
        owner: maybe("owner")?,
        labels: text("labels")?,
        trace_id: maybe("trace_id")?,
        span_id: maybe("span_id")?,
        revision: row.get("revision")?,
        moved: maybe("moved")?,
        forgotten: row.get("forgotten")?,
        idle_since_ms: row.get("idle_since_ms")?,
        by_hand: row.get("by_hand")?,
        scope_device: row.get("scope_device")?,
    })
}
