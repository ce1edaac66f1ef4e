//! `/api/v1/snapshots`: looking right now who is on which port.

use actix_web::HttpResponse;
use actix_web::web::Data;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::AppState;
use super::problem::Problem;
use crate::access::Viewer;

/// A look at the sockets of others.
#[derive(Serialize, JsonSchema)]
pub(super) struct SnapshotDocument {
    /// Counts up from one look to the next.
    seq: i64,
    /// When.
    at: Timestamp,
    /// How many sockets were seen.
    sightings: usize,
}

/// Takes an occupancy snapshot.
pub async fn create(face: Data<AppState>, _viewer: Viewer) -> Result<HttpResponse, Problem> {
    let look = face.service.take_snapshot().await?;
    Ok(HttpResponse::Created().json(SnapshotDocument {
        seq: look.seq,
        at: look.at,
        sightings: look.sightings,
    }))
}
