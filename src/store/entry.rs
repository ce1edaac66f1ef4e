//! Entries of the ledger: the rows that one commit adds, as bytes.
//!
//! An entry is one byte with the version of the layout, then [`Entry`] in the wire format of postcard
//! (<https://postcard.jamesmunns.com/wire-format>): fields in the order of the structs below, without
//! names, numbers as varints, texts with their length. JSON columns are JSON texts here too.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use super::claim::ClaimRow;

/// Version of the layout. Every change of a struct in this file needs a new one, and a reader of the old
/// one: an entry may outlive the program that wrote it.
const VERSION: u8 = 1;

/// Version of an entry with claims, which are a list behind the others. The portbook of before reads an
/// entry without claims, as nearly all are.
const WITH_CLAIMS: u8 = 2;

/// Rows of one commit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(borrow)]
    pub(super) allocations: Vec<AllocationRow<'a>>,
    #[serde(borrow)]
    pub(super) searches: Vec<Search<'a>>,
    #[serde(borrow)]
    pub(super) leases: Vec<LeaseRow<'a>>,
    /// Changes of claims, in their order.
    #[serde(skip)]
    pub(super) claims: Vec<ClaimRow<'a>>,
}

/// Row of the table `allocation_row`, with words as texts, and facts that go into totals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AllocationRow<'a> {
    pub(super) id: Uuid,
    pub(super) at_ms: i64,
    pub(super) uid: u32,
    #[serde(borrow)]
    pub(super) pool: Cow<'a, str>,
    pub(super) refusal: Option<Cow<'a, str>>,
    pub(super) detail: Option<Cow<'a, str>>,
    pub(super) attempt_count: u32,
    pub(super) duration_us: i64,
    #[serde(borrow)]
    pub(super) shared: Cow<'a, str>,
    pub(super) explanation: &'a [u8],
    pub(super) random_would_meet: Option<f64>,
    pub(super) free_count: u32,
    pub(super) trace_id: Option<Cow<'a, str>>,
    pub(super) span_id: Option<Cow<'a, str>>,
    pub(super) retry_key: Option<Cow<'a, str>>,
}

/// Attempts of one allocation, with the columns that they share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Search<'a> {
    pub(super) allocation: Uuid,
    pub(super) uid: u32,
    #[serde(borrow)]
    pub(super) pool: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) strategy: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) attempts: Vec<AttemptRow<'a>>,
}

/// Row of the table `attempt_row`, with words as texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AttemptRow<'a> {
    pub(super) at_ms: i64,
    #[serde(borrow)]
    pub(super) interface: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) address: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) protocol: Cow<'a, str>,
    pub(super) port: u16,
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    pub(super) errno: Option<i32>,
    pub(super) duration_ns: i64,
    pub(super) occupant: Option<Cow<'a, str>>,
    pub(super) span_id: Option<Cow<'a, str>>,
}

/// Row of the table `lease_row`, with words as texts. A change of its fields also takes the seals from
/// the rows of before ([`super::seal`]), by a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LeaseRow<'a> {
    pub(super) id: Uuid,
    pub(super) allocation: Uuid,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) scope_dir: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) pool: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) protocol: Cow<'a, str>,
    pub(super) port: u16,
    #[serde(borrow)]
    pub(super) addresses: Cow<'a, str>,
    pub(super) uid: u32,
    #[serde(borrow)]
    pub(super) handover: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) guard: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) state: Cow<'a, str>,
    pub(super) granted_at_ms: i64,
    pub(super) ended_at_ms: Option<i64>,
    #[serde(borrow)]
    pub(super) boot_id: Cow<'a, str>,
    pub(super) claim_by_boot_ms: Option<i64>,
    pub(super) expires_boot_ms: Option<i64>,
    pub(super) ttl_ms: Option<i64>,
    pub(super) owner: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) labels: Cow<'a, str>,
    pub(super) trace_id: Option<Cow<'a, str>>,
    pub(super) span_id: Option<Cow<'a, str>>,
    pub(super) revision: i64,
    pub(super) moved: Option<Cow<'a, str>>,
    pub(super) forgotten: bool,
    pub(super) idle_since_ms: Option<i64>,
    pub(super) by_hand: bool,
    /// `st_dev` with its bits unchanged: SQLite has signed numbers only.
    pub(super) scope_device: Option<i64>,
}

/// Rows of one kind on their way into an entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Encoded {
    count: u32,
    bytes: Vec<u8>,
}

impl Encoded {
    /// Adds a row.
    pub(super) fn add(&mut self, row: &impl Serialize) -> Result<(), StoreError> {
        // On failure the caller gives the whole batch up.
        self.bytes = postcard::to_extend(row, std::mem::take(&mut self.bytes))
            .map_err(|error| StoreError::unwritable("a row", error))?;
        self.count += 1;
        Ok(())
    }
}

/// Rows of all kinds on their way into an entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Kinds {
    pub(super) allocations: Encoded,
    pub(super) searches: Encoded,
    pub(super) leases: Encoded,
    pub(super) claims: Encoded,
}

/// Appends the entry of these rows to `bytes`, in the order of [`Entry`].
pub(super) fn encode(kinds: &Kinds, mut bytes: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let rows = [&kinds.allocations, &kinds.searches, &kinds.leases];
    let claims = Some(&kinds.claims).filter(|claims| claims.count > 0);
    bytes.push(claims.map_or(VERSION, |_| WITH_CLAIMS));
    for kind in rows.into_iter().chain(claims) {
        // A list is its length as a varint, then its items.
        bytes = postcard::to_extend(&kind.count, bytes)
            .map_err(|error| StoreError::unwritable("an entry", error))?;
        bytes.extend_from_slice(&kind.bytes);
    }
    Ok(bytes)
}

/// Reads an entry. Texts are borrowed from its bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Entry<'_>, StoreError> {
    let unreadable = |reason: String| StoreError::unreadable("an entry of the ledger", reason);
    let read = match bytes.split_first() {
        Some((&VERSION, rows)) => postcard::take_from_bytes(rows),
        Some((&WITH_CLAIMS, rows)) => with_claims(rows),
        Some((version, _)) => {
            return Err(unreadable(format!(
                "its layout is version {version}, this portbook knows up to {WITH_CLAIMS}: use the portbook that wrote it"
            )));
        }
        None => return Err(unreadable("it is empty".to_owned())),
    };
    match read {
        Ok((entry, [])) => Ok(entry),
        Ok((_, rest)) => Err(unreadable(format!("{} bytes follow its end", rest.len()))),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

fn with_claims(rows: &[u8]) -> postcard::Result<(Entry<'_>, &[u8])> {
    let (entry, rest) = postcard::take_from_bytes::<Entry<'_>>(rows)?;
    let (claims, rest) = postcard::take_from_bytes(rest)?;
    Ok((Entry { claims, ..entry }, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::claim::Does;

    type Text = Cow<'static, str>;

    fn text() -> impl Strategy<Value = Text> {
        "[a-z\\PC]{0,40}".prop_map(Cow::Owned)
    }

    fn maybe() -> impl Strategy<Value = Option<Text>> {
        proptest::option::of(text())
    }

    fn id() -> impl Strategy<Value = Uuid> {
        any::<u128>().prop_map(Uuid::from_u128)
    }

    fn number() -> impl Strategy<Value = Option<i64>> {
        any::<Option<i64>>()
    }

    prop_compose! {
        fn allocation()(
            id in id(), at_ms: i64, uid: u32, texts in [text(), text()], free_count: u32,
            explanation in prop::sample::select(vec![&b""[..], b"\x01\0\xff", b"{}"]),
            random_would_meet in proptest::option::of(0.0..1.0),
            maybes in [maybe(), maybe(), maybe(), maybe(), maybe()],
            attempt_count: u32, duration_us: i64,
        ) -> AllocationRow<'static> {
            let ([pool, shared], [refusal, detail, trace_id, span_id, retry_key]) = (texts, maybes);
            AllocationRow {
                id, at_ms, uid, pool, refusal, detail, attempt_count, duration_us, shared, explanation,
                random_would_meet, free_count, trace_id, span_id, retry_key,
            }
        }
    }

    prop_compose! {
        fn attempt()(
            at_ms: i64, texts in [text(), text(), text(), text()], port: u16, errno: Option<i32>,
            duration_ns: i64, maybes in [maybe(), maybe()],
        ) -> AttemptRow<'static> {
            let ([interface, address, protocol, outcome], [occupant, span_id]) = (texts, maybes);
            AttemptRow {
                at_ms, interface, address, protocol, port, outcome, errno, duration_ns, occupant, span_id,
            }
        }
    }

    prop_compose! {
        fn search()(
            allocation in id(), uid: u32, pool in text(), strategy in text(),
            attempts in prop::collection::vec(attempt(), 0..4),
        ) -> Search<'static> {
            Search { allocation, uid, pool, strategy, attempts }
        }
    }

    prop_compose! {
        fn lease()(
            ids in [id(), id()], port: u16, uid: u32, flags: (bool, bool), times: (i64, i64),
            numbers in [number(), number(), number(), number(), number(), number()],
            texts in [text(), text(), text(), text(), text(), text(), text(), text()],
            maybes in [maybe(), maybe(), maybe(), maybe(), maybe(), maybe()],
        ) -> LeaseRow<'static> {
            let [pool, protocol, addresses, handover, guard, state, boot_id, labels] = texts;
            let [name, scope_dir, owner, trace_id, span_id, moved] = maybes;
            let [ended_at_ms, claim_by_boot_ms, expires_boot_ms, ttl_ms, idle_since_ms, scope_device] =
                numbers;
            LeaseRow {
                id: ids[0], allocation: ids[1], name, scope_dir, pool, protocol, port, addresses, uid,
                handover, guard, state, granted_at_ms: times.0, ended_at_ms, boot_id, claim_by_boot_ms,
                expires_boot_ms, ttl_ms, owner, labels, trace_id, span_id, revision: times.1, moved,
                forgotten: flags.0, idle_since_ms, by_hand: flags.1, scope_device,
            }
        }
    }

    prop_compose! {
        fn claim()(
            does in prop::sample::select(vec![Does::Put, Does::Change, Does::Remove]), port: u16,
            lease in id(), texts in [text(), text(), text(), text()], numbers: [i64; 3], is_doubtful: bool,
        ) -> ClaimRow<'static> {
            let ([protocol, nonce, session, stage], [revision, token, reclaim_s]) = (texts, numbers);
            ClaimRow {
                does, protocol, port, lease, nonce, session, stage, revision, token, reclaim_s, is_doubtful,
            }
        }
    }

    fn encoded<T: Serialize>(rows: &[T]) -> Encoded {
        let mut encoded = Encoded::default();
        for row in rows {
            encoded.add(row).unwrap();
        }
        encoded
    }

    fn bytes(entry: &Entry<'_>) -> Vec<u8> {
        let kinds = Kinds {
            allocations: encoded(&entry.allocations),
            searches: encoded(&entry.searches),
            leases: encoded(&entry.leases),
            claims: encoded(&entry.claims),
        };
        encode(&kinds, Vec::new()).unwrap()
    }

    proptest! {
        #[test]
        fn decoded_entry_equals_the_encoded_one_and_a_cut_one_is_refused(
            allocations in prop::collection::vec(allocation(), 0..3),
            searches in prop::collection::vec(search(), 0..3),
            leases in prop::collection::vec(lease(), 0..3),
            claims in prop::collection::vec(claim(), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let entry = Entry { allocations, searches, leases, claims };
            let bytes = bytes(&entry);
            prop_assert_eq!(&decode(&bytes).unwrap(), &entry);
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn entry_without_claims_is_one_that_the_portbook_of_before_reads() {
        assert_eq!(bytes(&Entry::default()), [VERSION, 0, 0, 0]);
    }

    #[test]
    fn entry_of_another_version_is_refused_with_the_way_out() {
        let mut bytes = bytes(&Entry::default());
        bytes[0] = 9;
        let error = decode(&bytes).unwrap_err().to_string();
        assert!(
            error.contains("version 9") && error.contains("use the portbook"),
            "{error}"
        );
        bytes[0] = VERSION;
        bytes.push(0);
        let error = decode(&bytes).unwrap_err().to_string();
        assert!(error.contains("1 bytes follow its end"), "{error}");
    }
}
