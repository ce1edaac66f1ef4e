//! `/api/v1/attempts`: every single try to bind, newest first.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::Face;
use super::document::AttemptDocument;
use super::leases::{DEFAULT_LIMIT, MAX_LIMIT};
use super::problem::{Code, Problem};
use crate::access::Viewer;
use crate::domain::attempt::{Occupant, Outcome};
use crate::domain::lease::AllocationId;
use crate::store::{AttemptFilter, AttemptRecord};

/// `GET /api/v1/attempts?…`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    allocation: Option<AllocationId>,
    port: Option<u16>,
    outcome: Option<String>,
    limit: Option<u32>,
    before: Option<i64>,
}

#[derive(Serialize)]
struct List {
    attempts: Vec<AttemptDocument>,
}

/// Lists attempts.
pub async fn list(
    face: Data<Face>,
    viewer: Viewer,
    wanted: Query<Wanted>,
) -> Result<HttpResponse, Problem> {
    let wanted = wanted.into_inner();
    let known = |word: &str| Outcome::ALL.iter().any(|outcome| outcome.as_str() == word);
    if let Some(word) = wanted.outcome.as_deref().filter(|word| !known(word)) {
        let all: Vec<&str> = Outcome::ALL
            .iter()
            .map(|outcome| outcome.as_str())
            .collect();
        let detail = format!("outcome: \"{word}\" is none of {}", all.join(", "));
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let filter = AttemptFilter {
        allocation: wanted.allocation,
        port: wanted.port,
        uid: viewer.only_user(),
        outcome: wanted.outcome,
        before: wanted.before,
        limit: wanted.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT),
    };
    let attempts = face.service.store().attempts(&filter).await?;
    let attempts = attempts
        .into_iter()
        .map(|attempt| shown(attempt, &viewer))
        .collect();
    Ok(HttpResponse::Ok().json(List { attempts }))
}

/// An attempt as this viewer may see it: of a process of another user that was in the way, that
/// there was one.
pub fn shown(attempt: AttemptRecord, viewer: &Viewer) -> AttemptDocument {
    let mut document = AttemptDocument::from(attempt);
    if let Some(occupant) = &mut document.occupant {
        veil(occupant, viewer);
    }
    document
}

/// Takes away what only the occupant's own user may know.
pub fn veil(occupant: &mut Occupant, viewer: &Viewer) {
    if occupant.uid.is_some_and(|uid| !viewer.sees(uid)) {
        occupant.pid = None;
        occupant.command = None;
    }
}
