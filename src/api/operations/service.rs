//! Operations of the service itself: its state, its settings and its events.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::Value;

use super::serve::{Served, described, handled};
use crate::answers::configuration::ShowConfiguration;
use crate::answers::logins::CreateLogin;
use crate::answers::operation::{Description, Method, Tag};
use crate::answers::problem::Code;
use crate::answers::status::ShowStatus;
use crate::api::{events, health, logins, metrics};
use crate::telemetry::metrics::{OPEN_METRICS_TYPE, TEXT_TYPE};

pub(super) fn operations() -> Vec<Served> {
    let [livez, readyz, counters] = watched();
    vec![
        handled::<ShowStatus, _, _>(health::status),
        handled::<ShowConfiguration, _, _>(health::configuration),
        described(events(), events::stream),
        handled::<CreateLogin, _, _>(logins::create),
        described(description(), show_description),
        described(livez, health::livez),
        described(readyz, health::readyz),
        described(counters, metrics::show),
    ]
}

/// Maker of the OpenAPI document. The routes are given it, since it is made from all operations, of
/// which showing it is one.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct OpenApi(pub(in crate::api) fn() -> &'static Value);

async fn show_description(document: Data<OpenApi>) -> HttpResponse {
    HttpResponse::Ok().json(document.0())
}

fn events() -> Description {
    Description::new(Method::Get, "/api/v1/events", "followEvents")
        .about(Tag::Service, "Follow events")
        .says(
            "Server-sent events that end only with the service; a comment every 15 seconds keeps the \
             line alive. The data of each is a JSON object. `resync` means that some were missed: reload.",
        )
        .parameter(
            "header",
            "Last-Event-ID",
            "The last known `id`: later events are sent first.",
        )
        .parameter(
            "query",
            "after",
            "The last known `id`, for clients that cannot set the header; the header wins.",
        )
        .parameter(
            "query",
            "kind",
            "Only events of this kind, such as `fleet`, and `resync`.",
        )
        .answers_text(
            200,
            "The events.",
            &[("text/event-stream", include_str!("../../answers/example/events.txt"))],
        )
        .refused(&[Code::InvalidRequest])
}

fn description() -> Description {
    Description::new(Method::Get, "/api/v1/openapi.json", "describeApi")
        .about(Tag::Service, "This description")
        .says("The page `/api` of the console shows it.")
        .answers::<BTreeMap<String, Value>>(200, "OpenAPI 3.1.", r#"{"openapi": "3.1.0"}"#)
}

/// Endpoints for supervisors and Prometheus, at their customary paths.
fn watched() -> [Description; 3] {
    [
        Description::new(Method::Get, "/livez", "isAlive")
            .about(Tag::Service, "Check that the process answers")
            .answers_text(200, "The process answers.", &[("text/plain", "ok\n")]),
        Description::new(Method::Get, "/readyz", "isReady")
            .about(Tag::Service, "Check that ports can be granted and kept")
            .parameter("query", "verbose", "Lists every check if it is present.")
            .answers_text(
                200,
                "No check failed.",
                &[(
                    "text/plain",
                    include_str!("../../answers/example/readyz.txt"),
                )],
            )
            .answers_text(
                503,
                "Checks that failed.",
                &[("text/plain", "fail disk: no space left\n")],
            ),
        Description::new(Method::Get, "/metrics", "showMetrics")
            .about(Tag::Service, "Show metrics for Prometheus")
            .says("`OpenMetrics` if the client accepts it, else the text format.")
            .answers_text(
                200,
                "The metrics.",
                &[
                    (TEXT_TYPE, include_str!("../../answers/example/metrics.txt")),
                    (
                        OPEN_METRICS_TYPE,
                        include_str!("../../answers/example/metrics.txt"),
                    ),
                ],
            ),
    ]
}
