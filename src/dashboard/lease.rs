//! `/leases/{id}`: one lease, living or ended, with the forms that renew, release and annotate it.

mod story;
mod taken;

use actix_web::HttpResponse;
use actix_web::web::{Data, Form, Path};
use askama::Template;
use jiff::Timestamp;
use serde::Deserialize;

use self::story::Story;
use self::taken::Taken;
use super::errors::PageError;
use super::filters;
use super::frame::{Frame, Params};
use super::page::{Page, see};
use super::part::lease::{Ends, LeaseRow};
use super::releasing::{self, Wish};
use crate::access::Viewer;
use crate::answers::document::LeaseDocument;
use crate::answers::leases;
use crate::api::AppState;
use crate::api::problem::{Code, Problem};
use crate::domain::duration::HumanDuration;
use crate::domain::lease::LeaseId;
use crate::domain::pool::DEFAULT_POOL;

#[derive(Debug, Template)]
#[template(path = "lease.html")]
pub(super) struct LeasePage {
    frame: Frame,
    now: Timestamp,
    row: LeaseRow,
    /// The program that took the port. `None` if the lease is not lost.
    taken: Option<Taken>,
    story: Story,
    /// The trace in a viewer. `None` if there is no trace or no viewer.
    trace_url: Option<String>,
}

/// Reads the id in the address of a lease's page.
pub(super) fn id(text: &str) -> Result<LeaseId, Problem> {
    let wrong = "this is not the id of a lease: `portbook list` shows the ids";
    text.parse()
        .map_err(|_| Problem::new(Code::NotFound, wrong))
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
    let undo = format!("/leases/{id}/undo");
    releasing::announce(&face, &viewer, &mut frame, &params, &undo).await;
    releasing::offer_undo(&face, &viewer, &mut frame, id, &undo).await;
    let row = LeaseRow::of(find(&face, id).await?, &viewer);
    let trace = row.lease.trace_id.as_deref();
    let span = row.lease.span_id.as_deref();
    let telemetry = &face.service.settings().telemetry;
    let story = Story::read(&face, &viewer, &row.lease).await;
    Ok(Page(LeasePage {
        taken: Taken::of(&row.lease, &story).filter(|_| row.open),
        story,
        trace_url: trace.and_then(|trace| telemetry.trace_link(trace, span)),
        now: face.service.clock().now(),
        frame,
        row,
    }))
}

/// A living lease from the books, or an ended one from the record.
async fn find(face: &AppState, id: LeaseId) -> Result<LeaseDocument, Problem> {
    if let Some(lease) = face.service.lease(id) {
        return Ok(leases::document(&face.service, &lease));
    }
    let stored = face.service.store().lease(id).await?;
    let stored = stored.ok_or_else(|| Problem::new(Code::NotFound, "this lease does not exist"));
    Ok(LeaseDocument::of(&stored?.lease, face.service.clock()))
}

impl LeasePage {
    fn may_change(&self) -> bool {
        let lease = &self.row.lease;
        self.frame.user.is_some() && self.row.open && lease.ended_at.is_none() && !lease.is_own()
    }

    /// The part of its time that a living lease has passed, in thousandths.
    fn passed(&self) -> Option<i64> {
        let lease = &self.row.lease;
        let ends = [lease.claim_by, lease.expires_at].into_iter().flatten();
        let end = ends.min().filter(|_| lease.ended_at.is_none())?;
        let begin = lease.granted_at.as_millisecond();
        let (all, passed) = (
            end.as_millisecond() - begin,
            self.now.as_millisecond() - begin,
        );
        Some((passed.saturating_mul(1000) / all.max(1)).clamp(0, 1000))
    }

    /// Lines for a shell and for a unit, with their labels. They hold no text from outside.
    fn snippets(&self) -> Vec<(&'static str, String)> {
        let lease = &self.row.lease;
        let (host, port) = (&lease.host, lease.port);
        let mut snippets = vec![
            ("Environment", format!("PORT={port} HOST={host}")),
            ("Request", format!("curl -s {}", lease.url)),
            ("Wait until it listens", format!("portbook wait {port}")),
        ];
        if let Some(name) = &lease.name {
            let pool = match &*lease.pool {
                DEFAULT_POOL => String::new(),
                pool => format!(" --pool {pool}"),
            };
            let scope = if lease.directory.is_some() {
                " --scope dir"
            } else {
                ""
            };
            snippets.push((
                "systemd",
                format!(
                    "ExecStart=portbook run --name {name}{scope}{pool} -- PROGRAM --port {{port}}"
                ),
            ));
        }
        snippets
    }
}

/// The form that renews a lease.
#[derive(Debug, Deserialize)]
pub(super) struct Renewal {
    #[serde(default)]
    ttl: String,
}

/// The form that writes a note.
#[derive(Debug, Deserialize)]
pub(super) struct NoteForm {
    note: String,
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
    let caller = viewer.caller()?;
    let renewed = face.service.renew(caller, id, ttl.map(|span| span.0)).await;
    renewed.map_err(Problem::from)?;
    Ok(see(&format!("/leases/{id}?said=renewed")))
}

/// `POST /leases/{id}/note`
pub(super) async fn note(
    face: Data<AppState>,
    viewer: Viewer,
    path: Path<String>,
    form: Form<NoteForm>,
) -> Result<HttpResponse, PageError> {
    let (id, text) = (id(&path)?, form.note.trim());
    let noted = face.service.note(viewer.caller()?, id, text).await;
    noted.map_err(Problem::from)?;
    let said = if text.is_empty() { "unnoted" } else { "noted" };
    Ok(see(&format!("/leases/{id}?said={said}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dashboard::part::lease::tests_support::row;
    use crate::domain::lease::tests_support::lease;

    fn page(user: Option<u32>) -> LeasePage {
        LeasePage {
            frame: Frame {
                user,
                ..Frame::default()
            },
            now: Timestamp::UNIX_EPOCH,
            row: row(&lease(20_000)),
            taken: None,
            story: Story::default(),
            trace_url: None,
        }
    }

    #[test]
    fn labels_are_inert() {
        let mut page = page(None);
        let labels = &mut page.row.lease.labels;
        labels.insert("<i>".into(), "\"'><script>\u{1b}[31m".into());
        let text = page.render().unwrap();
        assert!(!text.contains("<script>") && !text.contains("<i>") && !text.contains('\u{1b}'));
    }

    #[test]
    fn only_its_user_can_release_it() {
        let shown = |user, open| {
            let mut page = page(user);
            page.row.open = open;
            page.render().unwrap()
        };
        assert!(shown(Some(0), true).contains("/release\""));
        assert!(!shown(Some(7), false).contains("/release\""));
        assert!(!shown(None, true).contains("/release\""));
    }

    #[test]
    fn trace_link_only_when_sampled() {
        let url = "http://127.0.0.1:16686/trace/0af7";
        let shown = |sampled: bool, leads: bool| {
            let mut page = page(None);
            page.row.lease.trace_id = sampled.then(|| "0af7".to_owned());
            page.trace_url = (sampled && leads).then(|| url.to_owned());
            page.render().unwrap()
        };
        assert!(shown(true, true).contains(&format!("href=\"{url}\"")));
        assert!(!shown(true, false).contains("Open the trace"));
        assert!(!shown(false, false).contains("Trace</dt>"));
    }

    #[test]
    fn time_passes_from_the_grant_to_the_end() {
        let mut page = page(None);
        assert_eq!(page.passed(), None);
        page.row.lease.expires_at = Some(page.now + Duration::from_mins(1));
        page.now += Duration::from_secs(15);
        assert_eq!(page.passed(), Some(250));
        page.now += Duration::from_mins(10);
        assert_eq!(page.passed(), Some(1000));
    }
}
