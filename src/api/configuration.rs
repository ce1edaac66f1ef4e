//! `/api/v1/config`: every setting in force, with where it came from.

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::Face;
use crate::config;

/// Shows the settings.
pub async fn show(face: Data<Face>) -> HttpResponse {
    HttpResponse::Ok().json(config::show_json(&face.loaded()))
}
