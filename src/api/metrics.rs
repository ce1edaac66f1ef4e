//! `/metrics`: counters and gauges for Prometheus.

use actix_web::http::header::ACCEPT;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::AppState;
use crate::telemetry::metrics::{Exposition, OPEN_METRICS_TYPE, TEXT_TYPE};

/// All metrics as text: `OpenMetrics` if the client accepts it, else the format of Prometheus.
pub async fn show(face: Data<AppState>, request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get(ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or("");
    let (exposition, media_type) = if accept.contains("application/openmetrics-text") {
        (Exposition::OpenMetrics, OPEN_METRICS_TYPE)
    } else {
        (Exposition::Text, TEXT_TYPE)
    };
    let text = face.service.metrics(exposition).await;
    HttpResponse::Ok().content_type(media_type).body(text)
}
