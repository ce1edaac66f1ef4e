//! A server span for each request, in the caller's trace where it brings one.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;
use tracing::Instrument;

use crate::telemetry::{propagation, span};

/// The middleware.
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
    }
    answer
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
