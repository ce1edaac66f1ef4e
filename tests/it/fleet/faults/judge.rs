//! Comparison of the account with what the engine has.

use std::collections::BTreeSet;

use super::account::Grant;
use super::members::{Key, Keys};

const CLAIM: &str = "/portbook/v1/claim/tcp/";

const NAME: &str = "/portbook/v1/name/";

/// Grants of unique numbers that the engine does not have, or has as another host's.
pub fn missing(held: &[Grant], keys: &Keys) -> Vec<String> {
    let unique = held.iter().filter(|grant| grant.token.is_some());
    let absent = unique.filter_map(|grant| {
        let key = keys.get(&format!("{CLAIM}{}", grant.port));
        let is_there = key.is_some_and(|key| is_of(key, grant));
        (!is_there).then(|| format!("{grant:?} is not there: {key:?}"))
    });
    absent.collect()
}

fn is_of(key: &Key, grant: &Grant) -> bool {
    let is_own = key.value["host"] == *grant.host && key.value["lease"] == *grant.lease;
    is_own && Some(key.created) == grant.token
}

/// Everything that is not settled yet: claims and names without a lease, claims and names of an ended session,
/// and names that are not published.
pub fn unsettled(held: &[Grant], keys: &Keys) -> Vec<String> {
    let mut found = Vec::new();
    let mut wanted = BTreeSet::new();
    for grant in held {
        if grant.token.is_some() {
            wanted.insert(format!("{CLAIM}{}", grant.port));
        }
        if let Some(name) = &grant.name {
            let key = format!("{NAME}{name}/{}/{}", grant.host, grant.lease);
            let port = keys.get(&key).map(|key| &key.value["port"]);
            if port.is_none_or(|port| *port != grant.port) {
                found.push(format!("{key} of {} says {port:?}", grant.port));
            }
            wanted.insert(key);
        }
    }
    for (key, value) in keys {
        if !key.starts_with(CLAIM) && !key.starts_with(NAME) {
            continue;
        }
        if !wanted.contains(key) {
            found.push(format!("{key} has no lease: {value:?}"));
        } else if !is_live(value, keys) {
            found.push(format!("{key} has no session: {value:?}"));
        }
    }
    found
}

/// Whether a key is one of a session that lives, and not marked as one of an ended one.
fn is_live(key: &Key, keys: &Keys) -> bool {
    let session = key.value["session"].as_str().unwrap_or("none");
    let is_marked = key.value["state"] == "away" || key.value["is_away"] == true;
    let is_session =
        |key: &String| key.starts_with("/portbook/v1/session/") && key.ends_with(session);
    !is_marked && keys.keys().any(is_session)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn held() -> Vec<Grant> {
        let grant = |lease: &str, port, token, name: Option<&str>| Grant {
            host: "one".to_owned(),
            lease: lease.to_owned(),
            port,
            token,
            name: name.map(str::to_owned),
        };
        vec![
            grant("a", 80, Some(5), Some("web")),
            grant("b", 90, None, Some("local")),
        ]
    }

    fn settled() -> Keys {
        let mut keys = Keys::new();
        put(&mut keys, "session/one/s", 1, json!({}));
        put(&mut keys, "claim/tcp/80", 5, claim("one", "a"));
        put(
            &mut keys,
            "name/web/one/a",
            6,
            json!({"port": 80, "session": "s", "state": "assigned"}),
        );
        put(
            &mut keys,
            "name/local/one/b",
            7,
            json!({"port": 90, "session": "s"}),
        );
        keys
    }

    fn put(keys: &mut Keys, key: &str, created: u64, value: Value) {
        keys.insert(format!("/portbook/v1/{key}"), Key { created, value });
    }

    fn claim(host: &str, lease: &str) -> Value {
        json!({"host": host, "lease": lease, "session": "s", "state": "held"})
    }

    #[test]
    fn engine_with_every_grant_and_nothing_else_is_settled() {
        assert_eq!(missing(&held(), &settled()), [""; 0]);
        assert_eq!(unsettled(&held(), &settled()), [""; 0]);
    }

    #[test]
    fn claim_that_is_gone_or_of_another_or_made_anew_is_missing() {
        let mut keys = settled();
        for (created, value) in [
            (5, claim("two", "a")),
            (5, claim("one", "c")),
            (8, claim("one", "a")),
        ] {
            put(&mut keys, "claim/tcp/80", created, value);
            assert_eq!(missing(&held(), &keys).len(), 1, "{keys:?}");
        }
        keys.remove("/portbook/v1/claim/tcp/80");
        assert_eq!(missing(&held(), &keys).len(), 1);
    }

    #[test]
    fn claims_and_names_without_lease_or_session_are_unsettled() {
        let mut keys = settled();
        put(&mut keys, "claim/tcp/81", 9, claim("one", "d"));
        put(
            &mut keys,
            "name/web/one/d",
            9,
            json!({"port": 81, "session": "s"}),
        );
        put(
            &mut keys,
            "name/local/one/b",
            7,
            json!({"port": 91, "session": "s", "is_away": true}),
        );
        // The port of the third and its mark are two things that are not settled.
        assert_eq!(unsettled(&held(), &keys).len(), 4, "{keys:?}");
        let mut keys = settled();
        keys.remove("/portbook/v1/name/web/one/a");
        assert_eq!(unsettled(&held(), &keys).len(), 1);
        let mut keys = settled();
        keys.remove("/portbook/v1/session/one/s");
        assert_eq!(unsettled(&held(), &keys).len(), 3);
    }
}
