//! `/try`: asking what would be granted and why, and then for it.

use std::fmt::Display;
use std::str::FromStr;

use actix_web::web::{Data, Form};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use jiff::Timestamp;

use super::errors::PageError;
use super::format::{Piece, pieces};
use super::frame::{Frame, Params};
use super::page::{Page, see};
use super::part::explanation::{TERMS, Why};
use super::part::form::Field;
use super::part::moved::MoveNote;
use super::part::timing::{TimedRow, timed};
use crate::access::{Viewer, is_cross_site};
use crate::api::AppState;
use crate::api::document::{AllocationDocument, LeaseDocument, LeaseRequest};
use crate::api::leases::document;
use crate::api::problem::{Code, Problem};
use crate::domain::address::host_with_port;
use crate::domain::attempt::printable;
use crate::domain::request::Request;
use crate::domain::selector::Selector;
use crate::engine::Allocated;

/// What can be asked for, by its key in the address.
const KEYS: [&str; 11] = [
    "pool",
    "prefer",
    "port",
    "name",
    "prefer_span",
    "protocol",
    "interface",
    "count",
    "timeout",
    "strategy",
    "handover",
];

/// Number of those that are always shown; the rest is folded.
const USUAL: usize = 4;

/// The page.
#[derive(Debug, Template)]
#[template(path = "try.html")]
pub(super) struct TryPage {
    frame: Frame,
    /// The fields that most requests need.
    fields: Vec<Field>,
    /// The others, which are folded unless one of them is filled in.
    rare: Vec<Field>,
    /// The same request for the button that grants it.
    hidden: Vec<(&'static str, String)>,
    answer: Answer,
}

/// What the request came to.
#[derive(Debug, Default)]
struct Answer {
    /// What is wrong with it.
    wrong: Option<String>,
    /// Whether another site asked for it, and not the reader.
    elsewhere: bool,
    refused: Option<Refused>,
    found: Option<Found>,
}

/// Why nothing would be granted.
#[derive(Debug)]
struct Refused {
    code: String,
    title: String,
    /// Anybody's text.
    detail: String,
    help: Vec<Piece<'static>>,
    timings: Vec<TimedRow>,
}

/// What would be granted.
#[derive(Debug)]
struct Found {
    ports: Vec<FoundPort>,
    /// The ports that these stand in for, and those that were come back to.
    moves: Vec<MoveNote>,
    why: Why,
    timings: Vec<TimedRow>,
    /// Whether something new would be.
    is_new: bool,
}

impl TryPage {
    /// Whether one of the folded fields is filled in.
    fn rare_is_asked(&self) -> bool {
        let rare = KEYS.iter().skip(USUAL);
        let mut asked = self.hidden.iter().map(|(key, _)| key);
        asked.any(|key| rare.clone().any(|rare| rare == key))
    }
}

impl Found {
    /// For which protocol the page of a port is asked.
    fn protocol(&self) -> &'static str {
        self.ports.first().map_or("tcp", |port| port.protocol)
    }
}

/// A port that would be granted.
#[derive(Debug)]
struct FoundPort {
    port: u16,
    protocol: &'static str,
    target: String,
    name: Option<String>,
    /// The lease, where it lives already.
    lease: Option<String>,
}

/// `GET /try[?…]`: the form, and what its request would come to. Nothing is granted here and nothing
/// is left of it, so who may read may ask.
pub(super) async fn show(
    face: Data<AppState>,
    viewer: Viewer,
    frame: Frame,
    params: Params,
    request: HttpRequest,
) -> Page<TryPage> {
    // Each candidate is bound for a moment, which is not for other sites' pages to set off.
    let answer = if is_cross_site(&request) {
        Answer {
            elsewhere: !hidden(&params).is_empty(),
            ..Answer::default()
        }
    } else {
        answer(&face, &viewer, &params).await
    };
    Page(TryPage {
        fields: usual(&face, &params),
        rare: rare(&face, &params),
        hidden: hidden(&params),
        answer,
        frame,
    })
}

/// `POST /try`: grants it.
pub(super) async fn grant(
    face: Data<AppState>,
    viewer: Viewer,
    form: Form<Vec<(String, String)>>,
) -> Result<HttpResponse, PageError> {
    let text = serde_urlencoded::to_string(&form.0).unwrap_or_default();
    let wanted = request(&Params::parse(&text), false)
        .map_err(|wrong| Problem::new(Code::InvalidRequest, wrong))?;
    let granted = face.service.allocate(viewer.caller()?, &wanted).await;
    let granted = granted.map_err(Problem::from)?;
    Ok(see(&lead(&granted)))
}

/// Where to go after a grant: to the lease, or to all of them at once.
fn lead(granted: &Allocated) -> String {
    let page = match &*granted.leases {
        [one] => format!("/leases/{}", one.id),
        _ => format!("/allocations/{}", granted.id),
    };
    let said = if granted.created { "?said=granted" } else { "" };
    format!("{page}{said}")
}

async fn answer(face: &AppState, viewer: &Viewer, params: &Params) -> Answer {
    if hidden(params).is_empty() {
        return Answer::default();
    }
    let wanted = match request(params, true) {
        Ok(wanted) => wanted,
        Err(wrong) => {
            return Answer {
                wrong: Some(wrong),
                ..Answer::default()
            };
        }
    };
    let now = face.service.clock().now();
    match face.service.allocate(&viewer.asker(), &wanted).await {
        Ok(allocated) => Answer {
            found: Some(found(face, &allocated, now)),
            ..Answer::default()
        },
        Err(refusal) => Answer {
            refused: Some(refused(refusal.into(), now)),
            ..Answer::default()
        },
    }
}

fn found(face: &AppState, allocated: &Allocated, now: Timestamp) -> Found {
    let document: AllocationDocument = document(allocated, face.service.clock());
    let lives = |lease: &LeaseDocument| face.service.lease(lease.id).is_some();
    let ports: Vec<FoundPort> = document
        .leases
        .iter()
        .map(|lease| FoundPort {
            port: lease.port.get(),
            protocol: lease.protocol.as_str(),
            target: host_with_port(&lease.host, lease.port),
            name: lease.name.as_ref().map(ToString::to_string),
            lease: lives(lease).then(|| lease.id.to_string()),
        })
        .collect();
    Found {
        is_new: ports.iter().any(|port| port.lease.is_none()),
        moves: allocated.moves.iter().map(MoveNote::of).collect(),
        ports,
        why: Why::from(&allocated.explanation),
        timings: timed(document.conflicts, now),
    }
}

fn refused(problem: Problem, now: Timestamp) -> Refused {
    let code = Code::parse(&problem.code);
    Refused {
        detail: printable(&problem.detail),
        help: code.map(|code| pieces(code.help())).unwrap_or_default(),
        timings: timed(problem.attempts, now),
        title: problem.title,
        code: problem.code,
    }
}

/// What was asked for, to be asked again.
fn hidden(params: &Params) -> Vec<(&'static str, String)> {
    let keys = KEYS.iter();
    keys.filter_map(|key| params.get(key).map(|value| (*key, value.to_owned())))
        .collect()
}

/// The request that the address makes, or what is wrong with it.
fn request(params: &Params, dry_run: bool) -> Result<Request, String> {
    let request = LeaseRequest {
        pool: params.get("pool").map(str::to_owned),
        prefer: number(params, "prefer", "a port from 1 to 65535")?,
        port: number(params, "port", "a port from 1 to 65535")?,
        name: parsed(params, "name")?,
        protocol: parsed(params, "protocol")?,
        interfaces: interfaces(params)?,
        strategy: parsed(params, "strategy")?,
        handover: parsed(params, "handover")?,
        count: number(params, "count", "how many ports, from 1")?,
        prefer_span: number(params, "prefer_span", "how many ports, from 0 to 65535")?,
        timeout: parsed(params, "timeout")?,
        dry_run,
        ..LeaseRequest::default()
    };
    if request.port.is_some() && request.prefer.is_some() {
        return Err("port and prefer exclude each other: leave one empty".to_owned());
    }
    request.parse()
}

fn parsed<T>(params: &Params, key: &str) -> Result<Option<T>, String>
where
    T: FromStr,
    T::Err: Display,
{
    let value = params.get(key).map(|text| text.trim().parse());
    value.transpose().map_err(|wrong| format!("{key}: {wrong}"))
}

/// The errors of numbers do not say what would be right.
fn number<T: FromStr>(params: &Params, key: &str, takes: &str) -> Result<Option<T>, String> {
    let value = params.get(key).map(|text| text.trim().parse());
    value
        .transpose()
        .map_err(|_| format!("{key}: this field takes {takes}"))
}

fn interfaces(params: &Params) -> Result<Vec<Selector>, String> {
    let list = params.get("interface").unwrap_or_default().split(',');
    let words = list.map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| word.parse().map_err(|wrong| format!("interface: {wrong}")))
        .collect()
}

/// The first fields of [`KEYS`].
fn usual(face: &AppState, params: &Params) -> Vec<Field> {
    let settings = face.service.settings();
    let pools = settings.pools.keys().map(|name| (name, name));
    let text = |key, label, hint| Field::text(params, key, label, hint);
    vec![
        Field::choice(params, "pool", "Pool", "default", pools),
        text("prefer", "Prefer port", "8080"),
        text("port", "Exactly port", "8080"),
        text("name", "Name", "web"),
    ]
}

/// The others.
fn rare(face: &AppState, params: &Params) -> Vec<Field> {
    let same = |word: &'static str| (word, word);
    let text = |key, label, hint| Field::text(params, key, label, hint);
    let choice = |key, label, known: [&'static str; 3]| {
        Field::choice(params, key, label, "pool's own", known.map(same))
    };
    vec![
        text("prefer_span", "Ports above it", "100"),
        choice("protocol", "Free for", ["tcp", "udp", "both"]),
        text("interface", "Interfaces", "all,!eth0").offering(offers(face)),
        text("count", "How many", "1"),
        text("timeout", "Time to search", "5s"),
        choice("strategy", "Strategy", ["learned", "ordered", "random"]),
        choice("handover", "Hand-over", ["gate", "fd", "release"]),
    ]
}

/// Selectors that mean something on this host.
fn offers(face: &AppState) -> Vec<String> {
    let classes = ["any", "all", "loopback", "private"];
    let mut offers: Vec<String> = classes.map(str::to_owned).to_vec();
    if let Ok(host) = face.service.interfaces().current() {
        let documents = crate::api::interfaces::documents(&host);
        offers.extend(documents.into_iter().map(|interface| interface.name));
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::AllocationId;
    use crate::domain::lease::tests_support::lease;
    use std::sync::Arc;
    use std::time::Duration;

    const HOSTILE: &str = "<script>alert(1)</script>\"'\u{1b}[31m";

    fn hostile_move() -> MoveNote {
        MoveNote {
            from: crate::domain::port::Port::new(1).unwrap(),
            why: HOSTILE.into(),
            is_displaced: true,
            advice: None,
        }
    }

    fn asked(query: &str) -> Result<Request, String> {
        request(&Params::parse(query), true)
    }

    #[test]
    fn the_address_is_the_request() {
        let request = asked(
            "pool=web&prefer=8080&protocol=both&interface=loopback%2C+!eth0&strategy=random\
             &handover=fd&count=3&name=&prefer_span=7&timeout=250ms",
        )
        .unwrap();
        assert_eq!(request.pool.as_deref(), Some("web"));
        assert_eq!(request.prefer, crate::domain::port::Port::new(8080));
        assert_eq!(request.prefer_span, Some(7));
        assert_eq!(request.timeout, Some(Duration::from_millis(250)));
        assert_eq!(request.interfaces.len(), 2);
        assert_eq!(request.port_count(), 3);
        assert!(request.dry_run && request.names.is_empty());
        assert!(
            !super::request(&Params::parse("count=1"), false)
                .unwrap()
                .dry_run
        );
    }

    #[test]
    fn what_is_wrong_names_its_field() {
        for (query, key) in [
            ("prefer=x", "prefer: "),
            ("port=70000", "port: "),
            ("port=0", "port: "),
            ("count=0", "count: "),
            ("prefer=1&prefer_span=-1", "prefer_span: "),
            ("timeout=soon", "timeout: "),
            ("name=..%2Fetc", "name: "),
            ("protocol=sctp", "protocol: "),
            ("strategy=best", "strategy: "),
            ("interface=!any", "interface: "),
            ("port=1&prefer=2", "port and prefer"),
        ] {
            let wrong = asked(query).unwrap_err();
            assert!(wrong.starts_with(key), "{query}: {wrong}");
        }
    }

    #[test]
    fn a_grant_leads_to_its_lease_and_several_to_all_of_them() {
        let mut granted = Allocated {
            moves: Vec::new(),
            id: AllocationId(uuid::Uuid::from_u128(9)),
            created: true,
            dry: false,
            attempt_count: 1,
            leases: vec![Arc::new(lease(20_000))],
            explanation: crate::domain::explanation::Explanation::default(),
            conflicts: Vec::new(),
            trace: None,
        };
        let one = "/leases/00000000-0000-0000-0000-000000004e20";
        assert_eq!(lead(&granted), format!("{one}?said=granted"));
        granted.created = false;
        assert_eq!(lead(&granted), one, "nothing new was granted");
        granted.created = true;
        granted.leases.push(Arc::new(lease(20_001)));
        let all = "/allocations/00000000-0000-0000-0000-000000000009?said=granted";
        assert_eq!(lead(&granted), all);
    }

    #[test]
    fn hostile_texts_are_inert_and_only_who_is_logged_in_can_allocate() {
        let params = Params::default().with("name", HOSTILE);
        let mut page = TryPage {
            frame: Frame::default(),
            fields: vec![Field::text(&params, "name", "Name", "web")],
            rare: vec![Field::text(&params, "name", "Name", "web")],
            hidden: hidden(&params),
            answer: Answer {
                wrong: Some(HOSTILE.into()),
                elsewhere: true,
                refused: Some(refused(
                    Problem::new(Code::PortInUse, HOSTILE),
                    Timestamp::UNIX_EPOCH,
                )),
                found: Some(Found {
                    ports: Vec::new(),
                    moves: vec![hostile_move()],
                    why: Why::default(),
                    timings: Vec::new(),
                    is_new: true,
                }),
            },
        };
        let html = page.render().unwrap();
        assert!(!html.contains("<script>alert"), "{html}");
        assert!(!html.contains("style="), "{html}");
        assert!(!html.contains("method=\"post\" action=\"/try\""));
        assert!(html.contains("href=\"/login\""));
        page.frame.user = Some(1000);
        let html = page.render().unwrap();
        assert!(html.contains("method=\"post\" action=\"/try\""));
    }
}
