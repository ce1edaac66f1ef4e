//! `/status`: how the service is.

use actix_web::web::Data;
use askama::Template;

use super::frame::Frame;
use super::page::Page;
use super::part::badge::{Badge, Tone};
use crate::api::AppState;
use crate::domain::attempt::printable;
use crate::domain::health::{Check, Condition};
use crate::domain::words::grouped;
use crate::store::directory::sizes;

/// The page.
#[derive(Debug, Template)]
#[template(path = "status.html")]
pub(super) struct StatusPage {
    frame: Frame,
    checks: Vec<Row>,
    facts: Vec<(&'static str, String)>,
    repairs: Vec<(&'static str, String)>,
}

/// Something that must be well.
#[derive(Debug)]
struct Row {
    name: &'static str,
    badge: Badge,
    detail: String,
}

impl From<Check> for Row {
    fn from(check: Check) -> Self {
        let (tone, word) = match check.condition {
            Condition::Ok => (Tone::Good, "ok"),
            Condition::Warn => (Tone::Warning, "look at it"),
            Condition::Fail => (Tone::Bad, "not well"),
        };
        Self {
            name: check.name,
            badge: Badge { tone, word },
            detail: printable(&check.detail),
        }
    }
}

/// Shows the status.
pub(super) async fn show(face: Data<AppState>, frame: Frame) -> Page<StatusPage> {
    let settings = face.service.settings();
    let mut checks = face.service.health().await;
    // What is wrong comes first.
    checks.sort_by_key(|check| std::cmp::Reverse(check.condition));
    let size = sizes(&settings.data_dir);
    let facts = vec![
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        (
            "Process",
            format!("pid {}, uid {}", std::process::id(), face.uid),
        ),
        (
            "Console",
            face.console
                .get()
                .cloned()
                .unwrap_or_else(|| "switched off".into()),
        ),
        ("API socket", settings.socket.display().to_string()),
        ("Data directory", settings.data_dir.display().to_string()),
        (
            "Record",
            format!(
                "{} KiB, {} KiB not yet merged",
                grouped(size.0 / 1024),
                grouped(size.1 / 1024)
            ),
        ),
        ("Living leases", grouped(face.service.leases().len())),
    ];
    let repairs = face.service.repairs().into_iter();
    Page(StatusPage {
        frame,
        checks: checks.into_iter().map(Row::from).collect(),
        facts,
        repairs: repairs
            .map(|(kind, count)| (kind, grouped(count)))
            .collect(),
    })
}
