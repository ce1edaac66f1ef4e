//! What a project file says about a service's variables. The file may come from anybody, so nothing
//! in it may reach a shell or a loader as something else than the text that it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::finding::Problem;
use super::project::Service;
use super::reader::{Reader, Section};
use crate::domain::placeholder::{Piece, pieces};
use crate::domain::port::Port;
use crate::domain::text::from_text;
use crate::domain::variable::Variable;
use crate::domain::variables::{Group, Groups, HostVariable, Side, Wishes};

/// Longest name of a host (RFC 1035 section 2.3.4).
const LONGEST_HOST: usize = 253;

/// A host that can stand in a URL and in a shell without quotes: an address, or a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct AdvertisedHost(pub String);

impl FromStr for AdvertisedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let label = |label: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(allowed)
        };
        let is_name = text.len() <= LONGEST_HOST && text.split('.').all(label);
        if is_name || text.parse::<IpAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "{text:?} is no host: write an address or a name, without port and brackets"
        ))
    }
}

from_text!(AdvertisedHost);

/// A host variable as it is written: a name, or `false`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostVariableSetting(pub HostVariable);

impl Serialize for HostVariableSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            HostVariable::Derived => serializer.serialize_none(),
            HostVariable::Named(variable) => variable.serialize(serializer),
            HostVariable::Off => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for HostVariableSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HostVariableVisitor)
    }
}

struct HostVariableVisitor;

impl Visitor<'_> for HostVariableVisitor {
    type Value = HostVariableSetting;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name of a variable, or false")
    }

    fn visit_bool<E: de::Error>(self, derived: bool) -> Result<HostVariableSetting, E> {
        Ok(HostVariableSetting(if derived {
            HostVariable::Derived
        } else {
            HostVariable::Off
        }))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<HostVariableSetting, E> {
        let variable = text.parse().map_err(E::custom)?;
        Ok(HostVariableSetting(HostVariable::Named(variable)))
    }
}

/// Reads what `section`, the table of one service, says about its variables.
pub(super) fn wishes(section: &mut Section<'_, '_>) -> Wishes {
    let host_variable = |setting: &HostVariableSetting| match &setting.0 {
        HostVariable::Named(variable) => harmless(variable),
        _ => Ok(()),
    };
    let host: Option<AdvertisedHost> = section.optional("host", None);
    Wishes {
        variable: section.optional_checked("variable", None, harmless),
        host_variable: section
            .optional_checked("host_variable", None, host_variable)
            .map_or_else(HostVariable::default, |setting| setting.0),
        host: host.map(|host| host.0),
        env: env(section),
    }
}

fn env(section: &mut Section<'_, '_>) -> BTreeMap<Variable, String> {
    let mut found = BTreeMap::new();
    let Some(mut table) = section.table("env") else {
        return found;
    };
    for name in table.names() {
        let variable = name.parse::<Variable>();
        let variable = variable.map_err(|error| Problem::from_message(&error.to_string()));
        let text = table.optional_checked::<String>(&name, None, plain);
        match variable.and_then(|variable| harmless(&variable).map(|()| variable)) {
            Ok(variable) => found.extend(text.map(|text| (variable, text))),
            Err(problem) => table.fail(&name, problem),
        }
    }
    found
}

fn harmless(variable: &Variable) -> Result<(), Problem> {
    if variable.is_dangerous() {
        return Err(Problem::new(
            format!("{variable} changes what shells or programs do, and a project may not set it"),
            "set it yourself where you need it",
        ));
    }
    Ok(())
}

/// A value on one line, whose words in braces are placeholders.
#[expect(clippy::ptr_arg, reason = "a rule is given the setting as it was read")]
fn plain(text: &String) -> Result<(), Problem> {
    if text.chars().any(char::is_control) {
        return Err(Problem::new(
            "a value has a control character",
            "write it on one line",
        ));
    }
    let unknown = pieces(text).into_iter().find_map(|piece| match piece {
        Piece::Unknown(word) => Some(word.to_owned()),
        _ => None,
    });
    unknown.map_or(Ok(()), |word| {
        Err(Problem::new(
            format!("{word} is no placeholder"),
            "write {host}, {port}, {port.1}, {port+1}, or with a service before: {web.port}",
        ))
    })
}

/// Finds placeholders that cannot be filled and variables that two services set.
pub(super) fn check(services: &[Service], reader: &mut Reader<'_>) {
    let mut groups = Groups(services.iter().map(Service::to_come).collect());
    for (index, service) in services.iter().enumerate() {
        for (variable, text) in &service.wishes.env {
            if let Err(wrong) = groups.filled(text, Some(index), Side::Client) {
                let problem = Problem::from_placeholder(&wrong.to_string());
                reader
                    .section(["services", service.name.as_str(), "env"])
                    .fail(variable.as_str(), problem);
            }
        }
    }
    // What cannot be filled has been told; what two services set comes last.
    for end in 1..=services.len() {
        let known = Groups(groups.0[..end].iter().map(without_text).collect());
        if let Err(wrong) = known.variables() {
            let name = services[end - 1].name.as_str();
            let problem = Problem::from_message(&wrong.to_string());
            reader.section(["services", name]).fail_here(problem);
            // One finding a pair: the second of it counts no more.
            groups.0[end - 1].only_referred_to = true;
        }
    }
}

/// A group whose variables are named, but have nothing to be filled.
fn without_text(group: &Group) -> Group {
    let mut group = group.clone();
    group.wishes.env.values_mut().for_each(String::clear);
    group
}

impl Service {
    /// The ports that it will have, for a look at its variables before there are any.
    pub fn to_come(&self) -> Group {
        let count = self
            .count
            .or(self.block)
            .map_or(1, std::num::NonZeroU32::get);
        Group {
            name: Some(self.name.clone()),
            ports: (1..=u16::try_from(count).unwrap_or(u16::MAX))
                .filter_map(Port::new)
                .collect(),
            in_a_row: self.block.is_some(),
            numbered: self.count.or(self.block).is_some(),
            bind_host: String::new(),
            client_host: String::new(),
            wishes: self.wishes.clone(),
            only_referred_to: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_cannot_break_out_of_urls_or_shells() {
        for good in ["127.0.0.1", "::1", "web.localhost", "my_host", "localhost"] {
            assert!(good.parse::<AdvertisedHost>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "a;b",
            "$(id)",
            "a/b",
            "[::1]",
            "a:80",
            "a@b",
            "-a",
            "a..b",
            "a\n",
            "é",
            "fe80::1%eth0",
            "'",
            "a#b",
        ] {
            assert!(bad.parse::<AdvertisedHost>().is_err(), "{bad:?} was taken");
        }
    }
}
