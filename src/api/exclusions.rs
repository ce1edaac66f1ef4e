//! `/api/v1/ports/{tcp|udp}/{n}/exclusion` and `/api/v1/exclusions`: ports excluded by hand.

use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::paging::Whole;
use super::ports::parsed;
use super::problem::Problem;
use super::{Face, body};
use crate::access::Viewer;
use crate::domain::exclusion::{Exclusion, LONGEST_REASON};

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
pub async fn list(face: Data<Face>, _: Query<Whole>) -> HttpResponse {
    let exclusions = face.service.exclusions().iter().cloned().collect();
    HttpResponse::Ok().json(ExclusionList { exclusions })
}

/// Excludes a port: 201, or 200 where it was excluded before and has another reason now.
pub async fn put(
    face: Data<Face>,
    viewer: Viewer,
    path: Path<(String, String)>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (protocol, port) = parsed(&path)?;
    let wanted: ExclusionRequest = body::json(&request, payload).await?;
    let (caller, reason) = (viewer.caller()?, wanted.reason.as_deref());
    let excluded = face.service.exclude(caller, protocol, port, reason).await;
    let (exclusion, is_new) = excluded?;
    let mut answer = if is_new {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    Ok(answer.json(exclusion))
}

/// Includes it again.
pub async fn delete(
    face: Data<Face>,
    viewer: Viewer,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (protocol, port) = parsed(&path)?;
    let caller = viewer.caller()?;
    face.service.include(caller, protocol, port).await?;
    Ok(HttpResponse::NoContent().finish())
}
