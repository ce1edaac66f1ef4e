//! The filter of attempts in the address.

use crate::api::AppState;
use crate::api::attempts::AttemptQuery;
use crate::dashboard::frame::Params;
use crate::dashboard::part::badge::Badge;
use crate::dashboard::part::form::Field;
use crate::dashboard::part::rows;
use crate::domain::attempt::Outcome;
use crate::domain::words::words_of;

/// The keys of a filter, with the names that the API has for them. The key for paging comes last,
/// since a change of any other begins at the first page again.
const KEYS: [&str; 13] = [
    "allocation",
    "outcome",
    "errno",
    "pool",
    "interface",
    "protocol",
    "port",
    "name",
    "uid",
    "strategy",
    "since",
    "until",
    "before",
];

/// The orders of candidates that the record has.
const STRATEGIES: [&str; 4] = ["learned", "ordered", "random", "explicit"];

/// Reads the filter, or tells which key is wrong.
pub(super) fn wanted(params: &Params) -> Result<AttemptQuery, String> {
    for key in KEYS {
        let Some(value) = params.get(key) else {
            continue;
        };
        let alone = Params::default().with(key, value);
        if let Err(wrong) = parsed(&alone) {
            return Err(match key {
                _ if wrong.starts_with(key) => wrong,
                "errno" | "uid" | "before" => format!("{key}: this field takes a number"),
                _ => format!("{key}: {wrong}"),
            });
        }
    }
    parsed(&of_filter(params))
}

fn parsed(params: &Params) -> Result<AttemptQuery, String> {
    let query = params.query();
    serde_urlencoded::from_str(query.trim_start_matches('?')).map_err(|wrong| wrong.to_string())
}

/// The filter without the other keys of the address.
pub(super) fn of_filter(params: &Params) -> Params {
    let keys = KEYS.iter();
    keys.fold(Params::default(), |kept, key| match params.get(key) {
        Some(value) => kept.with(key, value),
        None => kept,
    })
}

/// The address of all rows that pass the filter as a file.
pub(super) fn export(params: &Params, format: &str) -> String {
    let params = of_filter(params).with("format", format);
    params.link("/api/v1/history/attempts")
}

/// The fields of the form.
pub(super) fn fields(face: &AppState, params: &Params) -> Vec<Field> {
    let settings = face.service.settings();
    let outcomes = words_of::<Outcome>().map(|word| (word, Badge::outcome(word).word));
    let pools = settings.pools.keys().map(|name| (name, name));
    let text = |key, label, hint| Field::text(params, key, label, hint);
    let mut fields = vec![
        Field::choice(params, "outcome", "Outcome", "any", outcomes),
        Field::choice(params, "pool", "Pool", "any", pools),
        text("port", "Port or range", "8000-8999"),
        Field::choice(
            params,
            "protocol",
            "Protocol",
            "any",
            [("tcp", "tcp"), ("udp", "udp")],
        ),
        text("interface", "Interface", "eth0").offering(interfaces(face)),
        text("name", "Name of the lease", "web"),
        Field::choice(
            params,
            "strategy",
            "Strategy",
            "any",
            STRATEGIES.map(|word| (word, word)),
        ),
        text("errno", "Error number", "98"),
        text("uid", "Requested by uid", "1000"),
        text("since", "Since", "7d or a date"),
        text("until", "Until", "1h or a date"),
    ];
    fields.push(rows::field(params));
    if params.get("allocation").is_some() {
        fields.push(text("allocation", "Allocation", ""));
    }
    fields
}

/// The names of interfaces, and `any` for wildcard addresses, which belong to no interface.
fn interfaces(face: &AppState) -> Vec<String> {
    let mut names = vec!["any".to_owned()];
    if let Ok(host) = face.service.interfaces().current() {
        let documents = crate::answers::interfaces::documents(&host);
        names.extend(documents.into_iter().map(|interface| interface.name));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_has_the_rows_of_all_pages() {
        let params = Params::parse("q=x&said=granted&outcome=in_use&port=1-9&before=70&pool=a+b");
        assert_eq!(
            export(&params, "csv"),
            "/api/v1/history/attempts?outcome=in_use&pool=a+b&port=1-9&format=csv"
        );
        assert_eq!(wanted(&params).unwrap().before, Some(70));
    }

    #[test]
    fn faults_name_their_field() {
        let wrong = |query: &str| wanted(&Params::parse(query)).unwrap_err();
        assert!(wrong("errno=x&pool=a").starts_with("errno: "));
        assert!(wrong("port=9-1").starts_with("port: \"9-1\""));
        assert!(wrong("since=yesterday").starts_with("since: "));
        assert!(wanted(&Params::parse("page=other")).is_ok());
    }

    #[test]
    fn every_key_is_known_to_the_api() {
        for key in KEYS {
            let refused = parsed(&Params::default().with(key, "\u{0}")).err();
            let refused = refused.unwrap_or_default();
            assert!(!refused.contains("unknown field"), "{key}: {refused}");
        }
    }
}
