//! `/leases/{id}`: one lease, living or ended, and what can be done with it.

use actix_web::HttpResponse;
use actix_web::web::{Data, Form, Path};
use askama::Template;
use jiff::Timestamp;
use serde::Deserialize;

use super::errors::PageError;
use super::format::When;
use super::frame::{Frame, Params};
use super::page::{Page, see};
use super::part::lease::{Ends, LeaseRow};
use super::releasing::{self, Wish};
use crate::access::Viewer;
use crate::api::document::LeaseDocument;
use crate::api::problem::{Code, Problem};
use crate::api::{AppState, leases};
use crate::domain::attempt::printable;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{Handover, LeaseId};

/// The page.
#[derive(Debug, Template)]
#[template(path = "lease.html")]
pub(super) struct LeasePage {
    frame: Frame,
    row: LeaseRow,
    /// Each bind address with the port.
    addresses: Vec<String>,
    allocation: String,
    handover: &'static str,
    handover_means: &'static str,
    owner_since: Option<When>,
    ended: Option<When>,
    lifetime: Option<Lifetime>,
    labels: Vec<(String, String)>,
    trace_id: Option<String>,
    /// Where the trace can be looked at, if anywhere.
    trace_url: Option<String>,
    snippets: Vec<Snippet>,
    may_change: bool,
}

/// How much of its time has passed.
#[derive(Debug)]
struct Lifetime {
    /// Of 1000.
    passed: i64,
    words: String,
}

/// Something to copy.
#[derive(Debug)]
struct Snippet {
    label: &'static str,
    text: String,
}

fn id(text: &str) -> Result<LeaseId, Problem> {
    text.parse()
        .map_err(|_| Problem::new(Code::NotFound, "this is no lease's id; the list shows them"))
}

/// Shows a lease.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    mut frame: Frame,
    params: Params,
    path: Path<String>,
) -> Result<Page<LeasePage>, PageError> {
    let id = id(&path)?;
    if params.get("released").is_some() {
        let told = releasing::told(&face, &viewer, &id.to_string()).await;
        frame.said = told.map(Into::into);
    }
    let clock = face.service.clock();
    let lease = if let Some(lease) = face.service.lease(id) {
        LeaseDocument::of(&lease, clock)
    } else {
        let stored = face
            .service
            .store()
            .lease(id)
            .await
            .map_err(Problem::from)?;
        let none = || Problem::new(Code::NotFound, "there is no such lease");
        LeaseDocument::of(&stored.ok_or_else(none)?.lease, clock)
    };
    let open = viewer.sees(lease.uid);
    let lease = leases::shown(lease, &viewer);
    let (trace, span) = (lease.trace_id.as_deref(), lease.span_id.as_deref());
    let telemetry = &face.service.settings().telemetry;
    let trace_url = trace.and_then(|trace| telemetry.trace_link(trace, span));
    Ok(Page(LeasePage {
        trace_url,
        ..page(frame, lease, open, clock.now())
    }))
}

fn page(frame: Frame, lease: LeaseDocument, open: bool, now: Timestamp) -> LeasePage {
    let ended = lease.ended_at.map(|at| When::of(at, now));
    LeasePage {
        may_change: frame.user.is_some() && open && ended.is_none(),
        addresses: lease.addresses.clone(),
        allocation: lease.allocation.to_string(),
        handover: lease.handover.as_str(),
        handover_means: handover_means(lease.handover),
        owner_since: lease
            .owner
            .as_ref()
            .map(|owner| When::of(owner.started_at, now)),
        lifetime: lifetime(&lease, now).filter(|_| ended.is_none()),
        labels: labels(&lease),
        trace_id: lease.trace_id.clone(),
        trace_url: None,
        snippets: snippets(&lease),
        row: LeaseRow::of(lease, open, None, now),
        ended,
        frame,
    }
}

fn labels(lease: &LeaseDocument) -> Vec<(String, String)> {
    let labels = lease.labels.iter();
    labels
        .map(|(key, value)| (printable(key), printable(value)))
        .collect()
}

fn lifetime(lease: &LeaseDocument, now: Timestamp) -> Option<Lifetime> {
    let end = [lease.claim_by, lease.expires_at]
        .into_iter()
        .flatten()
        .min()?;
    let begin = lease.granted_at.as_millisecond();
    let (all, passed) = (end.as_millisecond() - begin, now.as_millisecond() - begin);
    let passed = (passed.saturating_mul(1000) / all.max(1)).clamp(0, 1000);
    Some(Lifetime {
        passed,
        words: format!("{} % of its time has passed", passed / 10),
    })
}

const fn handover_means(handover: Handover) -> &'static str {
    match handover {
        Handover::Gate => "the owner binds beside the hold, with SO_REUSEADDR",
        Handover::Fd => "the owner is given sockets that listen already",
        Handover::Release => "the hold is closed just before the owner starts",
    }
}

/// Lines for a shell and for a unit. Only what portbook itself made is in them.
fn snippets(lease: &LeaseDocument) -> Vec<Snippet> {
    let (host, port) = (&lease.host, lease.port);
    let mut snippets = vec![
        Snippet {
            label: "Environment",
            text: format!("PORT={port} HOST={host}"),
        },
        Snippet {
            label: "Request",
            text: format!("curl -s {}", lease.url),
        },
        Snippet {
            label: "Wait until it listens",
            text: format!("portbook wait {port}"),
        },
    ];
    if let Some(name) = &lease.name {
        snippets.push(Snippet {
            label: "systemd",
            text: format!("ExecStart=portbook run --name {name} -- PROGRAM --port {{port}}"),
        });
    }
    snippets
}

/// What a form about one lease may say.
#[derive(Debug, Deserialize)]
pub(super) struct Renewal {
    #[serde(default)]
    ttl: String,
}

/// `POST /leases/{id}/release`
pub(super) async fn release(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    path: Path<String>,
    form: Option<Form<Vec<(String, String)>>>,
) -> Result<HttpResponse, PageError> {
    let id = id(&path)?;
    face.service
        .lease_of(viewer.caller()?, id)
        .map_err(Problem::from)?;
    let wish = Wish {
        chosen: vec![id],
        forced: form.is_some_and(|form| form.iter().any(|(key, _)| key == "force")),
        action: &format!("/leases/{id}/release"),
        from: format!("/leases/{id}"),
        back: &Params::default(),
    };
    let after = format!("/leases/{id}?released={id}");
    releasing::release(&face, &viewer, frame, wish, &after).await
}

/// `POST /leases/{id}/renew`
pub(super) async fn renew(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<String>,
    form: Form<Renewal>,
) -> Result<HttpResponse, PageError> {
    let id = id(&path)?;
    let ttl = match form.ttl.trim() {
        "" => None,
        text => Some(
            text.parse::<HumanDuration>()
                .map_err(|error| Problem::new(Code::InvalidRequest, format!("ttl: {error}")))?,
        ),
    };
    let renewed = face
        .service
        .renew(viewer.caller()?, id, ttl.map(|span| span.0))
        .await;
    renewed.map_err(Problem::from)?;
    Ok(see(&format!("/leases/{id}?said=renewed")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support::lease;
    use crate::host::clock::Clock;

    fn document() -> LeaseDocument {
        LeaseDocument::of(&lease(20_000), &Clock::manual())
    }

    #[test]
    fn what_others_wrote_is_inert() {
        let mut hostile = document();
        hostile
            .labels
            .insert("<i>".into(), "\"'><script>\u{1b}[31m".into());
        let text = page(Frame::default(), hostile, true, Timestamp::UNIX_EPOCH)
            .render()
            .unwrap();
        assert!(!text.contains("<script>") && !text.contains("<i>") && !text.contains('\u{1b}'));
    }

    #[test]
    fn only_who_may_change_it_is_offered_to() {
        let shown = |user, open| {
            let frame = Frame {
                user,
                ..Frame::default()
            };
            page(frame, document(), open, Timestamp::UNIX_EPOCH)
                .render()
                .unwrap()
        };
        assert!(shown(Some(0), true).contains("/release\""));
        assert!(!shown(Some(7), false).contains("/release\""));
        assert!(!shown(None, true).contains("/release\""));
    }

    #[test]
    fn the_way_to_the_trace_is_there_where_there_is_one() {
        let url = "http://127.0.0.1:16686/trace/0af7";
        let shown = |sampled: bool, leads: bool| {
            let mut lease = document();
            lease.trace_id = sampled.then(|| "0af7".to_owned());
            let mut page = page(Frame::default(), lease, true, Timestamp::UNIX_EPOCH);
            page.trace_url = (sampled && leads).then(|| url.to_owned());
            page.render().unwrap()
        };
        assert!(shown(true, true).contains(&format!("href=\"{url}\"")));
        assert!(!shown(true, false).contains("Open the trace"));
        assert!(!shown(false, false).contains("Trace</dt>"));
    }

    #[test]
    fn time_passes_from_the_grant_to_the_end() {
        let mut lease = document();
        assert!(lifetime(&lease, lease.granted_at).is_none());
        let second =
            |seconds| Timestamp::from_second(lease.granted_at.as_second() + seconds).unwrap();
        let (quarter, all, past) = (second(15), second(60), second(600));
        lease.expires_at = Some(all);
        assert_eq!(lifetime(&lease, quarter).unwrap().passed, 250);
        assert_eq!(lifetime(&lease, past).unwrap().passed, 1000);
    }
}
