//! `/api/v1/config`: every setting in force, with where it came from.

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::Face;


/// Shows the settings.
pub async fn show(face: Data<Face>) -> HttpResponse {
    HttpResponse::Ok().json(crate::cli::config::show_json(&face.loaded()))
}
