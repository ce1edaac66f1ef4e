//! `/api/v1/allocations/{id}`: one request answered, with its reasons.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use super::Face;
use super::document::AllocationRecordDocument;
use super::problem::{Code, Problem};
use crate::access::Viewer;
use crate::domain::lease::AllocationId;
use crate::store::AttemptFilter;

/// More than one request can make.
const ALL: u32 = 1_000_000;

/// One allocation and its attempts.
pub async fn show(
    face: Data<Face>,
    viewer: Viewer,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let missing = || Problem::new(Code::NotFound, "there is no such allocation");
    let id: AllocationId = path.parse().map_err(|_| missing())?;
    let store = face.service.store();
    let record = store.allocation(id).await?.ok_or_else(missing)?;
    if !viewer.sees(record.uid) {
        return Err(missing());
    }
    let filter = AttemptFilter {
        allocation: Some(id),
        limit: ALL,
        ..AttemptFilter::default()
    };
    let attempts = store.attempts(&filter).await?;
    Ok(HttpResponse::Ok().json(AllocationRecordDocument::of(record, attempts)))
}
