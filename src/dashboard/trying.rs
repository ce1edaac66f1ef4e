//! `/try`: the answer that a request would get, with the reasons; and the button that makes it.

mod request;

use actix_web::web::{Data, Form};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::chart::Piece;
use super::chart::timing::timed;
use super::errors::PageError;
use super::filters;
use super::frame::{Frame, Params};
use super::page::{Page, see};
use super::part::explanation::{TERMS, Why};
use super::part::form::Field;
use super::part::moved::MoveNote;
use crate::access::{Viewer, is_cross_site};
use crate::answers::allocations::document;
use crate::answers::document::{AttemptDocument, LeaseDocument};
use crate::api::AppState;
use crate::api::problem::{Code, Problem};
use crate::domain::address::host_with_port;
use crate::domain::lease::LeaseId;
use crate::domain::port::Port;
use crate::engine::Allocated;

#[derive(Debug, Template)]
#[template(path = "try.html")]
pub(super) struct TryPage {
    frame: Frame,
    fields: Vec<Field>,
    /// Folded fields.
    rare: Vec<Field>,
    /// Whether the folded fields are shown, since one of them has a value.
    is_unfolded: bool,
    /// The request again, for the button that makes it.
    hidden: Vec<(&'static str, String)>,
    answer: Answer,
}

/// The answer to the request in the address.
#[derive(Debug)]
enum Answer {
    /// The address has no request.
    Nothing,
    /// The page of another site made the request, so it was not run.
    CrossSite,
    /// The request cannot be read; with the reason.
    Wrong(String),
    Refused(Box<Refused>),
    Found(Box<Found>),
}

#[derive(Debug)]
struct Refused {
    problem: Problem,
    timings: Vec<(AttemptDocument, Piece)>,
}

#[derive(Debug)]
struct Found {
    leases: Vec<LeaseDocument>,
    /// The leases among them that live already.
    living: Vec<LeaseId>,
    /// Moves from the ports that were wanted, and back to them.
    moves: Vec<MoveNote>,
    why: Why,
    timings: Vec<(AttemptDocument, Piece)>,
}

impl Found {
    /// Whether the request would get a new lease.
    fn is_new(&self) -> bool {
        self.leases.len() > self.living.len()
    }

    /// The port, if all leases are on one.
    fn only_port(&self) -> Option<Port> {
        let first = self.leases.first()?.port;
        let is_first = |lease: &LeaseDocument| lease.port == first;
        self.leases.iter().all(is_first).then_some(first)
    }

    fn is_living(&self, lease: &LeaseDocument) -> bool {
        self.living.contains(&lease.id)
    }

    /// Protocol of the pages of ports.
    fn protocol(&self) -> &'static str {
        let lease = self.leases.first();
        lease.map_or("tcp", |lease| lease.protocol.as_str())
    }
}

/// Address that a client connects to.
fn target(lease: &LeaseDocument) -> String {
    host_with_port(&lease.host, lease.port)
}

/// Help for a problem; empty for an unknown code.
fn help(problem: &Problem) -> &'static str {
    Code::parse(&problem.code).map_or("", Code::help)
}

/// `GET /try[?…]`: the form, and the answer that its request would get. The request is a dry run that
/// leaves nothing behind, so every viewer may make it.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    params: Params,
    request: HttpRequest,
) -> Page<TryPage> {
    let hidden = self::request::values(&params);
    let answer = if hidden.is_empty() {
        Answer::Nothing
    } else if is_cross_site(&request) {
        // A dry run binds each candidate for a moment, which other sites' pages must not cause.
        Answer::CrossSite
    } else {
        answer(&face, &viewer, &params).await
    };
    Page(TryPage {
        fields: self::request::usual_fields(&face, &params),
        rare: self::request::rare_fields(&face, &params),
        is_unfolded: self::request::has_rare(&hidden),
        hidden: again(hidden, &answer),
        answer,
        frame,
    })
}

/// The request again, with the port that was shown as the preferred one, unless it has a port itself.
fn again(mut values: Vec<(&'static str, String)>, answer: &Answer) -> Vec<(&'static str, String)> {
    let has_port = values
        .iter()
        .any(|(key, _)| matches!(*key, "port" | "prefer"));
    if let Answer::Found(found) = answer
        && !has_port
        && let Some(port) = found.only_port()
    {
        values.push(("prefer", port.to_string()));
    }
    values
}

/// `POST /try`: makes the request.
pub(super) async fn grant(
    face: Data<AppState>,
    viewer: Viewer,
    form: Form<Vec<(String, String)>>,
) -> Result<HttpResponse, PageError> {
    let text = serde_urlencoded::to_string(&form.0).unwrap_or_default();
    let wanted = self::request::request(&Params::parse(&text), false)
        .map_err(|wrong| Problem::new(Code::InvalidRequest, wrong))?;
    let granted = face.service.allocate(viewer.caller()?, &wanted).await;
    let granted = granted.map_err(Problem::from)?;
    Ok(see(&page_of(&granted)))
}

/// The page of a grant: its lease, or all of its leases.
fn page_of(granted: &Allocated) -> String {
    let page = match &*granted.leases {
        [one] => format!("/leases/{}", one.id),
        _ => format!("/allocations/{}", granted.id),
    };
    let said = if granted.created { "?said=granted" } else { "" };
    format!("{page}{said}")
}

async fn answer(face: &AppState, viewer: &Viewer, params: &Params) -> Answer {
    let wanted = match request::request(params, true) {
        Ok(wanted) => wanted,
        Err(wrong) => return Answer::Wrong(wrong),
    };
    match face.service.allocate(&viewer.asker(), &wanted).await {
        Ok(allocated) => Answer::Found(Box::new(found(face, &allocated))),
        Err(refusal) => Answer::Refused(Box::new(refused(refusal.into()))),
    }
}

fn found(face: &AppState, allocated: &Allocated) -> Found {
    let document = document(allocated, face.service.clock());
    let ids = document.leases.iter().map(|lease| lease.id);
    Found {
        living: ids.filter(|id| face.service.lease(*id).is_some()).collect(),
        leases: document.leases,
        moves: allocated.moves.iter().map(MoveNote::of).collect(),
        why: Why {
            record: allocated.explanation.clone(),
            is_refused: false,
        },
        timings: timed(document.conflicts),
    }
}

fn refused(mut problem: Problem) -> Refused {
    Refused {
        timings: timed(std::mem::take(&mut problem.attempts)),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dashboard::tests_support::{HOSTILE, rendered};
    use crate::domain::explanation::Explanation;
    use crate::domain::lease::AllocationId;
    use crate::domain::lease::tests_support::lease;
    use crate::host::clock::Clock;

    #[test]
    fn grant_leads_to_its_lease_or_leases() {
        let mut granted = Allocated {
            moves: Vec::new(),
            id: AllocationId(uuid::Uuid::from_u128(9)),
            created: true,
            dry: false,
            attempt_count: 1,
            leases: vec![Arc::new(lease(20_000))],
            explanation: Explanation::default(),
            conflicts: Vec::new(),
            trace: None,
        };
        let one = "/leases/00000000-0000-0000-0000-000000004e20";
        assert_eq!(page_of(&granted), format!("{one}?said=granted"));
        granted.created = false;
        assert_eq!(page_of(&granted), one, "nothing new was granted");
        granted.created = true;
        granted.leases.push(Arc::new(lease(20_001)));
        let all = "/allocations/00000000-0000-0000-0000-000000000009?said=granted";
        assert_eq!(page_of(&granted), all);
    }

    fn page(answer: Answer) -> TryPage {
        let params = Params::default().with("name", HOSTILE);
        TryPage {
            frame: Frame::default(),
            fields: vec![Field::text(&params, "name", "Name", "web")],
            rare: vec![Field::text(&params, "name", "Name", "web")],
            is_unfolded: false,
            hidden: request::values(&params),
            answer,
        }
    }

    fn hostile_answer() -> Answer {
        Answer::Found(Box::new(Found {
            leases: vec![LeaseDocument::of(&lease(20_000), &Clock::manual())],
            living: Vec::new(),
            moves: vec![MoveNote {
                from: Port::new(1).unwrap(),
                why: HOSTILE.into(),
                is_displaced: true,
                advice: None,
            }],
            why: Why::default(),
            timings: Vec::new(),
        }))
    }

    #[test]
    fn hostile_texts_are_inert() {
        let refused = refused(Problem::new(Code::PortInUse, HOSTILE));
        let answers = [
            Answer::Nothing,
            Answer::CrossSite,
            Answer::Wrong(HOSTILE.into()),
            Answer::Refused(Box::new(refused)),
            hostile_answer(),
        ];
        for answer in answers {
            rendered(&page(answer));
        }
    }

    #[test]
    fn button_asks_for_the_port_that_was_shown() {
        let pool = || vec![("pool", "default".to_owned())];
        let asked = again(pool(), &hostile_answer());
        assert_eq!(asked[1..], [("prefer", "20000".to_owned())]);
        let number = vec![("port", "20001".to_owned())];
        assert_eq!(again(number.clone(), &hostile_answer()), number);
        assert_eq!(again(pool(), &Answer::Nothing), pool());
    }

    #[test]
    fn only_logged_in_users_can_allocate() {
        let mut page = page(hostile_answer());
        let html = page.render().unwrap();
        assert!(!html.contains("method=\"post\" action=\"/try\""));
        assert!(html.contains("href=\"/login\""));
        page.frame.user = Some(1000);
        let html = page.render().unwrap();
        assert!(html.contains("method=\"post\" action=\"/try\""));
    }
}
