//! Targets of `who` and `wait`: a port, several, or a lease by its name.

use std::str::FromStr;

use super::Failure;
use super::named::{Here, Lookup};
use crate::answers::document::LeaseDocument;
use crate::domain::port::{Port, PortSet};

/// A port, several of them, or a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// One port.
    Port(Port),
    /// Ranges and lists of ports.
    Ports(PortSet),
    /// Name or id of a lease.
    Lease(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            if let Ok(port) = text.parse() {
                return Ok(Self::Port(port));
            }
            let digits = |c: char| c.is_ascii_digit() || matches!(c, '-' | ',' | ' ');
            if text.chars().all(digits) {
                let ports = text.parse().map(Self::Ports);
                return ports.map_err(|error: <PortSet as FromStr>::Err| error.to_string());
            }
        }
        if text.is_empty() {
            return Err("give a port, a range such as 3000-3010, or a name".to_owned());
        }
        Ok(Self::Lease(text.to_owned()))
    }
}

const LOOKUP: Lookup = Lookup {
    command: "who",
    has_all: false,
    id: |lease| lease.id.to_string(),
};

/// Living leases that a name or id means here; at least one.
pub(super) fn leases(living: &[LeaseDocument], word: &str) -> Result<Vec<LeaseDocument>, Failure> {
    Here::now().find(living, word, false, LOOKUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ports_and_words_are_names() {
        let of = |text: &str| text.parse::<Target>();
        assert_eq!(of("80"), Ok(Target::Port(Port::new(80).unwrap())));
        let ports = "80,3000-3010".parse().unwrap();
        assert_eq!(of("80,3000-3010"), Ok(Target::Ports(ports)));
        for name in ["web", "1st", "3000-web"] {
            assert_eq!(of(name), Ok(Target::Lease(name.to_owned())));
        }
        for wrong in ["", "0", "70000", "3010-3000", "80,0"] {
            assert!(of(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
