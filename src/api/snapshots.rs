//! `/api/v1/snapshots`: looking right now who is on which port.

use actix_web::HttpResponse;
use actix_web::web::Data;
use jiff::Timestamp;
use serde::Serialize;

use super::Face;
use super::problem::Problem;
use crate::access::Viewer;

#[derive(Serialize)]
struct Document {
    seq: i64,
    at: Timestamp,
    sightings: usize,
}

/// Takes an occupancy snapshot.
pub async fn create(face: Data<Face>, _viewer: Viewer) -> Result<HttpResponse, Problem> {
    let look = face.service.take_snapshot().await?;
    Ok(HttpResponse::Created().json(Document {
        seq: look.seq,
        at: look.at,
        sightings: look.sightings,
    }))
}
