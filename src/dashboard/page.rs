//! Responses: a rendered page, or the way to another one.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, Responder};
use askama::Template;

/// A page as a response with status 200.
#[derive(Debug)]
pub(super) struct Page<T>(pub(super) T);

impl<T: Template> Page<T> {
    /// Renders the page, for handlers that set headers on the response.
    pub(super) fn answer(&self) -> HttpResponse {
        html(StatusCode::OK, &self.0)
    }
}

impl<T: Template> Responder for Page<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.answer()
    }
}

/// Renders a page with a status of its own. A template that fails is a fault of portbook, status 500.
pub(super) fn html(status: StatusCode, page: &impl Template) -> HttpResponse {
    match page.render() {
        Ok(text) => HttpResponse::build(status)
            .content_type("text/html; charset=utf-8")
            .body(text),
        Err(error) => {
            tracing::error!(%error, "could not render a page; the browser gets status 500");
            HttpResponse::InternalServerError()
                .body("could not render the page; the log has the reason\n")
        }
    }
}

/// Sends the browser to another page after a change (RFC 9110, 15.4.4), so that reloading the page
/// does not repeat the change.
pub(super) fn see(path: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, path))
        .finish()
}
