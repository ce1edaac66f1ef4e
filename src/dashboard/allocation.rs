//! `/allocations/{id}`: one request answered, and why it came out as it did.

use actix_web::web::{Data, Path};
use askama::Template;
use jiff::Timestamp;

use super::errors::PageError;
use super::format::{When, micros};
use super::frame::{Frame, Params};
use super::page::Page;
use super::part::badge::{Badge, Tone};
use super::part::explanation::{TERMS, Why};
use super::part::lease::LeaseRow;
use super::part::timing::{TimedRow, timed};
use crate::access::Viewer;
use crate::api::document::{AllocationRecordDocument, LeaseDocument};
use crate::api::problem::{Code, Problem};
use crate::api::{AppState, allocations, leases};
use crate::domain::attempt::printable;
use crate::domain::lease::AllocationId;
use crate::domain::words::grouped;

/// So many attempts are shown; the list of attempts has the rest.
const ATTEMPTS: usize = 200;

/// More leases than one request can ask for.
const LEASES: u32 = 1000;

/// The page.
#[derive(Debug, Template)]
#[template(path = "allocation.html")]
pub(super) struct AllocationPage {
    frame: Frame,
    id: String,
    outcome: Badge,
    refusal: Option<Refused>,
    pool: String,
    uid: u32,
    at: When,
    took: String,
    trace_id: Option<String>,
    /// Where the trace can be looked at, if anywhere.
    trace_url: Option<String>,
    why: Why,
    timings: Vec<TimedRow>,
    /// "200 of 5,000", where there are more.
    cut: Option<String>,
    /// The list of its attempts.
    attempts_href: String,
    leases: Vec<LeaseRow>,
}

/// Why nothing was granted.
#[derive(Debug)]
struct Refused {
    code: String,
    title: &'static str,
    /// Anybody's text.
    detail: String,
}

/// Shows the page.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    path: Path<String>,
) -> Result<Page<AllocationPage>, PageError> {
    let missing = || {
        let detail = "there is no such allocation, or it is not yours to see";
        Problem::new(Code::NotFound, detail)
    };
    let id: AllocationId = path.parse().map_err(|_| missing())?;
    let found = allocations::about(&face.service, &viewer, id).await;
    let found = found.map_err(Problem::from)?.ok_or_else(missing)?;
    let now = face.service.clock().now();
    let (trace, span) = (found.trace_id.as_deref(), found.span_id.as_deref());
    let telemetry = &face.service.settings().telemetry;
    let trace_url = trace.and_then(|trace| telemetry.trace_link(trace, span));
    let leases = granted(&face, &viewer, id, now).await?;
    let mut page = AllocationPage::of(found, leases, frame, now);
    page.trace_url = trace_url;
    Ok(Page(page))
}

/// The leases that it granted, as they are now.
async fn granted(
    face: &AppState,
    viewer: &Viewer,
    id: AllocationId,
    now: Timestamp,
) -> Result<Vec<LeaseRow>, Problem> {
    let clock = face.service.clock();
    let stored = face.service.store().leases_of(id, LEASES).await?;
    let row = |stored: crate::store::StoredLease| {
        // The books are ahead of the record.
        let document = match face.service.lease(stored.lease.id) {
            Some(living) => LeaseDocument::of(&living, clock),
            None => LeaseDocument::of(&stored.lease, clock),
        };
        let open = viewer.sees(document.uid);
        LeaseRow::of(leases::shown(document, viewer), open, None, now)
    };
    Ok(stored.into_iter().map(row).collect())
}

impl AllocationPage {
    fn of(
        mut found: AllocationRecordDocument,
        mut leases: Vec<LeaseRow>,
        frame: Frame,
        now: Timestamp,
    ) -> Self {
        let id = found.id.to_string();
        let all = found.attempts.len();
        found.attempts.truncate(ATTEMPTS);
        let granted: Vec<u16> = found
            .explanation
            .granted
            .iter()
            .map(|it| it.get())
            .collect();
        leases.sort_by_key(|lease| granted.iter().position(|port| *port == lease.port));
        let of_this = Params::default().with("allocation", &id);
        Self {
            outcome: outcome(found.refusal.is_some()),
            refusal: found
                .refusal
                .as_deref()
                .map(|code| refused(code, found.detail.as_deref())),
            pool: found.pool,
            uid: found.uid,
            at: When::of(found.at, now),
            took: micros(f64::from(
                u32::try_from(found.duration_us).unwrap_or(u32::MAX),
            )),
            trace_id: found.trace_id,
            trace_url: None,
            why: Why::from(&found.explanation),
            timings: timed(found.attempts, now),
            cut: (all > ATTEMPTS).then(|| format!("{ATTEMPTS} of {}", grouped(all))),
            attempts_href: format!("/attempts{}", of_this.query()),
            leases,
            frame,
            id,
        }
    }
}

const fn outcome(refused: bool) -> Badge {
    if refused {
        Badge {
            tone: Tone::Bad,
            word: "refused",
        }
    } else {
        Badge {
            tone: Tone::Good,
            word: "granted",
        }
    }
}

fn refused(code: &str, detail: Option<&str>) -> Refused {
    Refused {
        code: code.to_owned(),
        title: Code::parse(code).map_or("Refused", Code::title),
        detail: printable(detail.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::explanation::{Excluded, Explanation};
    use crate::domain::lease::tests_support::lease;
    use crate::domain::port::Port;
    use crate::domain::reason::Reason;
    use crate::host::clock::Clock;

    const HOSTILE: &str = "<script>alert(1)</script>\"'\u{1b}[31m";

    fn record() -> AllocationRecordDocument {
        AllocationRecordDocument {
            id: AllocationId(uuid::Uuid::from_u128(7)),
            at: Timestamp::UNIX_EPOCH,
            uid: 1000,
            pool: HOSTILE.into(),
            refusal: None,
            detail: None,
            attempt_count: 1,
            duration_us: 431,
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
            span_id: None,
            story: String::new(),
            explanation: Explanation {
                ports: 100,
                excluded: vec![Excluded {
                    reason: Reason::Leased,
                    ports: 25,
                    which: Vec::new(),
                }],
                notes: vec![HOSTILE.into()],
                interfaces: vec![HOSTILE.into()],
                ..Explanation::default()
            },
            attempts: Vec::new(),
            retry_key: None,
        }
    }

    fn page(record: AllocationRecordDocument) -> AllocationPage {
        let now = Timestamp::UNIX_EPOCH;
        let document = LeaseDocument::of(&lease(20_000), &Clock::manual());
        let lease = LeaseRow::of(document, true, None, now);
        AllocationPage::of(record, vec![lease], Frame::default(), now)
    }

    #[test]
    fn the_trace_is_offered_only_where_it_can_be_opened() {
        let mut page = page(record());
        assert!(!page.render().unwrap().contains("Open the trace"));
        page.trace_url = Some("http://127.0.0.1:16686/trace/0af7".into());
        assert!(page.render().unwrap().contains("Open the trace"));
    }

    #[test]
    fn hostile_texts_are_inert_and_nothing_is_inline() {
        let mut record = record();
        (record.refusal, record.detail) = (Some("port_in_use".into()), Some(HOSTILE.into()));
        let html = page(record).render().unwrap();
        assert!(!html.contains("<script>alert"), "{html}");
        for inline in ["style=", "<style", "onclick", "javascript:"] {
            assert!(!html.contains(inline), "{inline}");
        }
        assert!(html.contains("/errors/port_in_use"));
    }

    #[test]
    fn leases_come_in_the_order_granted() {
        let mut record = record();
        record.explanation.granted = [3003, 3004].into_iter().filter_map(Port::new).collect();
        record.explanation.tried = record.explanation.granted.clone();
        let row = |port| {
            let document = LeaseDocument::of(&lease(port), &Clock::manual());
            LeaseRow::of(document, true, None, Timestamp::UNIX_EPOCH)
        };
        let (leases, now) = (vec![row(3004), row(3003)], Timestamp::UNIX_EPOCH);
        let page = AllocationPage::of(record, leases, Frame::default(), now);
        let ports: Vec<u16> = page.leases.iter().map(|lease| lease.port).collect();
        assert_eq!(ports, [3003, 3004]);
    }

    #[test]
    fn what_was_ruled_out_and_what_was_granted_is_told() {
        let html = page(record()).render().unwrap();
        assert!(html.contains("leased") && html.contains("width=\"250\""));
        assert!(html.contains("/leases/00000000-0000-0000-0000-000000004e20"));
        assert!(html.contains("/attempts?allocation="));
    }
}
