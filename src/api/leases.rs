//! `/api/v1/leases`: asking for ports, and what became of them.

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::document::{AllocationDocument, AttemptDocument, LeaseDocument, LeaseRequest};
use super::paging::{self, MAX_LIMIT};
use super::problem::{Code, Problem};
use super::{AppState, body};
use crate::access::Viewer;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{LeaseId, Name, State};
use crate::domain::retry::{RetryKey, RetryKeyError};
use crate::domain::words::words_of;
use crate::engine::Allocated;
use crate::engine::service::Service;
use crate::host::clock::Clock;
use crate::store::LeaseFilter;

/// The header of a client's own word for one request (draft-ietf-httpapi-idempotency-key-header).
pub(super) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Stands for every state that ends a lease.
const ENDED: &str = "ended";

/// `GET /api/v1/leases?…`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LeaseQuery")]
pub struct LeaseQuery {
    /// Of this name.
    pub name: Option<String>,
    /// Of this pool.
    pub pool: Option<String>,
    /// In this state; `ended` stands for all that end a lease.
    #[schemars(schema_with = "states")]
    pub state: Option<String>,
    /// With this label, or with this value of it: `team` or `team=shop`.
    pub label: Option<String>,
    /// Maximum number of leases in the answer, from 1 to 1000; 100 if left out.
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    pub limit: Option<u32>,
    /// Only those granted before this one.
    pub before: Option<LeaseId>,
}

fn states(_: &mut SchemaGenerator) -> Schema {
    let words = words_of::<State>().chain([ENDED]);
    json_schema!({"type": "string", "enum": words.collect::<Vec<_>>()})
}

/// A page of leases.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LeaseList {
    /// Newest first.
    pub(crate) leases: Vec<LeaseDocument>,
    /// Address of the next page; `null` on the last one.
    pub(crate) next: Option<String>,
}

impl LeaseQuery {
    /// Whether a living lease, as its viewer sees it, is asked for.
    fn matches(&self, lease: &LeaseDocument) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        same(&self.name, lease.name.as_ref().map(Name::as_str))
            && same(&self.pool, Some(&lease.pool))
            && same(&self.state, Some(lease.state.as_str()))
            && self
                .label
                .as_deref()
                .is_none_or(|label| labelled(lease, label))
            && self.before.is_none_or(|before| lease.id < before)
    }

    fn asks_for(&self) -> Result<Asked, Problem> {
        let Some(word) = self.state.as_deref() else {
            return Ok(Asked::Living);
        };
        if word == ENDED {
            return Ok(Asked::Ended(None));
        }
        let state = word
            .parse::<State>()
            .map_err(|error| Problem::new(Code::InvalidRequest, format!("state: {error}")))?;
        Ok(if state.is_ended() {
            Asked::Ended(Some(state))
        } else {
            Asked::Living
        })
    }
}

/// Where the leases of a query are.
enum Asked {
    /// In the books.
    Living,
    /// In the record, in one end state or in any.
    Ended(Option<State>),
}

/// Whether a lease has a label: `team`, or `team=shop` for this value of it.
pub fn labelled(lease: &LeaseDocument, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => lease.labels.get(key).is_some_and(|is| is == value),
        None => lease.labels.contains_key(wanted),
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
    face: Data<AppState>,
    viewer: Viewer,
    request: HttpRequest,
    wanted: Query<LeaseQuery>,
) -> Result<HttpResponse, Problem> {
    let (leases, more) = page(&face.service, &viewer, &wanted).await?;
    let before = leases.last().filter(|_| more);
    let next = before.map(|lease| paging::address(&request, &[("before", lease.id.to_string())]));
    let list = LeaseList { leases, next };
    Ok(paging::answer(&list, list.next.as_deref()))
}

/// The leases that are asked for as this viewer may see them, and whether there are more. Ids grow
/// with time, so what is granted between two pages belongs to neither of them.
pub(crate) async fn page(
    service: &Service,
    viewer: &Viewer,
    wanted: &LeaseQuery,
) -> Result<(Vec<LeaseDocument>, bool), Problem> {
    let limit = paging::limit(wanted.limit)?;
    let clock = service.clock();
    let Asked::Ended(state) = wanted.asks_for()? else {
        let living = service.leases();
        let found = living.iter().rev();
        let found = found.map(|lease| shown(LeaseDocument::of(lease, clock), viewer));
        let found = found.filter(|lease| wanted.matches(lease));
        let found = found.take(limit as usize + 1).collect();
        return Ok(paging::page(found, limit));
    };
    let filter = LeaseFilter {
        viewer: viewer.only_user(),
        name: wanted.name.clone(),
        label: wanted.label.clone(),
        pool: wanted.pool.clone(),
        state,
        before: wanted.before,
        limit: limit + 1,
    };
    let found = service.store().ended_leases(&filter).await?;
    let found = found.iter();
    let found = found.map(|stored| shown(LeaseDocument::of(&stored.lease, clock), viewer));
    Ok(paging::page(found.collect(), limit))
}

/// Grants ports: 201 with what was granted, 200 where every name lived already, the key was known, or
/// nothing was to be granted.
pub async fn create(
    face: Data<AppState>,
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
        moved: granted.moves.first().cloned(),
        skipped: granted.explanation.skipped.clone(),
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
    face: Data<AppState>,
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

/// `DELETE /api/v1/leases/{id}?…`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReleaseQuery {
    /// Whether its name goes on knowing its port; it forgets it otherwise.
    remember: bool,
}

/// Gives a lease back.
pub async fn release(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<String>,
    query: Query<ReleaseQuery>,
) -> Result<HttpResponse, Problem> {
    let (caller, id) = (viewer.caller()?, id(&path)?);
    if query.remember {
        face.service.take_back(caller, id).await?;
    } else {
        face.service.release(caller, id).await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// What a renewal may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Renewal {
    /// From now on; as long as it was granted for if left out.
    ttl: Option<HumanDuration>,
}

/// Makes a lease last longer.
pub async fn renew(
    face: Data<AppState>,
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
