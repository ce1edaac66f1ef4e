//! Values in the engine: JSON of at most [`MOST_BYTES`]. Those of other hosts are foreign input: what
//! does not hold is left out, fields that this version does not know are ignored.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::engine::Entry;
use super::key::{Keys, plain_id};
use crate::domain::attempt::printable;
use crate::domain::claim::{AWAY, FleetClaim, KERNEL_FENCE, LEAST_RECLAIM, Number, UNREADABLE};
use crate::domain::everywhere::EVERYWHERE;
use crate::domain::fleet::{FleetHost, FleetName, HostName};
use crate::domain::lease::{Name, State};
use crate::domain::port::{Port, Protocol};

/// Maximum length of a value in bytes.
pub const MOST_BYTES: usize = 1024;

/// Maximum number of addresses of a host.
pub const MOST_ADDRESSES: usize = 8;

/// Maximum length of a version.
const LONGEST_VERSION: usize = 32;

/// Maximum length of a text of a claim in characters.
const LONGEST_TEXT: usize = 128;

/// State of a lease that this version does not know.
const OTHER_STATE: &str = "other";

/// Value of a session's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionValue {
    /// Id of the data directory.
    pub instance: String,
    /// Boot of the host.
    pub boot: String,
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Guard of the host's unique numbers. This version writes `none`: each claim tells its own.
    #[serde(default)]
    pub fence: String,
    #[serde(default)]
    pub since_ms: i64,
}

/// Value of a published lease's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameValue {
    pub session: String,
    pub protocol: Protocol,
    pub port: Port,
    #[serde(default)]
    pub addresses: Vec<String>,
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub since_ms: i64,
}

/// Value of a claim's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimValue {
    /// Host that has the number.
    pub host: String,
    /// Session in which it was claimed, or claimed again.
    pub session: String,
    #[serde(default)]
    pub pool: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default)]
    pub lease: String,
    /// Random text that tells this claim from all others.
    #[serde(default)]
    pub nonce: String,
    /// Guard of the number on that host.
    #[serde(default)]
    pub fence: String,
    /// Time in seconds after which the number is taken from a host that is gone. 0 if never.
    #[serde(default)]
    pub reclaim_s: u64,
    /// `held`, or `away` once the session was seen to have ended.
    #[serde(default)]
    pub state: String,
}

/// Value of the key of a number that is reserved on every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EverywhereValue {
    pub name: Name,
    #[serde(default)]
    pub since_ms: i64,
}

/// Value of the key of what a host says of a reserved number: `"held"`, or `{"busy": "nginx"}`. No answer yet is
/// `{"taking": "node-exporter"}`; hosts of earlier versions leave it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StandValue {
    Held,
    /// Program that has the number there, or another reason in a few words.
    Busy(String),
    /// The host takes the number for this name at this moment, or was killed at that.
    Taking(Name),
}

/// A claim of which it is not known yet whether its session lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub claim: FleetClaim,
    pub session: String,
}

/// A published lease of which it is not known yet whether its session lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub name: FleetName,
    pub session: String,
}

/// Reads a value. `None` if it is too long, or not such a document.
fn read<T: for<'de> Deserialize<'de>>(value: &[u8]) -> Option<T> {
    if value.len() > MOST_BYTES {
        return None;
    }
    serde_json::from_slice(value).ok()
}

/// Reads the session of a host that is not necessarily itself.
pub fn session(entry: &Entry) -> Option<SessionValue> {
    read(&entry.value)
}

/// Reads a host from the key and the value of its session.
pub fn host(keys: &Keys, entry: &Entry) -> Option<FleetHost> {
    let (host, session) = keys.read_session(&entry.key)?;
    let value: SessionValue = read(&entry.value)?;
    Some(FleetHost {
        host: host.to_string(),
        session: session.to_owned(),
        version: printable(&value.version)
            .chars()
            .take(LONGEST_VERSION)
            .collect(),
        addresses: addresses(&value.addresses),
        since_ms: value.since_ms,
        own: false,
    })
}

/// Reads a published lease from its key and its value.
pub fn name(keys: &Keys, entry: &Entry) -> Option<Published> {
    let (name, host, lease) = keys.read_name(&entry.key)?;
    let value: NameValue = read(&entry.value)?;
    let session = plain_id(&value.session)?.to_owned();
    let state = value.state.parse::<State>();
    Some(Published {
        name: FleetName {
            name: name.to_string(),
            host: host.to_string(),
            lease: lease.to_owned(),
            protocol: value.protocol,
            port: value.port,
            addresses: addresses(&value.addresses),
            state: state.map_or(OTHER_STATE, State::as_str).to_owned(),
            labels: value.labels,
            since_ms: value.since_ms,
            live: false,
            own: false,
        },
        session,
    })
}

/// Reads a number that is reserved on every host from its key and its value, without the answers of hosts.
pub fn everywhere(keys: &Keys, entry: &Entry) -> Option<(Number, EverywhereValue)> {
    let number = keys.read_everywhere(&entry.key)?;
    Some((number, read(&entry.value)?))
}

/// Reads what a host says of a reserved number.
pub fn stand(keys: &Keys, entry: &Entry) -> Option<(HostName, Number, StandValue)> {
    let (host, number) = keys.read_stand(&entry.key)?;
    let value = match read(&entry.value)? {
        StandValue::Busy(why) => StandValue::Busy(reason(&why)),
        other => other,
    };
    Some((host, number, value))
}

/// A reason of a host as others are told it.
pub fn reason(why: &str) -> String {
    printable(why).chars().take(LONGEST_TEXT).collect()
}

/// Reads the value of a claim. `None` if it does not hold: the number is claimed all the same.
pub fn claim_value(entry: &Entry) -> Option<ClaimValue> {
    read(&entry.value)
}

/// Reads a claim from its key and its value. One whose value does not hold has a host without a name.
pub fn claim(keys: &Keys, entry: &Entry) -> Option<Claimed> {
    let number = keys.read_claim(&entry.key)?;
    let value = claim_value(entry);
    let short = |text: &str| {
        printable(text)
            .chars()
            .take(LONGEST_TEXT)
            .collect::<String>()
    };
    let host = holder(entry);
    let value = value.as_ref();
    let text =
        |field: fn(&ClaimValue) -> &str| value.map_or_else(String::new, |it| short(field(it)));
    Some(Claimed {
        claim: FleetClaim {
            port: number.port,
            protocol: number.protocol,
            host: host.unwrap_or_else(|| UNREADABLE.to_owned()),
            pool: text(|value| &value.pool),
            name: value.and_then(|value| value.name.as_deref()).map(short),
            lease: text(|value| &value.lease),
            fence: text(|value| &value.fence),
            fence_token: entry.created,
            live: false,
            own: false,
        },
        session: value.map_or_else(String::new, |value| value.session.clone()),
    })
}

impl ClaimValue {
    /// Time in seconds after which the number is taken from a host that is gone. `None` if no clock takes
    /// it: without a fence the program there may go on. A time that no host would set is not believed.
    pub fn reclaim_s(&self) -> Option<u64> {
        let has_fence = self.fence == KERNEL_FENCE;
        (has_fence && self.reclaim_s >= LEAST_RECLAIM.as_secs()).then_some(self.reclaim_s)
    }
}

/// Parts of a value that matter for the sweep, whether it is a claim's or a name's.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Bound {
    /// Host of a claim. The host of a name is in its key.
    #[serde(default)]
    pub host: String,
    pub session: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    is_away: bool,
}

impl Bound {
    /// Whether the session was seen to have ended.
    pub fn is_marked(&self, is_claim: bool) -> bool {
        if is_claim {
            return self.state == AWAY;
        }
        self.is_away
    }
}

/// Reads what the sweep needs. `None` if it does not hold: such a key is left alone.
pub fn bound(entry: &Entry) -> Option<Bound> {
    let bound: Bound = read(&entry.value)?;
    plain_id(&bound.session)?;
    Some(bound)
}

/// A value with the mark that its session has ended. Fields that this version does not know are kept.
pub fn marked(entry: &Entry, is_claim: bool) -> Option<String> {
    let mut value: serde_json::Map<String, serde_json::Value> = read(&entry.value)?;
    // A name has a state of its own: that of its lease.
    let (field, mark) = if is_claim {
        ("state", AWAY.into())
    } else {
        ("is_away", true.into())
    };
    value.insert(field.to_owned(), mark);
    serde_json::to_string(&value).ok()
}

/// Host of a claim as it is listed. `None` if neither a sweep nor an eviction of that host could take it, since
/// they do not read its value.
pub fn holder(entry: &Entry) -> Option<String> {
    let host = host_of(&claim_value(entry)?)?;
    (host == EVERYWHERE || bound(entry).is_some()).then_some(host)
}

/// Host of a claim. `None` if it is no name of one, nor the sign of all hosts.
pub fn host_of(value: &ClaimValue) -> Option<String> {
    if value.host == EVERYWHERE {
        return Some(EVERYWHERE.to_owned());
    }
    let host: HostName = value.host.parse().ok()?;
    Some(host.to_string())
}

/// Addresses that are some, without those that lead a client back to its own host.
fn addresses(texts: &[String]) -> Vec<String> {
    let parsed = texts.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    let usable = parsed.filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
    usable
        .take(MOST_ADDRESSES)
        .map(|ip| ip.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str) -> Entry {
        Entry {
            key: format!("/f/{key}"),
            value: value.into(),
            created: 1,
            modified: 1,
        }
    }

    #[test]
    fn hostile_values_are_left_out_and_unknown_fields_ignored() {
        let keys = Keys::new("/f/");
        let good = r#"{"session":"s-1","protocol":"tcp","port":8080,"later":[1],
            "addresses":["192.0.2.1","127.0.0.1","0.0.0.0","$(id)"],"state":"<b>"}"#;
        let read = name(&keys, &entry("name/web/h/l", good)).unwrap();
        assert_eq!((read.name.port.get(), &*read.session), (8080, "s-1"));
        assert_eq!(read.name.addresses, ["192.0.2.1"]);
        assert_eq!(read.name.state, OTHER_STATE);
        let long = format!(
            r#"{{"session":"s","protocol":"tcp","port":1,"state":"{}"}}"#,
            "a".repeat(1024)
        );
        let bad = [
            r#"{"session":"s","protocol":"tcp","port":0}"#,
            r#"{"session":"s","protocol":"tcp","port":65536}"#,
            r#"{"session":"s","protocol":"icmp","port":1}"#,
            r#"{"session":"a b","protocol":"tcp","port":1}"#,
            r#"["s"]"#,
            "\u{0}",
            "",
            &long,
        ];
        for value in bad {
            assert_eq!(name(&keys, &entry("name/web/h/l", value)), None, "{value}");
        }
        let mut broken = entry("name/web/h/l", good);
        broken.value = vec![0xff, 0xfe];
        assert_eq!(name(&keys, &broken), None);
        assert_eq!(name(&keys, &entry("name/w b/h/l", good)), None);
    }

    #[test]
    fn claim_with_a_hostile_value_is_a_claim_all_the_same() {
        let keys = Keys::new("/f/");
        for value in ["", "{}", "[1]", r#"{"host":"a/b","session":"s"}"#] {
            let read = claim(&keys, &entry("claim/tcp/9100", value)).unwrap();
            assert_eq!(
                (read.claim.port.get(), &*read.claim.host),
                (9100, UNREADABLE)
            );
        }
        let long = format!(
            r#"{{"host":"b","session":"s","pool":"\u001b{}"}}"#,
            "p".repeat(500)
        );
        let read = claim(&keys, &entry("claim/udp/1", &long)).unwrap().claim;
        assert_eq!(
            (&*read.host, read.pool.chars().count()),
            ("b", LONGEST_TEXT)
        );
        assert!(!read.pool.contains('\u{1b}'));
        assert_eq!(claim(&keys, &entry("claim/tcp/0", "{}")), None);
    }

    #[test]
    fn reserved_numbers_and_answers_of_hosts_hold_or_are_left_out() {
        let keys = Keys::new("/f/");
        let good = entry(
            "everywhere/tcp/9100",
            r#"{"name":"node-exporter","later":1}"#,
        );
        let (number, value) = everywhere(&keys, &good).unwrap();
        assert_eq!(
            (number.port.get(), value.name.as_str()),
            (9100, "node-exporter")
        );
        let bad = [
            ("everywhere/tcp/9100", r#"{"name":"a b"}"#),
            ("everywhere/tcp/9100", r#"{"since_ms":1}"#),
            ("everywhere/tcp/09100", r#"{"name":"n"}"#),
            ("everywhere/tcp/0", r#"{"name":"n"}"#),
            ("everywhere/sctp/1", r#"{"name":"n"}"#),
            ("everywhere/tcp/1/2", r#"{"name":"n"}"#),
        ];
        for (key, value) in bad {
            assert_eq!(everywhere(&keys, &entry(key, value)), None, "{key} {value}");
        }
        let said = |value| stand(&keys, &entry("host/b/everywhere/udp/53", value));
        assert_eq!(said(r#""held""#).unwrap().2, StandValue::Held);
        let long = format!(r#"{{"busy":"\u001b{}"}}"#, "n".repeat(500));
        let StandValue::Busy(why) = said(&long).unwrap().2 else {
            panic!("the host objects");
        };
        assert_eq!(why.chars().count(), LONGEST_TEXT);
        assert!(!why.contains('\u{1b}'));
        for value in ["held", r#""away""#, r#"{"busy":1}"#, "{}", "", "[]"] {
            assert_eq!(said(value), None, "{value}");
        }
        assert_eq!(stand(&keys, &entry("host/b/state", r#""held""#)), None);
        assert_eq!(
            stand(&keys, &entry("host/B/everywhere/udp/53", r#""held""#)),
            None
        );
    }

    #[test]
    fn versions_steer_no_terminal_and_have_an_end() {
        let keys = Keys::new("/f/");
        let version = format!("\\u001b[2J{}", "9".repeat(100));
        let value = format!(r#"{{"instance":"i","boot":"b","version":"{version}"}}"#);
        let host = host(&keys, &entry("session/h/s", &value)).unwrap();
        assert_eq!(host.version.chars().count(), LONGEST_VERSION);
        assert!(!host.version.contains('\u{1b}'));
    }
}
