//! Explanations as they are stored: what most allocations of a pool share, as JSON in `word`, and the
//! rest as bytes in `allocation.explanation`. For people, `portbook --json explain ID` prints both as
//! one JSON object.
//!
//! The first byte is the version. `{` is the JSON text of schema 16, whole. In
//! version 1 these follow, with numbers as in [`bytes`]:
//!
//! 1. excluded ports: a list of reason, number of ports, and listed ports;
//! 2. choices: a list of lists of candidates. A candidate is its port (two bytes, low one first); its
//!    cost in millionths beyond the sum of its terms; the number of protocols, doubled, plus one if
//!    there are penalties; for each protocol what `weighed` describes; penalties, a list of reason
//!    and cost;
//! 3. the chance that a random port would have been refused, if it is known;
//! 4. tried ports, granted ports, and the steps of the precedence;
//! 5. skipped ports: a list of ports as text, reason, cause, and time (seconds and nanoseconds);
//! 6. notes.
//!
//! Reasons and steps are the numbers of their variants, which never change.

mod bytes;
#[cfg(test)]
mod tests;
mod weighed;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use self::bytes::{Decoder, Encoder, from_millionths, millionths};
use self::weighed::Before;
use crate::domain::candidate::{Candidate, Penalty, PenaltyReason, Weighed};
use crate::domain::explanation::{Excluded, Explanation};
use crate::domain::port::PortSet;
use crate::domain::precedence::{Skipped, Step};
use crate::domain::reason::Reason;

/// First byte of this layout.
const VERSION: u8 = 1;

/// First byte of an explanation that is stored as JSON.
const JSON: u8 = b'{';

/// Stored explanation that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A newer portbook wrote it.
    #[error("an explanation of layout {0} needs a newer portbook: this one reads layout {VERSION}")]
    Version(u8),
    /// It ends too early, or goes on where it should end.
    #[error("an explanation does not have the length that it tells")]
    Cut,
    /// A number stands for nothing.
    #[error("{0} {1} is not known in an explanation")]
    Unknown(&'static str, u64),
    /// A text is damaged.
    #[error("a text in an explanation is not UTF-8")]
    NotText(#[from] std::str::Utf8Error),
    /// The shared part, or an explanation of an old version, is damaged.
    #[error("an explanation is not the JSON that it should be")]
    NotJson(#[from] serde_json::Error),
    /// Ports are damaged.
    #[error("an explanation has a damaged set of ports")]
    NotPorts(#[from] crate::domain::port::PortError),
    /// A time is out of range.
    #[error("a time in an explanation is out of range")]
    NotATime(#[from] jiff::Error),
}

/// The part that many allocations share.
#[derive(Debug, Default, Deserialize)]
struct Shared {
    strategy: String,
    interfaces: Vec<String>,
    addresses: Vec<String>,
    ranges: String,
    ports: u32,
}

/// An explanation as columns.
#[derive(Debug, PartialEq)]
pub(super) struct Packed {
    pub(super) shared: String,
    pub(super) own: Vec<u8>,
}

/// Packs an explanation. Numbers are rounded as in JSON.
pub(super) fn pack(explanation: &Explanation) -> Packed {
    let shared = json!({
        "strategy": explanation.strategy,
        "interfaces": explanation.interfaces,
        "addresses": explanation.addresses,
        "ranges": explanation.ranges,
        "ports": explanation.ports,
    });
    let mut bytes = Encoder(Vec::with_capacity(256));
    bytes.0.push(VERSION);
    bytes.list(&explanation.excluded, |bytes, excluded| {
        bytes.number(excluded.reason as u64);
        bytes.number(excluded.ports.into());
        bytes.ports(&excluded.which);
    });
    let mut before = Before::default();
    bytes.list(&explanation.choices, |bytes, choice| {
        bytes.list(choice, |bytes, candidate| {
            encode(bytes, &mut before, candidate);
        });
    });
    bytes.maybe(explanation.random_would_meet, Encoder::exact);
    bytes.ports(&explanation.tried);
    bytes.ports(&explanation.granted);
    bytes.list(&explanation.steps, |bytes, step| bytes.number(*step as u64));
    bytes.list(&explanation.skipped, encode_skipped);
    bytes.list(&explanation.notes, |bytes, note| bytes.text(note));
    Packed {
        shared: shared.to_string(),
        own: bytes.0,
    }
}

/// Reads an explanation from its columns. `shared` is missing beside an explanation that is JSON.
fn unpack(shared: Option<&str>, own: &[u8]) -> Result<Explanation, Unreadable> {
    match own.split_first() {
        None => Err(Unreadable::Cut),
        Some((&JSON, _)) => Ok(serde_json::from_slice(own)?),
        Some((&VERSION, own)) => {
            let shared: Option<Shared> = shared.map(serde_json::from_str).transpose()?;
            decode(shared.unwrap_or_default(), &mut Decoder(own))
        }
        Some((version, _)) => Err(Unreadable::Version(*version)),
    }
}

fn decode(shared: Shared, bytes: &mut Decoder<'_>) -> Result<Explanation, Unreadable> {
    let mut before = Before::default();
    let explanation = Explanation {
        strategy: shared.strategy,
        interfaces: shared.interfaces,
        addresses: shared.addresses,
        ranges: shared.ranges,
        ports: shared.ports,
        excluded: bytes.list(decode_excluded)?,
        choices: bytes.list(|bytes| bytes.list(|bytes| decode_candidate(bytes, &mut before)))?,
        random_would_meet: bytes.maybe(Decoder::exact)?,
        tried: bytes.ports()?,
        granted: bytes.ports()?,
        steps: bytes.list(|bytes| known("step", bytes.number()?, Step::from_repr))?,
        skipped: bytes.list(decode_skipped)?,
        notes: bytes.list(Decoder::text)?,
    };
    if bytes.0.is_empty() {
        Ok(explanation)
    } else {
        Err(Unreadable::Cut)
    }
}

/// The variant that a number stands for.
fn known<T>(
    kind: &'static str,
    number: u64,
    variant: fn(usize) -> Option<T>,
) -> Result<T, Unreadable> {
    let found = usize::try_from(number).ok().and_then(variant);
    found.ok_or(Unreadable::Unknown(kind, number))
}

fn decode_excluded(bytes: &mut Decoder<'_>) -> Result<Excluded, Unreadable> {
    Ok(Excluded {
        reason: known("reason", bytes.number()?, Reason::from_repr)?,
        ports: u32::try_from(bytes.number()?).map_err(|_| Unreadable::Cut)?,
        which: bytes.ports()?,
    })
}

fn encode(bytes: &mut Encoder, before: &mut Before, candidate: &Candidate) {
    let Candidate {
        port,
        cost,
        weighed,
        penalties,
    } = candidate;
    bytes.port(*port);
    bytes.signed(millionths(*cost).wrapping_sub(sum(weighed, penalties)));
    bytes.number((weighed.len() as u64) << 1 | u64::from(!penalties.is_empty()));
    for weighed in weighed {
        before.encode(bytes, weighed);
    }
    if !penalties.is_empty() {
        bytes.list(penalties, |bytes, penalty| {
            bytes.number(penalty.reason as u64);
            bytes.exact(penalty.cost);
        });
    }
}

fn decode_candidate(bytes: &mut Decoder<'_>, before: &mut Before) -> Result<Candidate, Unreadable> {
    let (port, beyond) = (bytes.port()?, bytes.signed()?);
    let protocols = bytes.number()?;
    let weighed: Result<Vec<Weighed>, _> =
        (0..protocols >> 1).map(|_| before.decode(bytes)).collect();
    let weighed = weighed?;
    let penalties = match protocols & 1 {
        0 => Vec::new(),
        _ => bytes.list(|bytes| {
            Ok(Penalty {
                reason: known("penalty", bytes.number()?, PenaltyReason::from_repr)?,
                cost: bytes.exact()?,
            })
        })?,
    };
    Ok(Candidate {
        port,
        cost: from_millionths(beyond.wrapping_add(sum(&weighed, &penalties))),
        weighed,
        penalties,
    })
}

/// Sum of a candidate's terms in millionths.
fn sum(weighed: &[Weighed], penalties: &[Penalty]) -> i64 {
    let terms = weighed.iter().flat_map(|weighed| {
        let cost = &weighed.cost;
        [cost.p_busy, cost.seen, cost.late, cost.released]
    });
    let terms = terms.chain(penalties.iter().map(|penalty| penalty.cost));
    terms.map(millionths).fold(0, i64::wrapping_add)
}

fn encode_skipped(bytes: &mut Encoder, skipped: &Skipped) {
    bytes.text(&skipped.ports.to_string());
    bytes.number(skipped.reason as u64);
    bytes.maybe(skipped.by.as_deref(), Encoder::text);
    bytes.maybe(skipped.since, |bytes, since| {
        bytes.signed(since.as_second());
        bytes.signed(since.subsec_nanosecond().into());
    });
}

fn decode_skipped(bytes: &mut Decoder<'_>) -> Result<Skipped, Unreadable> {
    let ports: PortSet = bytes.text()?.parse()?;
    let reason = known("reason", bytes.number()?, Reason::from_repr)?;
    Ok(Skipped {
        ports,
        reason,
        by: bytes.maybe(Decoder::text)?,
        since: bytes.maybe(|bytes| {
            let second = bytes.signed()?;
            let nanosecond = i32::try_from(bytes.signed()?).map_err(|_| Unreadable::Cut)?;
            Ok(Timestamp::new(second, nanosecond)?)
        })?,
        whose: None,
    })
}

impl FromRow<'_, SqliteRow> for Explanation {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let shared: Option<&str> = row.try_get("shared")?;
        let own: &[u8] = row.try_get("explanation")?;
        unpack(shared, own).map_err(|error| sqlx::Error::Decode(error.into()))
    }
}
