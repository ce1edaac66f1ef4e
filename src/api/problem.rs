//! A problem as an HTTP response: `application/problem+json` (RFC 9457).

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Responder, ResponseError};

pub use crate::answers::problem::{Code, Problem};

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut answer = HttpResponse::build(self.status_code());
        answer.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        let code = Code::parse(&self.code);
        if let Some(seconds) = code.and_then(Code::retry_after) {
            answer.insert_header((header::RETRY_AFTER, seconds));
        }
        if code == Some(Code::Unauthorized) {
            let challenge = HeaderValue::from_static("Bearer realm=\"portbook\"");
            answer.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        let mut answer = answer.body(serde_json::to_vec(self).unwrap_or_default());
        if let Some(code) = code {
            // For the middleware that counts errors.
            answer.extensions_mut().insert(code);
        }
        // For the console, which shows the problem as a page.
        answer.extensions_mut().insert(self.clone());
        answer
    }
}

impl Responder for Problem {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse<BoxBody> {
        self.error_response()
    }
}
