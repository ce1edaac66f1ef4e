//! `/api/v1/config`: every setting in force, with where it came from.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::{Value, json};

use super::Face;
use super::document::VERSION;
use crate::config::Loaded;

/// Shows the settings.
pub async fn show(face: Data<Face>) -> HttpResponse {
    HttpResponse::Ok().json(document(&face.loaded()))
}

/// The settings as the API and `config show --json` tell them.
pub fn document(loaded: &Loaded) -> Value {
    json!({
        "version": VERSION,
        "settings": loaded.provenance.settings(),
        "warnings": loaded.warnings,
    })
}
