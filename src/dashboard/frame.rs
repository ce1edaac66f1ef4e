//! What frames every page: where the reader is, who they are, and what was just done.

use std::borrow::Cow;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};

use crate::access::Viewer;
use crate::api::AppState;
use crate::api::events::latest_id;
use crate::domain::attempt::printable;

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

/// Where pages that are not in the navigation belong, by the beginning of their addresses.
const SECTIONS: [(&str, &str); 3] = [
    ("/ports", "/map"),
    ("/allocations", "/attempts"),
    ("/conflicts", "/leases"),
];

/// What pages say after something was done: the word in the address, and the sentence for it. The
/// sentences are fixed, so that no link can make a page say anything; what was released is told by
/// [`releasing`](super::releasing).
const SAYINGS: [(&str, &str); 8] = [
    ("renewed", "Renewed."),
    (
        "granted",
        "Granted: the port is held until its owner comes.",
    ),
    (
        "kept",
        "Kept: the port is held for this name until its owner comes.",
    ),
    ("excluded", "Excluded: nobody is granted this port."),
    ("included", "Included: the port may be granted again."),
    ("logged-in", "Logged in."),
    ("logged-out", "Logged out: this console is read-only now."),
    ("nothing", "Nothing was chosen, so nothing was done."),
];

/// The frame of a page.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// The user that the reader acts as; none for who has not logged in.
    pub user: Option<u32>,
    /// The page's address with its query.
    pub here: String,
    /// What was just done.
    pub said: Option<Cow<'static, str>>,
    /// What stands in the search box.
    pub search: String,
    /// The id of the latest event before the page was made: what comes after it may be missing.
    pub last_event: String,
}

/// A page of the navigation.
#[derive(Debug, Clone, Copy)]
pub struct PageLink {
    /// Its address.
    pub href: &'static str,
    /// What it is called.
    pub label: &'static str,
    /// What `aria-current` says of it: "page" where the reader is on it, "true" where the reader is
    /// on a page that belongs to it.
    pub current: Option<&'static str>,
}

impl Frame {
    /// The frame of the page that is asked for.
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
            search: query.get("q").unwrap_or_default().to_owned(),
            last_event: face
                .map(|face| latest_id(face.service.journal()))
                .unwrap_or_default(),
        }
    }

    /// The navigation.
    pub fn pages(&self) -> [PageLink; 8] {
        let path = self.here.split('?').next().unwrap_or_default();
        let section = section(path);
        PAGES.map(|(href, label)| PageLink {
            href,
            label,
            current: match href {
                _ if href == path => Some("page"),
                _ if href == section => Some("true"),
                _ => None,
            },
        })
    }
}

/// The page of the navigation that a page belongs to, where there is one.
fn section(path: &str) -> &str {
    // The first word of the path, with the slash before it.
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

/// What stands in the address of one page and of no other that it leads to.
const OF_ONE_PAGE: [&str; 3] = ["said", "released", "before"];

/// The query of a page, for links that change one thing of it: all state of a page is in its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// The query of a request; none where it cannot be read.
    pub fn of(request: &HttpRequest) -> Self {
        Self::parse(request.query_string())
    }

    /// The same from text. Empty values are left out: forms send every field. A page shows what it
    /// was asked for, so what would act on a terminal is taken out; nothing on record can be asked
    /// for by it.
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

    /// The first value of this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|(name, value)| (name == key).then_some(value.as_str()))
    }

    /// The same with one value changed. What was said is not said again, and a list begins anew.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> Self {
        let mut changed = self.without(key);
        changed.0.push((key.to_owned(), value.to_owned()));
        changed
    }

    /// The same without a key.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        let kept =
            |(name, _): &&(String, String)| name != key && !OF_ONE_PAGE.contains(&name.as_str());
        Self(self.0.iter().filter(kept).cloned().collect())
    }

    /// As the query of a link, with its question mark; nothing where there is nothing to say.
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
    fn a_link_changes_one_thing() {
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
    fn the_page_that_a_page_belongs_to_is_current() {
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
