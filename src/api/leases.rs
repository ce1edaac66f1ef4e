//! `/api/v1/leases`: asking for ports, and what became of them.

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::document::{AllocationDocument, AttemptDocument, LeaseDocument, LeaseRequest};
use super::problem::{Code, Problem};
use super::{Face, body};
use crate::access::Viewer;
use crate::domain::duration::Span;
use crate::domain::lease::{LeaseId, State};
use crate::domain::retry::{RetryKey, RetryKeyError};
use crate::engine::Allocated;
use crate::host::clock::Clock;
use crate::store::LeaseFilter;

/// How many rows a list gives unless it is asked for fewer or more.
pub(super) const DEFAULT_LIMIT: u32 = 100;

/// The most rows that one answer carries.
pub(super) const MAX_LIMIT: u32 = 1000;

/// The header of a client's own word for one request (draft-ietf-httpapi-idempotency-key-header).
pub(super) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Stands for every state that ends a lease.
const ENDED: &str = "ended";

/// `GET /api/v1/leases?…`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LeaseQuery")]
pub struct Wanted {
    /// Of this name.
    name: Option<String>,
    /// Of this pool.
    pool: Option<String>,
    /// In this state; `ended` stands for all that end a lease.
    #[schemars(schema_with = "states")]
    state: Option<String>,
    /// With this label, or with this value of it: `team` or `team=shop`.
    label: Option<String>,
    /// At most so many; an answer never has more than 1000.
    limit: Option<u32>,
    /// Only those granted before this one.
    before: Option<LeaseId>,
}

fn states(_: &mut SchemaGenerator) -> Schema {
    let words = State::ALL.map(State::as_str).into_iter().chain([ENDED]);
    json_schema!({"type": "string", "enum": words.collect::<Vec<_>>()})
}

/// The leases of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LeaseList")]
pub(super) struct List {
    /// Newest first.
    leases: Vec<LeaseDocument>,
}

impl Wanted {
    fn matches(&self, lease: &LeaseDocument) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        let labelled = self
            .label
            .as_deref()
            .is_none_or(|wanted| match wanted.split_once('=') {
                Some((key, value)) => lease.labels.get(key).is_some_and(|is| is == value),
                None => lease.labels.contains_key(wanted),
            });
        same(
            &self.name,
            lease.name.as_ref().map(crate::domain::lease::Name::as_str),
        ) && same(&self.pool, Some(&lease.pool))
            && same(&self.state, Some(lease.state.as_str()))
            && labelled
            && self.before.is_none_or(|before| lease.id < before)
    }
}

/// A lease as this viewer may see it.
pub fn shown(lease: LeaseDocument, viewer: &Viewer) -> LeaseDocument {
    if viewer.sees(lease.uid) {
        lease
    } else {
        lease.seen_by_others()
    }
}

/// Lists living leases, or ended ones where an end state or `state=ended` is asked for; newest first.
pub async fn list(
    face: Data<Face>,
    viewer: Viewer,
    wanted: Query<Wanted>,
) -> Result<HttpResponse, Problem> {
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let clock = face.service.clock();
    let state = match wanted.state.as_deref() {
        None | Some(ENDED) => None,
        Some(word) => Some(
            word.parse::<State>()
                .map_err(|error| Problem::new(Code::InvalidRequest, format!("state: {error}")))?,
        ),
    };
    let ended = wanted.state.as_deref() == Some(ENDED) || state.is_some_and(State::is_ended);
    let leases: Vec<LeaseDocument> = if ended {
        let filter = LeaseFilter {
            name: wanted.name.clone(),
            pool: wanted.pool.clone(),
            state,
            before: wanted.before,
            limit,
        };
        let stored = face.service.store().ended_leases(&filter).await?;
        stored
            .iter()
            .map(|stored| LeaseDocument::of(&stored.lease, clock))
            .collect()
    } else {
        let living = face.service.leases();
        living
            .iter()
            .rev()
            .map(|lease| LeaseDocument::of(lease, clock))
            .collect()
    };
    let leases = leases
        .into_iter()
        .map(|lease| shown(lease, &viewer))
        .filter(|lease| wanted.state.as_deref() == Some(ENDED) || wanted.matches(lease))
        .take(limit as usize)
        .collect();
    Ok(HttpResponse::Ok().json(List { leases }))
}

/// Grants ports: 201 with what was granted, 200 where every name lived already, the key was known, or
/// nothing was to be granted.
pub async fn create(
    face: Data<Face>,
    viewer: Viewer,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let wanted: LeaseRequest = body::json(&request, payload).await?;
    let mut wanted = wanted
        .parse()
        .map_err(|wrong| Problem::new(Code::InvalidRequest, wrong))?;
    wanted.retry_key = retry_key(&request)?;
    let caller = viewer.caller()?;
    let granted = face.service.allocate(caller, &wanted).await?;
    let document = document(&granted, face.service.clock());
    if !document.created {
        return Ok(HttpResponse::Ok().json(document));
    }
    let mut answer = HttpResponse::Created();
    if let Some(first) = document.leases.first() {
        answer.insert_header((LOCATION, format!("/api/v1/leases/{}", first.id)));
    }
    Ok(answer.json(document))
}

fn retry_key(request: &HttpRequest) -> Result<Option<RetryKey>, Problem> {
    let Some(value) = request.headers().get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value.to_str().ok().map_or(Err(RetryKeyError), str::parse);
    let key = key.map_err(|wrong| Problem::new(Code::InvalidRequest, wrong.to_string()))?;
    Ok(Some(key))
}

/// An allocation as clients get it.
pub fn document(granted: &Allocated, clock: &Clock) -> AllocationDocument {
    let leases = granted.leases.iter().map(|lease| {
        if granted.created {
            LeaseDocument::as_recorded(lease, clock)
        } else {
            LeaseDocument::of(lease, clock)
        }
    });
    AllocationDocument {
        allocation: granted.id,
        created: granted.created,
        attempt_count: granted.attempt_count,
        trace_id: granted.trace.as_ref().map(|trace| trace.trace_id.clone()),
        span_id: granted.trace.as_ref().map(|trace| trace.span_id.clone()),
        leases: leases.collect(),
        explanation: granted.dry.then(|| granted.explanation.clone()),
        notes: granted.explanation.notes.clone(),
        conflicts: granted
            .conflicts
            .iter()
            .map(AttemptDocument::from)
            .collect(),
    }
}

fn id(text: &str) -> Result<LeaseId, Problem> {
    text.parse().map_err(|_| {
        let detail = format!("\"{text}\" is no lease id; `portbook list` shows them");
        Problem::new(Code::NotFound, detail)
    })
}

/// One lease, living or ended.
pub async fn show(
    face: Data<Face>,
    viewer: Viewer,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = id(&path)?;
    let clock = face.service.clock();
    let document = match face.service.lease(id) {
        Some(lease) => LeaseDocument::of(&lease, clock),
        None => match face.service.store().lease(id).await? {
            Some(stored) => LeaseDocument::of(&stored.lease, clock),
            None => return Err(Problem::new(Code::NotFound, "there is no such lease")),
        },
    };
    Ok(HttpResponse::Ok().json(shown(document, &viewer)))
}

/// Gives a lease back.
pub async fn release(
    face: Data<Face>,
    viewer: Viewer,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    face.service.release(viewer.caller()?, id(&path)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What a renewal may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Renewal {
    /// From now on; as long as it was granted for if left out.
    ttl: Option<Span>,
}

/// Makes a lease last longer.
pub async fn renew(
    face: Data<Face>,
    viewer: Viewer,
    path: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let renewal: Renewal = body::json(&request, payload).await?;
    let ttl = renewal.ttl.map(|span| span.0);
    let renewed = face
        .service
        .renew(viewer.caller()?, id(&path)?, ttl)
        .await?;
    Ok(HttpResponse::Ok().json(LeaseDocument::of(&renewed, face.service.clock())))
}
