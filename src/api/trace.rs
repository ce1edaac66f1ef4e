//! A server span for each request, in the client's trace if it sends one.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;
use actix_web::web::Data;
use tracing::Instrument;

use super::AppState;
use super::problem::Code;

use crate::telemetry::{propagation, span};

/// Middleware that opens the span and counts errors.
pub async fn request<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let span = span::request(request.method().as_str(), || request.match_pattern());
    if !span.is_disabled() {
        let header = |name: &str| text(request.headers(), name);
        let context = propagation::extract(header("traceparent"), header("tracestate"));
        propagation::set_parent(&span, context);
    }
    let answer = next.call(request).instrument(span.clone()).await;
    if let Ok(answer) = &answer {
        span::answered(&span, answer.status().as_u16());
        span.in_scope(|| count(answer));
    }
    answer
}

/// Counts errors. Refused requests for ports are logged by the engine; refused access is logged here.
fn count<B>(answer: &ServiceResponse<B>) {
    let extensions = answer.response().extensions();
    let face = answer.request().app_data::<Data<AppState>>();
    if let (Some(code), Some(face)) = (extensions.get::<Code>(), face) {
        face.service.note_rejection(code.as_str());
        if let Code::Unauthorized | Code::Forbidden | Code::MisdirectedHost = code {
            let request = answer.request();
            let route = request.match_pattern().unwrap_or_default();
            tracing::info!(code = code.as_str(), method = %request.method(), route, "access refused");
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
