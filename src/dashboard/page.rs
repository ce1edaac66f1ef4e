//! How pages are answered, and what a reader sees where one cannot be.

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, Responder, ResponseError};
use askama::Template;

use super::errors::ErrorPage;
use crate::api::problem::Problem;

/// A page to be answered.
#[derive(Debug)]
pub(super) struct Page<T>(pub(super) T);

impl<T: Template> Page<T> {
    /// The answer; a template that fails is a fault of portbook's and is said so.
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

fn html(status: StatusCode, page: &impl Template) -> HttpResponse {
    match page.render() {
        Ok(text) => HttpResponse::build(status)
            .content_type("text/html; charset=utf-8")
            .body(text),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            HttpResponse::InternalServerError()
                .body("the page cannot be rendered; the log says why\n")
        }
    }
}

/// Sends the browser to another page after something was done (RFC 9110, 15.4.4), so that loading
/// it again does not do it again.
pub(super) fn see(path: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, path))
        .finish()
}

/// A problem that a reader sees as a page.
#[derive(Debug)]
pub(super) struct PageError(Problem);

impl From<Problem> for PageError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = html(self.status_code(), &ErrorPage::of_problem(&self.0));
        // Once more on the way out, in the frame of who asked.
        answer.extensions_mut().insert(self.0.clone());
        answer
    }
}
