//! Keys in the engine, below the prefix of the fleet.

use super::draw::place;
use crate::domain::claim::Number;
use crate::domain::fleet::HostName;
use crate::domain::lease::Name;

/// Makes and reads the keys of one fleet. Hosts and names have no `/`, so no key leaves its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Returns the keys below `prefix`, which ends with `/`.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// Beginning of the keys of all sessions.
    pub fn sessions(&self) -> String {
        format!("{}session/", self.prefix)
    }

    /// Beginning of the keys of one host's sessions.
    pub fn sessions_of(&self, host: &HostName) -> String {
        format!("{}session/{host}/", self.prefix)
    }

    /// Key of a session.
    pub fn session(&self, host: &HostName, session: &str) -> String {
        format!("{}{session}", self.sessions_of(host))
    }

    /// Beginning of the keys of all names.
    pub fn names(&self) -> String {
        format!("{}name/", self.prefix)
    }

    /// Beginning of the keys of one name.
    pub fn names_of(&self, name: &Name) -> String {
        format!("{}name/{name}/", self.prefix)
    }

    /// Key of a published lease.
    pub fn name(&self, name: &Name, host: &HostName, lease: &str) -> String {
        format!("{}{host}/{lease}", self.names_of(name))
    }

    /// Beginning of the keys of all claims.
    pub fn claims(&self) -> String {
        format!("{}claim/", self.prefix)
    }

    /// Key of the claim on a number.
    pub fn claim(&self, number: Number) -> String {
        format!("{}{}/{}", self.claims(), number.protocol, number.port)
    }

    /// Beginning of the keys of numbers that are reserved on every host.
    pub fn everywhere(&self) -> String {
        format!("{}everywhere/", self.prefix)
    }

    /// Key of a number that is reserved on every host.
    pub fn everywhere_of(&self, number: Number) -> String {
        format!("{}{}/{}", self.everywhere(), number.protocol, number.port)
    }

    /// Beginning of the keys of what hosts say.
    pub fn hosts(&self) -> String {
        format!("{}host/", self.prefix)
    }

    /// Beginning of the keys of what one host says of reserved numbers.
    pub fn stands_of(&self, host: &HostName) -> String {
        format!("{}{host}/everywhere/", self.hosts())
    }

    /// Key of what a host says of a reserved number.
    pub fn stand(&self, host: &HostName, number: Number) -> String {
        format!(
            "{}{}/{}",
            self.stands_of(host),
            number.protocol,
            number.port
        )
    }

    /// Beginning of the keys of what hosts know of their ports.
    pub fn priors(&self) -> String {
        format!("{}prior/", self.prefix)
    }

    /// Beginning of the keys of hosts that have this place among the others.
    pub fn priors_at(&self, place: u64) -> String {
        format!("{}{place:016x}/", self.priors())
    }

    /// Key of what a host knows of its ports. Its place follows from the host's name, so that neighbours have
    /// nothing else in common, and a host that begins anywhere reads any hosts.
    pub fn prior(&self, host: &HostName) -> String {
        format!("{}{host}", self.priors_at(place(host)))
    }

    /// Host of a key. `None` if it is not that of what a host knows of its ports.
    pub fn read_prior(&self, key: &str) -> Option<HostName> {
        let host: HostName = key
            .strip_prefix(&self.priors())?
            .split_once('/')?
            .1
            .parse()
            .ok()?;
        // Nothing is read at a place that the name does not lead to.
        (self.prior(&host) == key).then_some(host)
    }

    /// Key that keeps all hosts from new claims for as long as it is there.
    pub fn hold(&self) -> String {
        format!("{}hold", self.prefix)
    }

    /// Key of the host that marks and frees what ended sessions had.
    pub fn duty(&self) -> String {
        format!("{}duty/sweep", self.prefix)
    }

    /// Beginning of the keys that measure how long sessions have been gone.
    pub fn all_gone(&self) -> String {
        format!("{}gone/", self.prefix)
    }

    /// Key that is there for `seconds` from the time at which a session was seen to have ended.
    pub fn gone(&self, session: &str, seconds: u64) -> String {
        format!("{}{session}/{seconds}", self.all_gone())
    }

    /// Number of a key. `None` if it is no key of a number that is reserved on every host.
    pub fn read_everywhere(&self, key: &str) -> Option<Number> {
        let number = number(key.strip_prefix(&self.everywhere())?)?;
        // Another spelling of a number is no second one.
        (self.everywhere_of(number) == key).then_some(number)
    }

    /// Host and number of a key. `None` if it is not that of what a host says of a reserved number.
    pub fn read_stand(&self, key: &str) -> Option<(HostName, Number)> {
        let (host, rest) = key.strip_prefix(&self.hosts())?.split_once('/')?;
        let host: HostName = host.parse().ok()?;
        let number = number(rest.strip_prefix("everywhere/")?)?;
        (self.stand(&host, number) == key).then_some((host, number))
    }

    /// Number of a key. `None` if it is no key of a claim.
    pub fn read_claim(&self, key: &str) -> Option<Number> {
        let number = number(key.strip_prefix(&self.claims())?)?;
        // Another spelling of a number claims nothing.
        (self.claim(number) == key).then_some(number)
    }

    /// Host and session of a key. `None` if it is no key of a session.
    pub fn read_session<'k>(&self, key: &'k str) -> Option<(HostName, &'k str)> {
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix("session/")?;
        let (host, session) = rest.split_once('/')?;
        Some((host.parse().ok()?, plain_id(session)?))
    }

    /// Name, host and lease of a key. `None` if it is no key of a name.
    pub fn read_name<'k>(&self, key: &'k str) -> Option<(Name, HostName, &'k str)> {
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix("name/")?;
        let (name, rest) = rest.split_once('/')?;
        let (host, lease) = rest.split_once('/')?;
        Some((name.parse().ok()?, host.parse().ok()?, plain_id(lease)?))
    }
}

/// Number of a protocol and a port with a `/` between them.
fn number(text: &str) -> Option<Number> {
    let (protocol, port) = text.split_once('/')?;
    Some(Number {
        protocol: protocol.parse().ok()?,
        port: port.parse().ok()?,
    })
}

/// An id of another host: 1 to 64 letters, digits and dashes.
pub fn plain_id(text: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::port::Protocol;

    #[test]
    fn keys_are_read_as_they_were_made_and_others_are_ignored() {
        let keys = Keys::new("/portbook/v1/");
        let (host, name): (HostName, Name) = ("a.lan".parse().unwrap(), "web@2".parse().unwrap());
        let session = keys.session(&host, "0190-aa");
        assert_eq!(session, "/portbook/v1/session/a.lan/0190-aa");
        assert_eq!(keys.read_session(&session), Some((host.clone(), "0190-aa")));
        let key = keys.name(&name, &host, "0190-bb");
        assert_eq!(key, "/portbook/v1/name/web@2/a.lan/0190-bb");
        assert_eq!(keys.read_name(&key), Some((name, host, "0190-bb")));
        for strange in [
            "/portbook/v1/session/a/b/c",
            "/portbook/v1/session//s",
            "/portbook/v1/session/a/",
            "/portbook/v2/session/a/s",
            "/portbook/v1/name/../a/s",
            "/portbook/v1/name/w/a/\u{1b}[2J",
            "/portbook/v1/later/a/s",
        ] {
            assert_eq!(keys.read_session(strange), None, "{strange}");
            assert_eq!(keys.read_name(strange), None, "{strange}");
            assert_eq!(keys.read_claim(strange), None, "{strange}");
        }
    }

    #[test]
    fn documents_are_read_at_the_place_of_their_host_alone() {
        let keys = Keys::new("/f/");
        let host: HostName = "a.lan".parse().unwrap();
        let key = keys.prior(&host);
        assert_eq!(keys.read_prior(&key), Some(host));
        assert!(key.starts_with(&keys.priors()) && !key.starts_with(&keys.hosts()));
        for strange in [
            key.replace("a.lan", "b.lan"),
            key.replace("a.lan", "A.lan"),
            format!("{key}/x"),
            "/f/prior/a.lan".to_owned(),
            "/f/host/a.lan/prior".to_owned(),
        ] {
            assert_eq!(keys.read_prior(&strange), None, "{strange}");
        }
    }

    #[test]
    fn keys_of_claims_are_read_as_they_were_made() {
        let keys = Keys::new("/f/");
        let number = Number {
            protocol: Protocol::Udp,
            port: "9100".parse().unwrap(),
        };
        assert_eq!(keys.claim(number), "/f/claim/udp/9100");
        assert_eq!(keys.read_claim("/f/claim/udp/9100"), Some(number));
        for strange in [
            "/f/claim/udp/0",
            "/f/claim/icmp/1",
            "/f/claim/udp/1/2",
            "/f/claim/udp/+9100",
            "/f/claim/",
        ] {
            assert_eq!(keys.read_claim(strange), None, "{strange}");
        }
    }

    #[test]
    fn keys_of_reserved_numbers_are_read_as_they_were_made() {
        let keys = Keys::new("/f/");
        let host: HostName = "a.lan".parse().unwrap();
        let number = Number {
            protocol: Protocol::Tcp,
            port: "9100".parse().unwrap(),
        };
        assert_eq!(keys.everywhere_of(number), "/f/everywhere/tcp/9100");
        assert_eq!(keys.read_everywhere("/f/everywhere/tcp/9100"), Some(number));
        let said = keys.stand(&host, number);
        assert_eq!(said, "/f/host/a.lan/everywhere/tcp/9100");
        assert_eq!(keys.read_stand(&said), Some((host, number)));
        for strange in [
            "/f/everywhere/tcp/+9100",
            "/f/host/a/b/everywhere/tcp/1",
            "/f/host/a/state",
        ] {
            assert_eq!(keys.read_everywhere(strange), None, "{strange}");
            assert_eq!(keys.read_stand(strange), None, "{strange}");
        }
    }
}
