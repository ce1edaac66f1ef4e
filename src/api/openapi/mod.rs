//! `/api/v1/openapi.json`: the API described for programs (OpenAPI 3.1), made from the very structs
//! that requests are read into and answers are written from.
//!
//! To add an operation: register its route in [`super::routes`], and describe it in `paths`, in the
//! file of its tag. A test holds the two to each other. A struct that it takes or gives needs
//! `#[derive(JsonSchema)]`; its doc comments become the descriptions. A path parameter of a new name
//! needs a row in `parameter`. Examples are files in `example`, which another test checks against
//! the schemas.

mod assemble;
mod bounds;
mod operation;
mod parameter;
mod paths;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::Value;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| assemble::document(&paths::operations()));

/// The whole description; made once.
pub fn document() -> &'static Value {
    &DOCUMENT
}

/// The operations by their ids, in the order in which a person reads of them.
pub fn order() -> Vec<&'static str> {
    paths::operations().iter().map(|one| one.id).collect()
}

/// Shows it.
pub async fn show() -> HttpResponse {
    HttpResponse::Ok().json(document())
}

#[cfg(test)]
mod tests;
