//! `/allocations/{id}`: one request with its answer and the reasons.

use actix_web::web::{Data, Path};
use askama::Template;
use jiff::Timestamp;

use super::chart::Piece;
use super::chart::timing::timed;
use super::errors::PageError;
use super::filters;
use super::format::micros;
use super::frame::{Frame, Params};
use super::page::Page;
use super::part::badge::{Badge, Tone};
use super::part::explanation::{TERMS, Why};
use super::part::lease::LeaseRow;
use super::part::user;
use crate::access::Viewer;
use crate::answers::allocations;
use crate::answers::document::{AllocationRecordDocument, AttemptDocument, LeaseDocument};
use crate::answers::leases;
use crate::api::AppState;
use crate::api::problem::{Code, Problem};
use crate::domain::attempt::printable;
use crate::domain::explanation::EXPLICIT;
use crate::domain::lease::AllocationId;
use crate::domain::precedence::Step;
use crate::domain::words::grouped;
use crate::store::StoredLease;

/// Maximum number of attempts on the page; the list of attempts has the others.
const ATTEMPTS: usize = 200;

/// More leases than one request can ask for.
const LEASES: u32 = 1000;

#[derive(Debug, Template)]
#[template(path = "allocation.html")]
pub(super) struct AllocationPage {
    frame: Frame,
    now: Timestamp,
    /// Without explanation and attempts, which the page has apart.
    record: AllocationRecordDocument,
    why: Why,
    timings: Vec<(AttemptDocument, Piece)>,
    /// "200 of 5,000" if there are more attempts.
    cut: Option<String>,
    leases: Vec<LeaseRow>,
    /// The trace in a viewer. `None` if there is no trace or no viewer.
    trace_url: Option<String>,
}

/// Shows the page.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    path: Path<String>,
) -> Result<Page<AllocationPage>, PageError> {
    let missing = || {
        let detail = "this allocation does not exist, or it belongs to another user";
        Problem::new(Code::NotFound, detail)
    };
    let id: AllocationId = path.parse().map_err(|_| missing())?;
    let found = allocations::about(&face.service, &viewer, id).await;
    let found = found.map_err(Problem::from)?.ok_or_else(missing)?;
    let (trace, span) = (found.trace_id.as_deref(), found.span_id.as_deref());
    let telemetry = &face.service.settings().telemetry;
    let trace_url = trace.and_then(|trace| telemetry.trace_link(trace, span));
    let leases = granted(&face, &viewer, id).await?;
    let now = face.service.clock().now();
    Ok(Page(AllocationPage {
        trace_url,
        ..AllocationPage::of(found, leases, frame, now)
    }))
}

/// The leases that the request got, as they are now.
async fn granted(
    face: &AppState,
    viewer: &Viewer,
    id: AllocationId,
) -> Result<Vec<LeaseRow>, Problem> {
    let clock = face.service.clock();
    let stored = face.service.store().leases_of(id, LEASES).await?;
    let row = |stored: StoredLease| {
        // The books are ahead of the record.
        let document = match face.service.lease(stored.lease.id) {
            Some(living) => leases::document(&face.service, &living),
            None => LeaseDocument::of(&stored.lease, clock),
        };
        LeaseRow::of(document, viewer)
    };
    Ok(stored.into_iter().map(row).collect())
}

impl AllocationPage {
    fn of(
        mut record: AllocationRecordDocument,
        mut leases: Vec<LeaseRow>,
        frame: Frame,
        now: Timestamp,
    ) -> Self {
        let explanation = std::mem::take(&mut record.explanation);
        let granted = &explanation.granted;
        leases.sort_by_key(|row| granted.iter().position(|port| *port == row.lease.port));
        let mut attempts = std::mem::take(&mut record.attempts);
        let all = attempts.len();
        attempts.truncate(ATTEMPTS);
        Self {
            why: Why {
                record: explanation,
                is_refused: record.refusal.is_some(),
            },
            timings: timed(attempts),
            cut: (all > ATTEMPTS).then(|| format!("{ATTEMPTS} of {}", grouped(all))),
            trace_url: None,
            leases,
            record,
            frame,
            now,
        }
    }

    const fn outcome(&self) -> Badge {
        if self.record.refusal.is_some() {
            Badge::new(Tone::Bad, "refused")
        } else if self.why.record.granted.is_empty() {
            Badge::new(Tone::Good, "kept")
        } else {
            Badge::new(Tone::Good, "granted")
        }
    }

    fn refusal_title(&self) -> &'static str {
        let code = self.record.refusal.as_deref().and_then(Code::parse);
        code.map_or("Refused", Code::title)
    }

    /// The names of its leases, each once, as far as the viewer may see them.
    fn names(&self) -> Vec<String> {
        let names = self.leases.iter().filter_map(|row| {
            let name = row.lease.name.as_ref()?;
            let folder = row.folder().map(|folder| format!(" of {folder}"));
            Some(format!("{name}{}", folder.unwrap_or_default()))
        });
        each_once(names)
    }

    /// The owners of its leases now, each once.
    fn owners(&self) -> Vec<String> {
        let owners = self.leases.iter().filter_map(|row| {
            let owner = row.lease.owner.as_ref()?;
            Some(format!("{} (pid {})", printable(&owner.command), owner.pid))
        });
        each_once(owners)
    }

    /// The port that was asked for, in words. `None` if the pool was to choose.
    fn asked_port(&self) -> Option<String> {
        let explanation = &self.why.record;
        if explanation.strategy == EXPLICIT {
            let ports = explanation.granted.first().or(explanation.tried.first());
            return Some(ports.map_or("by number".to_owned(), |port| format!("{port}, by number")));
        }
        let mut moves = self.leases.iter().filter_map(LeaseRow::instead_of);
        let preferred = explanation.steps.iter().zip(&explanation.granted);
        let mut preferred = preferred.filter(|(step, _)| **step == Step::Preferred);
        let granted = preferred.next().map(|(_, port)| *port);
        let port = granted.or_else(|| moves.next().map(|note| note.from))?;
        Some(format!("{port}, if it is free"))
    }

    fn took(&self) -> String {
        let duration = u32::try_from(self.record.duration_us);
        micros(f64::from(duration.unwrap_or(u32::MAX)))
    }

    /// The list of all attempts of the request.
    fn attempts_href(&self) -> String {
        let of_this = Params::default().with("allocation", &self.record.id.to_string());
        of_this.link("/attempts")
    }
}

fn each_once(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for text in texts {
        if !once.contains(&text) {
            once.push(text);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::part::lease::tests_support::row;
    use crate::dashboard::tests_support::{HOSTILE, rendered};
    use crate::domain::explanation::{Excluded, Explanation};
    use crate::domain::lease::tests_support::lease;
    use crate::domain::port::Port;
    use crate::domain::reason::Reason;

    fn record() -> AllocationRecordDocument {
        AllocationRecordDocument {
            id: AllocationId(uuid::Uuid::from_u128(7)),
            at: Timestamp::UNIX_EPOCH,
            uid: 1000,
            pool: HOSTILE.into(),
            refusal: None,
            detail: None,
            attempt_count: 1,
            free_count: 1,
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

    fn page(record: AllocationRecordDocument, ports: &[u16]) -> AllocationPage {
        let leases = ports.iter().map(|port| row(&lease(*port))).collect();
        AllocationPage::of(record, leases, Frame::default(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn trace_link_only_with_a_viewer() {
        let mut page = page(record(), &[20_000]);
        assert!(!page.render().unwrap().contains("Open the trace"));
        page.trace_url = Some("http://127.0.0.1:16686/trace/0af7".into());
        assert!(page.render().unwrap().contains("Open the trace"));
    }

    #[test]
    fn hostile_texts_are_inert() {
        let mut record = record();
        (record.refusal, record.detail) = (Some("port_in_use".into()), Some(HOSTILE.into()));
        let html = rendered(&page(record, &[20_000]));
        assert!(html.contains("/errors/port_in_use"));
    }

    #[test]
    fn leases_come_in_the_order_granted() {
        let mut record = record();
        record.explanation.granted = [3003, 3004].into_iter().filter_map(Port::new).collect();
        let page = page(record, &[3004, 3003]);
        let ports: Vec<u16> = page.leases.iter().map(|row| row.lease.port.get()).collect();
        assert_eq!(ports, [3003, 3004]);
    }

    #[test]
    fn name_owner_and_preferred_port_are_told() {
        let mut record = record();
        record.explanation.granted = Port::new(20_000).into_iter().collect();
        record.explanation.steps = vec![Step::Preferred];
        let mut page = page(record, &[20_000]);
        page.leases[0].lease.name = Some("web".parse().unwrap());
        assert_eq!(page.names(), ["web"]);
        assert_eq!(page.asked_port().unwrap(), "20000, if it is free");
        page.leases.clear();
        assert_eq!(page.names(), [""; 0]);
    }

    #[test]
    fn excluded_and_granted_ports_are_shown() {
        let html = page(record(), &[20_000]).render().unwrap();
        assert!(html.contains("leased") && html.contains("width=\"250\""));
        assert!(html.contains("/leases/00000000-0000-0000-0000-000000004e20"));
        assert!(html.contains("/attempts?allocation="));
    }
}
