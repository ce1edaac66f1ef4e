//! Rules for the settings of the fleet.

use std::net::IpAddr;
use std::time::Duration;

use super::finding::Problem;

/// Shortest and longest session. etcd grants no less than its election time-out, about a second.
const SESSION: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_hours(1);

/// Longest prefix in bytes.
const LONGEST_PREFIX: usize = 64;

#[expect(clippy::ptr_arg, reason = "the shape of a rule")]
pub(super) fn engine_addresses(addresses: &Vec<String>) -> Result<(), Problem> {
    addresses
        .iter()
        .try_for_each(|address| engine_address(address))
}

/// Checks one address of the engine: scheme, host and port. Without TLS it has to be on loopback, where no
/// other host can read along.
pub fn engine_address(address: &str) -> Result<(), Problem> {
    let parsed = address.split_once("://");
    let (scheme, authority) = parsed.unwrap_or_default();
    let authority = authority.trim_end_matches('/');
    let (host, port) = authority.rsplit_once(':').unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let is_whole = matches!(scheme, "http" | "https")
        && !host.is_empty()
        && host.bytes().all(plain)
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    if !is_whole {
        return Err(Problem::new(
            format!("{address:?} is not an address of etcd"),
            "write one such as \"https://etcd-1:2379\", without a user, a password and a path",
        ));
    }
    if scheme == "http" && !is_loopback(host) {
        return Err(Problem::new(
            format!(
                "{address:?} is beyond this host, and without TLS every host between can change what it says"
            ),
            "use https:// with ca, certificate and key, or an etcd on loopback",
        ));
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub(super) fn key_prefix(prefix: &String) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    let holds = prefix.len() <= LONGEST_PREFIX
        && prefix.starts_with('/')
        && prefix.ends_with('/')
        && prefix.bytes().all(plain);
    if holds {
        return Ok(());
    }
    Err(Problem::new(
        format!("{prefix:?} is no prefix of keys"),
        "write one such as \"/portbook/v1/\": it begins and ends with /, and has 64 letters, digits, dots or dashes",
    ))
}

pub(super) fn session_time(length: &Duration) -> Result<(), Problem> {
    if SESSION.contains(length) {
        return Ok(());
    }
    Err(Problem::new(
        format!("a session of {length:?} is too short or too long"),
        "write one from 2s to 1h, such as \"30s\"",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_alone() {
        let good = [
            "https://etcd-1:2379",
            "https://10.0.0.7:2379/",
            "http://127.0.0.1:2379",
            "http://[::1]:2379",
            "http://localhost:2379",
        ];
        for address in good {
            assert!(engine_address(address).is_ok(), "{address}");
        }
        let bad = [
            "http://etcd-1:2379",
            "http://10.0.0.7:2379",
            "http://127.0.0.1.example.com:2379",
            "https://me:secret@etcd:2379",
            "https://etcd",
            "https://etcd:0",
            "https://etcd:2379/path",
            "etcd:2379",
            "unix:///run/etcd:1",
            "",
        ];
        for address in bad {
            assert!(engine_address(address).is_err(), "{address} was taken");
        }
        let hint = engine_address("http://etcd-1:2379")
            .unwrap_err()
            .hint
            .unwrap();
        assert!(hint.contains("https://"), "{hint}");
    }

    #[test]
    fn prefixes_and_sessions_have_bounds() {
        assert!(key_prefix(&"/portbook/v1/".to_owned()).is_ok());
        for bad in [
            "",
            "portbook/",
            "/portbook",
            "/a b/",
            &format!("/{}/", "a".repeat(64)),
        ] {
            assert!(key_prefix(&bad.to_owned()).is_err(), "{bad}");
        }
        assert!(session_time(&Duration::from_secs(30)).is_ok());
        assert!(session_time(&Duration::from_secs(1)).is_err());
        assert!(session_time(&Duration::from_hours(2)).is_err());
    }
}
