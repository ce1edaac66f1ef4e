//! `/status`: the health of the service, and facts about it.

use actix_web::web::Data;
use askama::Template;

use super::filters;
use super::frame::Frame;
use super::page::Page;
use crate::api::AppState;
use crate::domain::health::Check;
use crate::domain::words::grouped;
use crate::store::directory::sizes;

#[derive(Debug, Template)]
#[template(path = "status.html")]
pub(super) struct StatusPage {
    frame: Frame,
    /// Failed checks first.
    checks: Vec<Check>,
    facts: Vec<(&'static str, String)>,
    /// Number of repairs since the start, by kind.
    repairs: Vec<(&'static str, u64)>,
}

/// Shows the status.
pub(super) async fn show(face: Data<AppState>, frame: Frame) -> Page<StatusPage> {
    let mut checks = face.service.health().await;
    checks.sort_by_key(|check| std::cmp::Reverse(check.condition));
    Page(StatusPage {
        frame,
        checks,
        facts: facts(&face),
        repairs: face.service.repairs().into_iter().collect(),
    })
}

fn facts(face: &AppState) -> Vec<(&'static str, String)> {
    let settings = face.service.settings();
    let process = format!("pid {}, uid {}", std::process::id(), face.uid);
    let console = face.console.get().cloned();
    let (merged, unmerged) = sizes(&settings.data_dir);
    let record = format!(
        "{} KiB, {} KiB not yet merged",
        grouped(merged / 1024),
        grouped(unmerged / 1024)
    );
    vec![
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Process", process),
        ("Console", console.unwrap_or_else(|| "switched off".into())),
        ("API socket", settings.socket.display().to_string()),
        ("Data directory", settings.data_dir.display().to_string()),
        ("Record", record),
        ("Living leases", grouped(face.service.lease_count())),
    ]
}
