//! The frame of every page: the navigation, the reader, and the result of the last action; and the
//! query of a page's address.

use std::borrow::Cow;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};

use crate::access::Viewer;
use crate::api::AppState;
use crate::api::events::latest_id;
use crate::domain::attempt::printable;
use crate::domain::lease::LeaseId;

/// The offer to take a release back: a form below the sentence about it.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Target of the form.
    pub action: String,
    pub ids: Vec<LeaseId>,
    /// Query of the list to return to.
    pub back: String,
}

/// The pages of the navigation, by address.
const PAGES: [(&str, &str); 8] = [
    ("/", "Overview"),
    ("/map", "Port map"),
    ("/leases", "Leases"),
    ("/attempts", "Attempts"),
    ("/interfaces", "Interfaces"),
    ("/try", "Try it"),
    ("/status", "Status"),
    ("/config", "Configuration"),
];

/// Page of the navigation on a host that is in a fleet.
const FLEET: (&str, &str) = ("/fleet", "Fleet");

/// Place of [`FLEET`] in the navigation: before the status.
const FLEET_AT: usize = 6;

/// Pages of the navigation that other pages belong to, by the first part of their addresses.
const SECTIONS: [(&str, &str); 3] = [
    ("/ports", "/map"),
    ("/allocations", "/attempts"),
    ("/conflicts", "/leases"),
];

/// Sentences about the last action, by the word in the address. They are fixed, so that a link cannot
/// put words into a page. [`releasing`](super::releasing) has the sentence about a release.
const SAYINGS: [(&str, &str); 10] = [
    ("renewed", "Renewed."),
    ("noted", "The note is on the lease."),
    ("unnoted", "The note is removed."),
    (
        "granted",
        "Granted: portbook holds the port until its owner binds it.",
    ),
    (
        "kept",
        "Kept: portbook holds the port for this name until its owner binds it.",
    ),
    (
        "excluded",
        "Excluded: portbook does not grant this port any more.",
    ),
    ("included", "Included: portbook can grant the port again."),
    ("logged-in", "Logged in."),
    ("logged-out", "Logged out: this console is read-only now."),
    ("nothing", "No lease was chosen."),
];

#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// The user that the reader is logged in as.
    pub user: Option<u32>,
    /// Address of the page with its query.
    pub here: String,
    /// A sentence about the last action.
    pub said: Option<Cow<'static, str>>,
    /// The offer to take the last action back.
    pub undo: Option<Offer>,
    /// Text in the search box.
    pub search: String,
    /// Whether this host is in a fleet.
    pub has_fleet: bool,
    /// Id of the latest event on the page; the script asks for the events after it.
    pub last_event: String,
}

/// A page of the navigation.
#[derive(Debug, Clone, Copy)]
pub struct PageLink {
    pub href: &'static str,
    pub label: &'static str,
    /// Value of `aria-current`: "page" on the page itself, "true" on a page that belongs to it.
    pub current: Option<&'static str>,
}

impl Frame {
    /// The frame of the requested page.
    pub fn of(request: &HttpRequest, viewer: &Viewer) -> Self {
        let query = Params::of(request);
        let said = query.get("said");
        let face = request.app_data::<Data<AppState>>();
        Self {
            user: viewer.caller().ok().map(|caller| caller.uid),
            here: request.uri().to_string(),
            said: SAYINGS
                .iter()
                .find_map(|(word, saying)| (Some(*word) == said).then_some((*saying).into())),
            undo: None,
            search: query.get("q").unwrap_or_default().to_owned(),
            has_fleet: face.is_some_and(|face| face.service.fleet().status().host.is_some()),
            last_event: face
                .map(|face| latest_id(face.service.journal()))
                .unwrap_or_default(),
        }
    }

    /// The navigation.
    pub fn pages(&self) -> Vec<PageLink> {
        let path = self.here.split('?').next().unwrap_or_default();
        let section = section(path);
        let (before, after) = PAGES.split_at(FLEET_AT);
        let fleet = self.has_fleet.then_some(FLEET);
        let pages = before.iter().copied().chain(fleet);
        let pages = pages.chain(after.iter().copied());
        let link = |(href, label)| PageLink {
            href,
            label,
            current: match href {
                _ if href == path => Some("page"),
                _ if href == section => Some("true"),
                _ => None,
            },
        };
        pages.map(link).collect()
    }
}

/// Address of the page of the navigation that a page belongs to.
fn section(path: &str) -> &str {
    // The first part of the path, with the slash before it.
    let end = path.match_indices('/').nth(1).map(|(at, _)| at);
    let first = end.map_or(path, |end| &path[..end]);
    let mut known = SECTIONS.iter();
    known
        .find_map(|(begin, section)| (*begin == first).then_some(*section))
        .unwrap_or(first)
}

impl FromRequest for Frame {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let viewer = Viewer::from_request(request, payload).into_inner();
        ready(Ok(viewer.map_or_else(
            |_| Self::default(),
            |viewer| Self::of(request, &viewer),
        )))
    }
}

/// Keys that links to other pages leave out.
const OF_ONE_PAGE: [&str; 5] = ["said", "released", "undone", "before", "choose"];

/// The query of a page's address, which has all state of the page. Links change one key of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// The query of a request; empty if it cannot be read.
    pub fn of(request: &HttpRequest) -> Self {
        Self::parse(request.query_string())
    }

    /// Parses a query. Empty values are left out, since forms send every field. Pages show the values,
    /// so control characters are replaced; no text on record contains any.
    pub fn parse(query: &str) -> Self {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        Self(
            pairs
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(key, value)| (key, printable(&value)))
                .collect(),
        )
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|(name, value)| (name == key).then_some(value.as_str()))
    }

    /// Changes the value of one key. The sentence about the last action is left out, and a list begins
    /// at its first page.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> Self {
        let mut changed = self.without(key);
        changed.0.push((key.to_owned(), value.to_owned()));
        changed
    }

    /// Removes a key, and those that belong to this page only.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        let kept =
            |(name, _): &&(String, String)| name != key && !OF_ONE_PAGE.contains(&name.as_str());
        Self(self.0.iter().filter(kept).cloned().collect())
    }

    /// The keys with their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// A link to a page with this query.
    pub fn link(&self, path: &str) -> String {
        format!("{path}{}", self.query())
    }

    /// The query with its question mark; empty without keys.
    pub fn query(&self) -> String {
        match serde_urlencoded::to_string(&self.0) {
            Ok(text) if !text.is_empty() => format!("?{text}"),
            _ => String::new(),
        }
    }
}

impl FromRequest for Params {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_change_one_key() {
        let params =
            Params::parse("?outcome=in_use&pool=&before=7&released=7".trim_start_matches('?'));
        assert_eq!(
            params.with("pool", "a b").query(),
            "?outcome=in_use&pool=a+b"
        );
        assert_eq!(params.without("outcome").query(), "");
        assert_eq!(params.get("pool"), None);
    }

    #[test]
    fn section_of_the_page_is_current() {
        let frame = |here: &str| Frame {
            here: here.to_owned(),
            ..Frame::default()
        };
        let current = |here: &str| {
            let pages = frame(here).pages();
            let marked = pages.iter();
            marked
                .filter_map(|page| Some((page.label, page.current?)))
                .collect::<Vec<_>>()
        };
        assert_eq!(current("/leases?x=/map"), [("Leases", "page")]);
        assert_eq!(current("/leases/1?x=/map"), [("Leases", "true")]);
        assert_eq!(current("/ports/tcp/8080"), [("Port map", "true")]);
        assert_eq!(current("/allocations/1"), [("Attempts", "true")]);
        assert_eq!(current("/conflicts"), [("Leases", "true")]);
        assert_eq!(current("/"), [("Overview", "page")]);
        assert_eq!(current("/errors/not_found"), []);
        assert_eq!(current(""), []);
    }
}
