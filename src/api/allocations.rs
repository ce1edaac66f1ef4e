//! `/api/v1/allocations/{id}`: one request answered, with its reasons.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::AppState;
use super::attempts::veil;
use super::document::AllocationRecordDocument;
use super::problem::{Code, Problem};
use crate::access::Viewer;
use crate::domain::lease::AllocationId;
use crate::domain::story;
use crate::engine::service::Service;
use crate::store::{AttemptFilter, StoreError};

/// More than one request can make.
const ALL: u32 = 1_000_000;

/// One allocation and its attempts.
pub async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let missing = || Problem::new(Code::NotFound, "there is no such allocation");
    let id: AllocationId = path.parse().map_err(|_| missing())?;
    let found = about(&face.service, &viewer, id).await?;
    Ok(HttpResponse::Ok().json(found.ok_or_else(missing)?))
}

/// Everything on record of one allocation; none if there is none that this viewer may see.
pub async fn about(
    service: &Service,
    viewer: &Viewer,
    id: AllocationId,
) -> Result<Option<AllocationRecordDocument>, StoreError> {
    let record = service.store().allocation(id).await?;
    let Some(mut record) = record.filter(|record| viewer.sees(record.uid)) else {
        return Ok(None);
    };
    if !viewer.sees_everybody() {
        record.explanation.veil();
    }
    let filter = AttemptFilter {
        allocation: Some(id),
        limit: ALL,
        ..AttemptFilter::default()
    };
    let mut attempts = service.store().attempts(&filter).await?;
    for occupant in attempts
        .iter_mut()
        .filter_map(|tried| tried.occupant.as_mut())
    {
        veil(occupant, viewer);
    }
    // Newest first: the story is told in the order made.
    attempts.reverse();
    record.story = story::of(&record.explanation);
    record.attempts = attempts;
    Ok(Some(record))
}
