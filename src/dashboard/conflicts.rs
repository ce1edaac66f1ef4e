//! `/conflicts`: outsiders that were found on leased ports, the newest first.

use actix_web::web::Data;
use askama::Template;
use jiff::Timestamp;

use super::errors::PageError;
use super::format::When;
use super::frame::{Frame, Params};
use super::page::Page;
use crate::access::Viewer;
use crate::api::AppState;
use crate::api::attempts::veil_words;
use crate::api::problem::Problem;
use crate::domain::attempt::printable;
use crate::store::LateRecord;

/// How many rows a page has.
const ROWS: usize = 100;

/// The page.
#[derive(Debug, Template)]
#[template(path = "conflicts.html")]
pub(super) struct ConflictsPage {
    frame: Frame,
    rows: Vec<ConflictRow>,
    /// Those before these.
    older: Option<String>,
    /// Back to the latest.
    newest: Option<String>,
}

/// One outsider on one leased port.
#[derive(Debug)]
struct ConflictRow {
    at: When,
    port: u16,
    protocol: String,
    /// As far as the kernel told; anybody's text.
    who: String,
    lease: LeaseCell,
}

/// The lease that the port was of.
#[derive(Debug)]
struct LeaseCell {
    /// Its page, as long as it is on record.
    href: Option<String>,
    name: Option<String>,
}

/// Shows the page. As everywhere, who came has a name for those who may see its processes.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    params: Params,
) -> Result<Page<ConflictsPage>, PageError> {
    let service = &face.service;
    // They are written behind; what cannot be written now is told later.
    if let Err(error) = service.write_history().await {
        tracing::warn!(%error, "the latest conflicts are not on record yet");
    }
    let before = params.get("before").and_then(|seq| seq.parse().ok());
    let reader = service.store().reader();
    let found = reader.late_conflicts(before, viewer.only_user()).await;
    let mut found = found.map_err(Problem::from)?;
    for late in &mut found {
        veil_words(&mut late.occupant, late.occupant_uid, &viewer);
    }
    let now = service.clock().now();
    Ok(Page(ConflictsPage::of(&found, before, frame, now)))
}

impl ConflictsPage {
    fn of(found: &[LateRecord], before: Option<i64>, frame: Frame, now: Timestamp) -> Self {
        let more = found.len() > ROWS;
        let last = found.get(ROWS - 1).filter(|_| more).map(|last| last.seq);
        let older = |seq: i64| {
            let query = Params::default().with("before", &seq.to_string()).query();
            format!("/conflicts{query}")
        };
        let rows = found.iter().take(ROWS);
        Self {
            older: last.map(older),
            newest: before.map(|_| "/conflicts".to_owned()),
            rows: rows.map(|late| ConflictRow::of(late, now)).collect(),
            frame,
        }
    }
}

impl ConflictRow {
    fn of(late: &LateRecord, now: Timestamp) -> Self {
        let at = Timestamp::from_millisecond(late.at_ms).unwrap_or(now);
        Self {
            at: When::of(at, now),
            port: late.port,
            protocol: printable(&late.protocol),
            who: printable(&late.occupant),
            lease: LeaseCell {
                href: late.uid.map(|_| format!("/leases/{}", late.lease)),
                name: late.name.as_deref().map(printable),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "<script>alert(1)</script>\"'\u{1b}[31m";

    fn late(seq: i64) -> LateRecord {
        LateRecord {
            seq,
            at_ms: 0,
            lease: uuid::Uuid::from_u128(7),
            protocol: "tcp".to_owned(),
            port: 20_000,
            occupant: HOSTILE.to_owned(),
            occupant_uid: None,
            name: Some("web".to_owned()),
            uid: Some(1000),
        }
    }

    fn page(found: &[LateRecord]) -> String {
        let now = Timestamp::UNIX_EPOCH;
        let page = ConflictsPage::of(found, None, Frame::default(), now);
        page.render().unwrap()
    }

    #[test]
    fn a_page_of_nothing_says_what_would_be_there() {
        let html = page(&[]);
        assert!(html.contains("No outsider"), "{html}");
        assert!(!html.contains("<table"));
    }

    #[test]
    fn each_tells_who_came_and_on_which_lease_and_hostile_text_is_inert() {
        let mut forgotten = late(2);
        (forgotten.name, forgotten.uid) = (None, None);
        let html = page(&[forgotten, late(1)]);
        assert!(!html.contains("<script>alert") && !html.contains('\u{1b}'));
        assert_eq!(html.matches("&#60;script&#62;alert(1)").count(), 2);
        assert_eq!(html.matches("href=\"/ports/tcp/20000\"").count(), 2);
        let lease = "href=\"/leases/00000000-0000-0000-0000-000000000007\"";
        assert_eq!(html.matches(lease).count(), 1);
        assert!(html.contains("web") && html.contains("forgotten"));
    }

    #[test]
    fn what_does_not_fit_is_on_the_next_page() {
        let found = |count: i64| (0..count).rev().map(late).collect::<Vec<_>>();
        assert!(!page(&found(100)).contains("rel=\"next\""));
        let html = page(&found(101));
        assert!(html.contains("href=\"/conflicts?before=1\""), "{html}");
    }
}
