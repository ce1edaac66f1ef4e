//! The service itself: how it is, what it was told, and what happens.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::configuration::ConfigurationDocument;
use crate::api::document::StatusDocument;
use crate::api::logins::LoginDocument;
use crate::api::openapi::operation::{Operation, Tag};
use crate::api::problem::Code;
use crate::telemetry::metrics::{OPEN_METRICS_TYPE, TEXT_TYPE};

pub(super) fn operations() -> Vec<Operation> {
    let mut all = vec![status(), configuration(), events(), login(), description()];
    all.extend(watched());
    all
}

fn status() -> Operation {
    Operation::get("/api/v1/status", "showStatus")
        .about(Tag::Service, "How the service is")
        .says("Where it listens, what it holds, and what its checks found.")
        .answers::<StatusDocument>(200, "The status.", include_str!("../example/status.json"))
}

fn configuration() -> Operation {
    Operation::get("/api/v1/config", "showConfiguration")
        .about(Tag::Service, "The settings in force")
        .says("Each with where its value came from.")
        .answers::<ConfigurationDocument<'static>>(
            200,
            "The settings.",
            include_str!("../example/config.json"),
        )
}

fn events() -> Operation {
    Operation::get("/api/v1/events", "followEvents")
        .about(Tag::Service, "Follow what happens")
        .says(
            "Server-sent events that end only with the service; a comment every 15 seconds keeps the \
             line alive. The data of each is a JSON object. `resync` says that some were missed: load anew.",
        )
        .parameter(
            "header",
            "Last-Event-ID",
            "The last `id` that was heard: what came after it is sent first.",
        )
        .parameter(
            "query",
            "after",
            "The same where no header can be set; the header goes first.",
        )
        .answers_text(
            200,
            "The events.",
            &[("text/event-stream", include_str!("../example/events.txt"))],
        )
}

fn login() -> Operation {
    Operation::post("/api/v1/logins", "createLogin")
        .about(Tag::Service, "Let a browser in")
        .says("Makes a page that logs whoever opens it in as the caller, once, within a minute.")
        .answers::<LoginDocument>(201, "The page.", include_str!("../example/login.json"))
        .refused(&[Code::HostError])
}

fn description() -> Operation {
    Operation::get("/api/v1/openapi.json", "describeApi")
        .about(Tag::Service, "This description")
        .says("The page `/api` of the console shows it.")
        .answers::<BTreeMap<String, Value>>(200, "OpenAPI 3.1.", r#"{"openapi": "3.1.0"}"#)
}

/// What supervisors and Prometheus ask for, at the places where they look for it.
fn watched() -> [Operation; 3] {
    [
        Operation::get("/livez", "isAlive")
            .about(Tag::Service, "Whether the process answers")
            .answers_text(200, "It does.", &[("text/plain", "ok\n")]),
        Operation::get("/readyz", "isReady")
            .about(Tag::Service, "Whether ports can be granted and kept")
            .parameter("query", "verbose", "If it is there, every check is listed.")
            .answers_text(
                200,
                "No check failed.",
                &[("text/plain", include_str!("../example/readyz.txt"))],
            )
            .answers_text(
                503,
                "Checks that failed.",
                &[("text/plain", "fail disk: no space left\n")],
            ),
        Operation::get("/metrics", "showMetrics")
            .about(Tag::Service, "What is counted, for Prometheus")
            .says("`OpenMetrics` for whoever accepts it, else the text format.")
            .answers_text(
                200,
                "The metrics.",
                &[
                    (TEXT_TYPE, include_str!("../example/metrics.txt")),
                    (OPEN_METRICS_TYPE, include_str!("../example/metrics.txt")),
                ],
            ),
    ]
}
