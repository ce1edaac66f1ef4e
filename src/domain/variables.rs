//! Environment variables and arguments that tell a program its ports.
//!
//! `run`, `env` and the check of a project file share this. With stand-ins for the ports to come, they
//! find mistakes before they ask for a port.

mod derived;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::lease::Name;
use super::placeholder::{Placeholder, Value, fill};
use super::port::Port;
use super::variable::Variable;

/// The host variable of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HostVariable {
    /// `NAME_HOST`.
    #[default]
    Derived,
    /// A name of the user's choice.
    Named(Variable),
    /// No variable.
    Off,
}

/// Wishes of a project file for the variables of one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// The port variable. `None` means `NAME_PORT`.
    pub variable: Option<Variable>,
    /// The host variable.
    pub host_variable: HostVariable,
    /// The host that clients are told. `None` means the lease's.
    pub host: Option<String>,
    /// Further variables, each with a text that may have placeholders.
    pub env: BTreeMap<Variable, String>,
}

/// The ports of one name, or of a request without names.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The name. `None` if none was given.
    pub name: Option<Name>,
    /// The ports, at least one.
    pub ports: Vec<Port>,
    /// Whether they were asked for as a block.
    pub in_a_row: bool,
    /// Whether a number of ports was asked for, so that they are counted even where it is one.
    pub numbered: bool,
    /// The host for the program to bind.
    pub bind_host: String,
    /// The host for its clients.
    pub client_host: String,
    /// Wishes of the project file.
    pub wishes: Wishes,
    /// Whether it is known only because others refer to it. Then it has no variables.
    pub only_referred_to: bool,
}

/// Everything that one command was granted, or is to be granted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Groups(pub Vec<Group>);

/// The variables of a program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variables {
    /// Each with its value.
    pub values: BTreeMap<String, String>,
    /// Variables that are not set because another program uses them, with that use.
    pub left_out: Vec<(String, &'static str)>,
}

/// Side of a connection whose host a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The host to bind, for the program's own arguments.
    Program,
    /// The host to connect to, for variables such as URLs.
    Client,
}

/// A placeholder that cannot be filled, or a variable with two meanings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No such name.
    #[error("{written}: nothing here is called {name}: {known}")]
    NoSuchName {
        /// The placeholder.
        written: String,
        /// Its name.
        name: Name,
        /// Known names, in words.
        known: String,
    },
    /// Several could be meant.
    #[error("{written}: several names were asked for: say which, such as {example}")]
    Ambiguous {
        /// The placeholder.
        written: String,
        /// Placeholder with the first name, as an example.
        example: String,
    },
    /// An index beyond the last port.
    #[error("{written}: there is no such port: {there_are}")]
    NoSuchPort {
        /// The placeholder.
        written: String,
        /// Ports that exist, in words.
        there_are: String,
    },
    /// An offset where the ports are not in a row.
    #[error("{written}: these ports are not in a row: ask for a block")]
    NoBlock {
        /// The placeholder.
        written: String,
    },
    /// Two names give one variable.
    #[error("{one} and {other} both set {variable}: give one of them another name")]
    Twice {
        /// The variable.
        variable: String,
        /// Name that sets it first.
        one: String,
        /// Name that sets it again.
        other: String,
    },
}

/// Finds two names of a request that give one variable.
pub fn twins(names: &[Name]) -> Option<Wrong> {
    let mut seen: BTreeMap<String, &Name> = BTreeMap::new();
    names.iter().find_map(|name| {
        let twin = seen.insert(name.env_prefix(), name)?;
        (twin != name).then(|| Wrong::Twice {
            variable: format!("{}_PORT", name.env_prefix()),
            one: twin.to_string(),
            other: name.to_string(),
        })
    })
}

impl Groups {
    /// Fills the placeholders of a text. Those without a name mean the group at `own`, or else the only
    /// group.
    pub fn filled(&self, text: &str, own: Option<usize>, side: Side) -> Result<String, Wrong> {
        fill(text, |placeholder, written| {
            let group = self.meant(placeholder, written, own)?;
            group.value(placeholder, written, side)
        })
    }

    /// First port of a name, or the port at an index over all names, as `--env` asks for it.
    pub fn port_of(&self, word: &str) -> Option<Port> {
        let own = || self.0.iter().filter(|group| !group.only_referred_to);
        let named = own().find(|group| group.name.as_ref().is_some_and(|it| it.as_str() == word));
        if let Some(group) = named {
            return group.ports.first().copied();
        }
        let index: usize = word.parse().ok()?;
        own().flat_map(|group| &group.ports).nth(index).copied()
    }

    fn meant(
        &self,
        placeholder: &Placeholder,
        written: &str,
        own: Option<usize>,
    ) -> Result<&Group, Wrong> {
        let Some(name) = &placeholder.name else {
            return self.unnamed(written, own);
        };
        let found = self
            .0
            .iter()
            .find(|group| group.name.as_ref() == Some(name));
        found.ok_or_else(|| {
            let known = self.0.iter().filter_map(|group| group.name.as_ref());
            let known: Vec<&str> = known.map(Name::as_str).collect();
            Wrong::NoSuchName {
                written: written.to_owned(),
                name: name.clone(),
                known: match known[..] {
                    [] => "no names were given".to_owned(),
                    [only] => format!("there is {only}"),
                    _ => format!("there are {}", known.join(", ")),
                },
            }
        })
    }

    fn unnamed(&self, written: &str, own: Option<usize>) -> Result<&Group, Wrong> {
        if let Some(group) = own.and_then(|index| self.0.get(index)) {
            return Ok(group);
        }
        let mut own = self.0.iter().filter(|group| !group.only_referred_to);
        match (own.next(), own.next()) {
            (Some(only), None) => Ok(only),
            (first, _) => {
                let name = first.and_then(|group| group.name.as_ref());
                let name = name.map_or("web", Name::as_str);
                Err(Wrong::Ambiguous {
                    written: written.to_owned(),
                    example: format!("{{{name}.{}", written.trim_start_matches('{')),
                })
            }
        }
    }
}

impl Group {
    fn value(&self, placeholder: &Placeholder, written: &str, side: Side) -> Result<String, Wrong> {
        let index = match placeholder.value {
            Value::Host => {
                // A program is always a client of another program's port.
                return Ok(match side {
                    Side::Program if !self.only_referred_to => self.bind_host.clone(),
                    _ => self.client_host.clone(),
                });
            }
            Value::Offset(_) if !self.in_a_row => {
                return Err(Wrong::NoBlock {
                    written: written.to_owned(),
                });
            }
            Value::Offset(index) | Value::Port(index) => index,
        };
        let port = self.ports.get(index).map(ToString::to_string);
        port.ok_or_else(|| Wrong::NoSuchPort {
            written: written.to_owned(),
            there_are: match self.ports.len() {
                1 => "there is one alone, {port}".to_owned(),
                count => format!("there are {count}, {{port.0}} to {{port.{}}}", count - 1),
            },
        })
    }
}
