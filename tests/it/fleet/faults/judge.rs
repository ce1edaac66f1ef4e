//! Comparison of the account with what the engine has.

use std::collections::{BTreeMap, BTreeSet};

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

/// Claims without a lease, or of a session that has ended.
pub fn left_over(held: &[Grant], keys: &Keys) -> Vec<String> {
    let unique = held.iter().filter(|grant| grant.token.is_some());
    let wanted = unique.map(|grant| format!("{CLAIM}{}", grant.port));
    beside(CLAIM, &wanted.collect(), keys)
}

/// Names without a lease, or of a session that has ended, and names that are not published.
pub fn unpublished(held: &[Grant], keys: &Keys) -> Vec<String> {
    let named = held.iter().filter_map(|grant| {
        let name = grant.name.as_ref()?;
        let key = format!("{NAME}{name}/{}/{}", grant.host, grant.lease);
        Some((key, grant.port))
    });
    let wanted: BTreeMap<String, u64> = named.collect();
    let mut found = beside(NAME, &wanted.keys().cloned().collect(), keys);
    for (key, port) in wanted {
        let told = keys.get(&key).map(|key| &key.value["port"]);
        if told.is_none_or(|told| *told != port) {
            found.push(format!("{key} of {port} says {told:?}"));
        }
    }
    found
}

/// Keys of a kind that are not wanted, or whose session has ended.
fn beside(kind: &str, wanted: &BTreeSet<String>, keys: &Keys) -> Vec<String> {
    let of_kind = keys.iter().filter(|(key, _)| key.starts_with(kind));
    let beside = of_kind.filter(|(key, value)| !wanted.contains(*key) || !is_live(value, keys));
    beside
        .map(|(key, value)| format!("{key} has no lease or session: {value:?}"))
        .collect()
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
        assert_eq!(unpublished(&held(), &settled()), [""; 0]);
        assert_eq!(left_over(&held(), &settled()), [""; 0]);
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
    fn claims_without_lease_or_session_are_left_over() {
        let mut keys = settled();
        put(&mut keys, "claim/tcp/81", 9, claim("one", "d"));
        assert_eq!(left_over(&held(), &keys).len(), 1);
        let mut away = claim("one", "a");
        away["state"] = "away".into();
        put(&mut keys, "claim/tcp/80", 5, away);
        assert_eq!(left_over(&held(), &keys).len(), 2);
        let mut keys = settled();
        keys.remove("/portbook/v1/session/one/s");
        assert_eq!(left_over(&held(), &keys).len(), 1);
    }

    #[test]
    fn names_that_are_missing_or_have_no_lease_are_unpublished() {
        let mut keys = settled();
        put(
            &mut keys,
            "name/web/one/d",
            9,
            json!({"port": 80, "session": "s"}),
        );
        assert_eq!(unpublished(&held(), &keys).len(), 1);
        put(
            &mut keys,
            "name/local/one/b",
            7,
            json!({"port": 91, "session": "s"}),
        );
        assert_eq!(unpublished(&held(), &keys).len(), 2);
        let mut keys = settled();
        keys.remove("/portbook/v1/name/web/one/a");
        assert_eq!(unpublished(&held(), &keys).len(), 1);
    }
}
