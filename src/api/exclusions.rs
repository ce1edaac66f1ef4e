//! `/api/v1/ports/{tcp|udp}/{n}/exclusion` and `/api/v1/exclusions`: ports excluded by hand, one by
//! one or as a range.

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::paging::Whole;
use super::ports::parsed;
use super::problem::{Code, Problem};
use super::{AppState, body};
use crate::access::Viewer;
use crate::domain::exclusion::{Exclusion, LONGEST_REASON};
use crate::domain::port::{PortSet, Protocols, ports_in_text};
use crate::engine::exclusion::Excluded;
use crate::engine::service::Caller;

/// What an exclusion may say.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExclusionRequest {
    /// Why; at most 200 characters.
    #[schemars(length(max = LONGEST_REASON))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All that is excluded by hand.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExclusionList {
    /// TCP first, by port.
    pub exclusions: Vec<Exclusion>,
}

/// Lists them.
pub async fn list(face: Data<AppState>, _: Query<Whole>) -> HttpResponse {
    let exclusions = face.service.exclusions().iter().cloned().collect();
    HttpResponse::Ok().json(ExclusionList { exclusions })
}

/// One excluded port, with what follows for the lease on it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExclusionAnswer {
    /// The exclusion.
    #[serde(flatten)]
    pub exclusion: Exclusion,
    /// A sentence for each lease on the port: whose it is, and until when it keeps the port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// `PUT /api/v1/exclusions`
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeRequest {
    /// The ports: `5000-5010,6000`.
    pub ports: PortSet,
    /// For which protocol; TCP if left out.
    #[serde(default)]
    pub protocol: Protocols,
    /// Why; at most 200 characters.
    #[schemars(length(max = LONGEST_REASON))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `DELETE /api/v1/exclusions?…`
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeQuery {
    /// The ports: `5000-5010,6000`. Without them nothing is included.
    #[serde(default)]
    #[schemars(schema_with = "ports_in_text")]
    pub ports: PortSet,
    /// For which protocol; TCP if left out.
    #[serde(default)]
    pub protocol: Protocols,
}

/// Excluded ports, with what follows for the leases on them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RangeAnswer {
    /// The ports.
    pub ports: PortSet,
    /// For which protocol.
    pub protocol: Protocols,
    /// Number of exclusions that are new, one a protocol and port.
    pub added: usize,
    /// A sentence for each lease on one of the ports: whose it is, and until when it keeps the port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl RangeAnswer {
    /// The answer to a request for these ports.
    pub fn of(ports: PortSet, protocol: Protocols, excluded: &Excluded, caller: &Caller) -> Self {
        Self {
            ports,
            protocol,
            added: excluded.added,
            notes: excluded.told(caller),
        }
    }
}

/// Excludes a port: 201, or 200 where it was excluded before and has another reason now.
pub async fn put(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<(String, String)>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (protocol, port) = parsed(&path)?;
    let wanted: ExclusionRequest = body::json(&request, payload).await?;
    let (caller, reason) = (viewer.caller()?, wanted.reason.as_deref());
    let ports = PortSet::single(port);
    let excluded = face
        .service
        .exclude(caller, protocol.into(), &ports, reason);
    let excluded = excluded.await?;
    let mut answer = if excluded.added > 0 {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    let notes = excluded.told(caller);
    let exclusion = excluded.exclusions.into_iter().next();
    Ok(answer.json(exclusion.map(|exclusion| ExclusionAnswer { exclusion, notes })))
}

/// Excludes ports, all or none.
pub async fn put_range(
    face: Data<AppState>,
    viewer: Viewer,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let wanted: RangeRequest = body::json(&request, payload).await?;
    let RangeRequest {
        ports,
        protocol,
        reason,
    } = wanted;
    check_range(&ports)?;
    let caller = viewer.caller()?;
    let excluded = face
        .service
        .exclude(caller, protocol, &ports, reason.as_deref());
    let excluded = excluded.await?;
    let answer = RangeAnswer::of(ports, protocol, &excluded, caller);
    Ok(HttpResponse::Ok().json(answer))
}

/// Includes ports again; refused if none of them is excluded by hand.
pub async fn delete_range(
    face: Data<AppState>,
    viewer: Viewer,
    query: Query<RangeQuery>,
) -> Result<HttpResponse, Problem> {
    let RangeQuery { ports, protocol } = query.into_inner();
    let caller = viewer.caller()?;
    face.service.include(caller, protocol, &ports).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn check_range(ports: &PortSet) -> Result<(), Problem> {
    if ports.is_empty() {
        let detail = "ports: name one port at least, such as 5000-5010";
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    Ok(())
}

/// Includes it again.
pub async fn delete(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (protocol, port) = parsed(&path)?;
    let caller = viewer.caller()?;
    let ports = PortSet::single(port);
    face.service
        .include(caller, protocol.into(), &ports)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
