//! `/conflicts`: outsiders found on leased ports, the newest first.

use actix_web::web::Data;
use askama::Template;
use jiff::Timestamp;

use super::errors::PageError;
use super::filters;
use super::frame::{Frame, Params};
use super::page::Page;
use crate::access::Viewer;
use crate::api::AppState;
use crate::api::attempts::veil_words;
use crate::api::problem::Problem;
use crate::store::LateRecord;

/// Number of rows on a page.
const ROWS: usize = 100;

#[derive(Debug, Template)]
#[template(path = "conflicts.html")]
pub(super) struct ConflictsPage {
    frame: Frame,
    now: Timestamp,
    rows: Vec<LateRecord>,
    older: Option<String>,
    newest: Option<String>,
}

/// Shows the page. The names of other users' programs are hidden.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    params: Params,
) -> Result<Page<ConflictsPage>, PageError> {
    let service = &face.service;
    if let Err(error) = service.write_history().await {
        tracing::warn!(%error, "could not write the latest conflicts; the page shows those on record");
    }
    let before = params.get("before").and_then(|seq| seq.parse().ok());
    let reader = service.store().reader();
    let found = reader.late_conflicts(before, viewer.only_user()).await;
    let mut found = found.map_err(Problem::from)?;
    for late in &mut found {
        veil_words(&mut late.occupant, late.occupant_uid, &viewer);
    }
    let now = service.clock().now();
    Ok(Page(ConflictsPage::of(found, before, frame, now)))
}

impl ConflictsPage {
    /// One page of conflicts; one more than fits tells that there is another page.
    fn of(mut rows: Vec<LateRecord>, before: Option<i64>, frame: Frame, now: Timestamp) -> Self {
        let more = rows.len() > ROWS;
        rows.truncate(ROWS);
        let last = rows.last().filter(|_| more);
        let older = |last: &LateRecord| {
            let params = Params::default().with("before", &last.seq.to_string());
            params.link("/conflicts")
        };
        Self {
            older: last.map(older),
            newest: before.map(|_| "/conflicts".to_owned()),
            rows,
            frame,
            now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::tests_support::{HOSTILE, rendered};

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

    fn page(found: Vec<LateRecord>) -> String {
        let page = ConflictsPage::of(found, None, Frame::default(), Timestamp::UNIX_EPOCH);
        rendered(&page)
    }

    #[test]
    fn empty_list_tells_its_purpose() {
        let html = page(Vec::new());
        assert!(html.contains("No outsider"), "{html}");
        assert!(!html.contains("<table"));
    }

    #[test]
    fn rows_name_outsider_and_lease_inertly() {
        let mut forgotten = late(2);
        (forgotten.name, forgotten.uid) = (None, None);
        let html = page(vec![forgotten, late(1)]);
        assert!(!html.contains('\u{1b}'), "{html}");
        assert_eq!(html.matches("&#60;script&#62;alert(1)").count(), 2);
        assert_eq!(html.matches("href=\"/ports/tcp/20000\"").count(), 2);
        let lease = "href=\"/leases/00000000-0000-0000-0000-000000000007\"";
        assert_eq!(html.matches(lease).count(), 1);
        assert!(html.contains("web") && html.contains("forgotten"));
    }

    #[test]
    fn older_rows_are_on_the_next_page() {
        let found = |count: i64| (0..count).rev().map(late).collect();
        assert!(!page(found(100)).contains("rel=\"next\""));
        let html = page(found(101));
        assert!(html.contains("href=\"/conflicts?before=1\""), "{html}");
    }
}
