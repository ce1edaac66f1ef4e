//! `/api/v1/attempts`: single tries to bind, newest first.

use std::ops::RangeInclusive;

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::AppState;
use super::export::kind::Format;
use super::paging;
use super::problem::{Code, Problem};
use crate::access::Viewer;
pub use crate::answers::veil::{shown, veil, veil_words};
use crate::domain::attempt::Outcome;
use crate::domain::lease::{AllocationId, Name};
use crate::domain::moment::Moment;
use crate::domain::port::{Port, Protocol};
use crate::store::{AttemptFilter, AttemptRecord};

/// Query of attempts: `GET /api/v1/attempts?…`, and of an export.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "AttemptQuery")]
pub struct AttemptQuery {
    /// Of this allocation.
    pub allocation: Option<AllocationId>,
    /// On this port, or on a range such as `8000-8999`.
    #[serde(deserialize_with = "ports")]
    #[schemars(schema_with = "port_schema")]
    pub port: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: Option<Protocol>,
    /// Of this pool.
    pub pool: Option<String>,
    /// On this interface.
    pub interface: Option<String>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// With this error number of the kernel.
    pub errno: Option<i32>,
    /// Made for a lease of this name.
    pub name: Option<Name>,
    /// Made for this user.
    pub uid: Option<u32>,
    /// Of allocations with this order of candidates: `learned`, `ordered`, `random` or `explicit`.
    pub strategy: Option<String>,
    /// Made at this time or later.
    pub since: Option<Moment>,
    /// Made before this time.
    pub until: Option<Moment>,
    /// Maximum number of rows: in a list from 1 to 1000, and 100 if left out; in an export any number, and
    /// all if left out.
    #[schemars(range(min = 1))]
    pub limit: Option<u32>,
    /// Only those with a lower `seq`.
    pub before: Option<i64>,
    /// Only rows after this one, in an export of anything but attempts; the header `Link` of the rows
    /// before it has it.
    pub after: Option<String>,
    /// Format of an export.
    pub format: Option<Format>,
}

/// One port or two, from 1 to 65535. A pattern cannot say that the second is not below the first: the
/// service checks it.
fn port_schema(_: &mut SchemaGenerator) -> Schema {
    let port = " *0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]) *";
    json_schema!({"type": "string", "pattern": format!("^{port}(-{port})?$")})
}

fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    if let Some(text) = &text {
        port_range(text).map_err(serde::de::Error::custom)?;
    }
    Ok(text)
}

/// Reads `8888` or `8000-8999`.
pub fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |word: &str| word.trim().parse::<Port>().ok().map(Port::get);
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(format!(
            "port: \"{text}\" is neither a port nor a range such as 8000-8999"
        )),
    }
}

impl AttemptQuery {
    /// Returns the user whose attempts are wanted. Only root sees those of other users.
    pub(super) fn user(&self, viewer: &Viewer) -> Result<Option<u32>, Problem> {
        match (self.uid, viewer.only_user()) {
            (Some(uid), Some(only)) if uid != only => {
                let detail = format!("what belongs to uid {uid} is not yours to see");
                Err(Problem::new(Code::Forbidden, detail))
            }
            (uid, only) => Ok(only.or(uid)),
        }
    }

    /// Returns the filter for the record, as this viewer may use it.
    pub fn filter(&self, viewer: &Viewer, now: Timestamp) -> Result<AttemptFilter, Problem> {
        self.filter_of(self.user(viewer)?, now)
    }

    /// Returns the filter for what belongs to a user, or to all users.
    pub(super) fn filter_of(
        &self,
        uid: Option<u32>,
        now: Timestamp,
    ) -> Result<AttemptFilter, Problem> {
        let ports = self.port.as_deref().map(port_range).transpose();
        let ports = ports.map_err(|wrong| Problem::new(Code::InvalidRequest, wrong))?;
        Ok(AttemptFilter {
            allocation: self.allocation,
            ports,
            protocol: self.protocol,
            pool: self.pool.clone(),
            interface: self.interface.clone(),
            uid,
            outcome: self.outcome,
            errno: self.errno,
            name: self.name.clone(),
            strategy: self.strategy.clone(),
            since: self.since.map(|moment| moment.from(now)),
            until: self.until.map(|moment| moment.from(now)),
            before: self.before,
            first: None,
            limit: self.limit.unwrap_or(paging::DEFAULT_LIMIT),
        })
    }
}

/// A page of attempts.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AttemptList")]
pub(super) struct List {
    /// Newest first.
    attempts: Vec<AttemptRecord>,
    /// Address of the next page; `null` on the last one.
    next: Option<String>,
}

/// Lists attempts.
pub async fn list(
    face: Data<AppState>,
    viewer: Viewer,
    request: HttpRequest,
    wanted: Query<AttemptQuery>,
) -> Result<HttpResponse, Problem> {
    if wanted.format.is_some() || wanted.after.is_some() {
        let detail = "format and after are for exports: a list is JSON, and goes on before a `seq`";
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let limit = paging::limit(wanted.limit)?;
    let mut filter = wanted.filter(&viewer, face.service.clock().now())?;
    let fixed = filter.clone();
    filter.limit = limit + 1;
    let reader = face.service.store().reader();
    let attempts = reader.attempts(&reader.bounded(filter).await?).await?;
    let (attempts, more) = paging::page(attempts, limit);
    let before = attempts.last().and_then(|last| last.seq).filter(|_| more);
    let next = before.map(|seq| paging::address(&request, &attempts_before(&fixed, seq)));
    let attempts = attempts.into_iter();
    let list = List {
        attempts: attempts.map(|attempt| shown(attempt, &viewer)).collect(),
        next,
    };
    Ok(paging::answer(&list, list.next.as_deref()))
}

/// Parameters of a query, by name.
pub type Parameters = Vec<(&'static str, String)>;

/// Returns the parameters that ask for the attempts before `seq`. A time relative to now (`since=1h`)
/// is fixed: it would move on and leave out the last rows.
pub(super) fn attempts_before(filter: &AttemptFilter, seq: i64) -> Parameters {
    let mut parameters = fixed_times(filter.since, filter.until);
    parameters.push(("before", seq.to_string()));
    parameters
}

/// Returns the parameters for these times.
pub(super) fn fixed_times(since: Option<Timestamp>, until: Option<Timestamp>) -> Parameters {
    let times = [("since", since), ("until", until)].into_iter();
    let times = times.filter_map(|(name, time)| Some((name, time?.to_string())));
    times.collect()
}
