//! The HTTP response of a document.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use crate::answers::operation::Output;

/// Returns the response with the status, the header and the body that the output states.
pub(super) fn respond(output: &impl Output) -> HttpResponse {
    let status = StatusCode::from_u16(output.status()).unwrap_or_default();
    let mut response = HttpResponse::build(status);
    if let Some(header) = output.header() {
        response.insert_header(header);
    }
    if status == StatusCode::NO_CONTENT {
        response.finish()
    } else {
        response.json(output)
    }
}
