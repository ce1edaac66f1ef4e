//! The request that the address of the page makes, and the form for it.

use std::fmt::Display;
use std::str::FromStr;

use crate::answers::document::LeaseRequest;
use crate::api::AppState;
use crate::dashboard::frame::Params;
use crate::dashboard::part::form::Field;
use crate::domain::request::Request;
use crate::domain::selector::Selector;

/// The fields of a request, by their keys in the address.
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

/// Number of [`KEYS`] that are always shown; the rest is folded.
const USUAL: usize = 4;

/// The values in the address, so that a form can send them again.
pub(super) fn values(params: &Params) -> Vec<(&'static str, String)> {
    let keys = KEYS.iter();
    keys.filter_map(|key| params.get(key).map(|value| (*key, value.to_owned())))
        .collect()
}

/// Whether one of the folded fields has a value.
pub(super) fn has_rare(values: &[(&'static str, String)]) -> bool {
    let mut keys = values.iter().map(|(key, _)| key);
    keys.any(|key| KEYS[USUAL..].contains(key))
}

/// Reads the request, or tells which field is wrong.
pub(super) fn request(params: &Params, dry_run: bool) -> Result<Request, String> {
    let request = LeaseRequest {
        pool: params.get("pool").map(str::to_owned),
        prefer: number(params, "prefer", "a port from 1 to 65535")?,
        port: number(params, "port", "a port from 1 to 65535")?,
        name: parsed(params, "name")?,
        protocol: parsed(params, "protocol")?,
        interfaces: interfaces(params)?,
        strategy: parsed(params, "strategy")?,
        handover: parsed(params, "handover")?,
        count: number(params, "count", "a number of ports, from 1")?,
        prefer_span: number(params, "prefer_span", "a number of ports, from 0 to 65535")?,
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

/// Reads a number. The standard library's errors do not tell which numbers are right.
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

/// The fields that are always shown.
pub(super) fn usual_fields(face: &AppState, params: &Params) -> Vec<Field> {
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

/// The folded fields.
pub(super) fn rare_fields(face: &AppState, params: &Params) -> Vec<Field> {
    let same = |word: &'static str| (word, word);
    let text = |key, label, hint| Field::text(params, key, label, hint);
    let choice = |key, label, known: [&'static str; 3]| {
        Field::choice(params, key, label, "pool's own", known.map(same))
    };
    vec![
        text("prefer_span", "Ports above it", "100"),
        choice("protocol", "Free for", ["tcp", "udp", "both"]),
        text("interface", "Interfaces", "all,!eth0").offering(offers(face)),
        text("count", "Number of ports", "1"),
        text("timeout", "Time to search", "5s"),
        choice("strategy", "Strategy", ["learned", "ordered", "random"]),
        choice("handover", "Hand-over", ["gate", "fd", "release"]),
    ]
}

/// Selectors that this host has addresses for.
fn offers(face: &AppState) -> Vec<String> {
    let classes = ["any", "all", "loopback", "private"];
    let mut offers: Vec<String> = classes.map(str::to_owned).to_vec();
    if let Ok(host) = face.service.interfaces().current() {
        let documents = crate::answers::interfaces::documents(&host);
        offers.extend(documents.into_iter().map(|interface| interface.name));
    }
    offers
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::port::Port;

    fn asked(query: &str) -> Result<Request, String> {
        request(&Params::parse(query), true)
    }

    #[test]
    fn address_is_the_request() {
        let request = asked(
            "pool=web&prefer=8080&protocol=both&interface=loopback%2C+!eth0&strategy=random\
             &handover=fd&count=3&name=&prefer_span=7&timeout=250ms",
        )
        .unwrap();
        assert_eq!(request.pool.as_deref(), Some("web"));
        assert_eq!(request.prefer, Port::new(8080));
        assert_eq!(request.prefer_span, Some(7));
        assert_eq!(request.timeout, Some(Duration::from_millis(250)));
        assert_eq!(request.interfaces.len(), 2);
        assert_eq!(request.port_count(), 3);
        assert!(request.dry_run && request.names.is_empty());
        let granting = super::request(&Params::parse("count=1"), false).unwrap();
        assert!(!granting.dry_run);
    }

    #[test]
    fn faults_name_their_field() {
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
    fn folded_fields_are_noticed() {
        let has_rare = |query: &str| has_rare(&values(&Params::parse(query)));
        assert!(!has_rare("pool=web&port=80&other=1"));
        assert!(has_rare("pool=web&timeout=5s"));
    }
}
