//! `/status`: how the service is.

use actix_web::web::Data;
use askama::Template;

use super::format::grouped;
use super::frame::Frame;
use super::page::Page;
use super::part::badge::{Badge, Tone};
use crate::api::Face;
use crate::store::directory::sizes;

/// The page.
#[derive(Debug, Template)]
#[template(path = "status.html")]
pub(super) struct StatusPage {
    frame: Frame,
    checks: Vec<Check>,
    facts: Vec<(&'static str, String)>,
    repairs: Vec<(&'static str, String)>,
}

/// Something that must be well.
#[derive(Debug)]
struct Check {
    name: &'static str,
    badge: Badge,
    detail: String,
}

impl Check {
    fn new(name: &'static str, well: bool, detail: String) -> Self {
        let badge = if well {
            Badge {
                tone: Tone::Good,
                word: "well",
            }
        } else {
            Badge {
                tone: Tone::Bad,
                word: "not well",
            }
        };
        Self {
            name,
            badge,
            detail,
        }
    }
}

/// Shows the status.
pub(super) async fn show(face: Data<Face>, frame: Frame) -> Page<StatusPage> {
    let settings = face.service.settings();
    let store = face.service.store();
    let written = store.commit(store.batch()).await;
    let (held, budget) = (
        face.service.held_descriptors(),
        face.service.descriptor_budget(),
    );
    let checks = vec![
        Check::new(
            "Record",
            written.is_ok(),
            written
                .err()
                .map_or("takes a commit".to_owned(), |error| error.to_string()),
        ),
        Check::new(
            "Descriptors",
            held * 10 < budget * 9,
            format!("{} of {} used by holds", grouped(held), grouped(budget)),
        ),
    ];
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
                grouped(kib(size.0)),
                grouped(kib(size.1))
            ),
        ),
        ("Living leases", grouped(face.service.leases().len())),
    ];
    let repairs = face.service.repairs().into_iter();
    Page(StatusPage {
        frame,
        checks,
        facts,
        repairs: repairs
            .map(|(kind, count)| (kind, grouped(usize::try_from(count).unwrap_or(usize::MAX))))
            .collect(),
    })
}

fn kib(bytes: u64) -> usize {
    usize::try_from(bytes / 1024).unwrap_or(usize::MAX)
}
