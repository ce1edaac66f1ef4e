//! Ports as a program is told of them: environment variables and words in its arguments.
//!
//! `run`, `env` and the check of a project file share this: what is wrong is found before a port is
//! asked for, with ports that stand for those to come.

use std::collections::BTreeMap;

use super::lease::Name;
use super::placeholder::{Placeholder, Value, fill};
use super::port::Port;
use super::variable::{Variable, misread};

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

/// What a project file says about the variables of one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// The port variable. `None` means `NAME_PORT`.
    pub variable: Option<Variable>,
    /// The host variable.
    pub host_variable: HostVariable,
    /// The host that clients are told. `None` means the lease's.
    pub host: Option<String>,
    /// More variables, each with the text that its placeholders stand in.
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
    /// What the project file says.
    pub wishes: Wishes,
    /// Whether others only refer to it: it has no variables then.
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
    /// Variables that are not set since another program reads something else from them, and what.
    pub left_out: Vec<(String, &'static str)>,
}

/// Whose host a placeholder stands for.
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
        /// The names that there are, or that there are none.
        known: String,
    },
    /// Several could be meant.
    #[error("{written}: several names were asked for: say which, such as {example}")]
    Ambiguous {
        /// The placeholder.
        written: String,
        /// The same for the first name.
        example: String,
    },
    /// An index beyond the last port.
    #[error("{written}: there is no such port: {there_are}")]
    NoSuchPort {
        /// The placeholder.
        written: String,
        /// What there is.
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
        /// What sets it first.
        one: String,
        /// What sets it again.
        other: String,
    },
}

/// The names of a request that give the same variables, as it is said of them.
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
    /// The variables of all that is not only referred to.
    pub fn variables(&self) -> Result<Variables, Wrong> {
        let mut found = Found::default();
        let own = || self.0.iter().filter(|group| !group.only_referred_to);
        for group in own() {
            found.derived(group)?;
        }
        for (index, group) in self.0.iter().enumerate() {
            if !group.only_referred_to {
                self.written_out(index, &mut found)?;
            }
        }
        let mut variables = found.finish();
        if let (Some(only), 1) = (own().next(), own().count()) {
            for (variable, value) in bare(only) {
                variables.values.entry(variable).or_insert(value);
            }
        }
        Ok(variables)
    }

    /// The variables of a service's `env`.
    fn written_out(&self, index: usize, found: &mut Found) -> Result<(), Wrong> {
        let group = &self.0[index];
        for (variable, text) in &group.wishes.env {
            let value = self.filled(text, Some(index), Side::Client)?;
            found.add(variable.as_str(), value, &owner(group))?;
        }
        Ok(())
    }

    /// A text with its placeholders filled. Those without a name mean the group at `own`, or else
    /// the only one.
    pub fn filled(&self, text: &str, own: Option<usize>, side: Side) -> Result<String, Wrong> {
        fill(text, |placeholder, written| {
            let group = self.meant(placeholder, written, own)?;
            group.value(placeholder, written, side)
        })
    }

    /// The first port of a name, or the port at an index over all names: what `--env` can say.
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
                return Ok(match side {
                    Side::Program => self.bind_host.clone(),
                    Side::Client => self.client_host.clone(),
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

    /// Its port under a variable, and all of them where several were asked for.
    fn ports_under(&self, variable: &str) -> Vec<(String, String)> {
        let first = self.ports.first().map(|port| (variable.to_owned(), *port));
        let mut pairs: Vec<(String, String)> = first
            .into_iter()
            .map(|(variable, port)| (variable, port.to_string()))
            .collect();
        if self.numbered {
            let numbered = self.ports.iter().enumerate();
            pairs.extend(numbered.map(|(i, port)| (format!("{variable}_{i}"), port.to_string())));
            pairs.push((format!("{variable}_COUNT"), self.ports.len().to_string()));
        }
        pairs
    }
}

/// `PORT` and `HOST`, for the only group.
fn bare(group: &Group) -> Vec<(String, String)> {
    let mut pairs = group.ports_under("PORT");
    if group.wishes.host_variable != HostVariable::Off {
        pairs.push(("HOST".to_owned(), group.bind_host.clone()));
    }
    pairs
}

/// What a variable belongs to, as it is said.
fn owner(group: &Group) -> String {
    let name = group.name.as_ref();
    name.map_or_else(|| "the request".to_owned(), ToString::to_string)
}

/// Variables so far, each with its value and its owner.
#[derive(Default)]
struct Found {
    values: BTreeMap<String, (String, String)>,
    left_out: Vec<(String, &'static str)>,
}

impl Found {
    /// The variables that a name gives.
    fn derived(&mut self, group: &Group) -> Result<(), Wrong> {
        let Some(name) = &group.name else {
            return Ok(());
        };
        let (prefix, owner) = (name.env_prefix(), owner(group));
        let wishes = &group.wishes;
        let derived = format!("{prefix}_PORT");
        let variable = wishes.variable.as_ref().map_or(&*derived, Variable::as_str);
        for (variable, value) in group.ports_under(variable) {
            self.add_unless_misread(&variable, value, &owner, wishes.variable.is_some())?;
        }
        let host = match &wishes.host_variable {
            HostVariable::Off => return Ok(()),
            HostVariable::Named(variable) => {
                self.add(variable.as_str(), group.bind_host.clone(), &owner)?;
                return self.client(group, &prefix, &owner);
            }
            HostVariable::Derived => format!("{prefix}_HOST"),
        };
        self.add_unless_misread(&host, group.bind_host.clone(), &owner, false)?;
        self.client(group, &prefix, &owner)
    }

    /// Where the program is to bind what no client can connect to, the client's host as well.
    fn client(&mut self, group: &Group, prefix: &str, owner: &str) -> Result<(), Wrong> {
        if group.client_host == group.bind_host {
            return Ok(());
        }
        let variable = format!("{prefix}_CLIENT_HOST");
        self.add_unless_misread(&variable, group.client_host.clone(), owner, false)
    }

    fn add_unless_misread(
        &mut self,
        variable: &str,
        value: String,
        owner: &str,
        asked_for: bool,
    ) -> Result<(), Wrong> {
        match misread(variable).filter(|_| !asked_for) {
            Some(why) => {
                self.left_out.push((variable.to_owned(), why));
                Ok(())
            }
            None => self.add(variable, value, owner),
        }
    }

    fn add(&mut self, variable: &str, value: String, owner: &str) -> Result<(), Wrong> {
        let twice = self
            .values
            .insert(variable.to_owned(), (value, owner.to_owned()));
        twice.map_or(Ok(()), |(_, one)| {
            Err(Wrong::Twice {
                variable: variable.to_owned(),
                one,
                other: owner.to_owned(),
            })
        })
    }

    fn finish(self) -> Variables {
        let values = self.values.into_iter();
        Variables {
            values: values.map(|(name, (value, _))| (name, value)).collect(),
            left_out: self.left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, ports: &[u16]) -> Group {
        Group {
            name: name.parse().ok(),
            ports: ports.iter().filter_map(|port| Port::new(*port)).collect(),
            in_a_row: false,
            numbered: ports.len() > 1,
            bind_host: "127.0.0.1".to_owned(),
            client_host: "127.0.0.1".to_owned(),
            wishes: Wishes::default(),
            only_referred_to: false,
        }
    }

    fn listed(groups: &Groups) -> Vec<String> {
        let variables = groups.variables().unwrap().values.into_iter();
        variables
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    fn filled(groups: &Groups, text: &str) -> Result<String, String> {
        let filled = groups.filled(text, None, Side::Program);
        filled.map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn several_ports_without_a_name_are_numbered() {
        let groups = Groups(vec![group("", &[10, 20])]);
        assert_eq!(
            listed(&groups),
            [
                "HOST=127.0.0.1",
                "PORT=10",
                "PORT_0=10",
                "PORT_1=20",
                "PORT_COUNT=2"
            ]
        );
        assert_eq!(
            filled(&groups, "{port}{port.0}+{port.1}").unwrap(),
            "1010+20"
        );
        let beyond = filled(&groups, "{port.7}").unwrap_err();
        assert!(
            beyond.contains("there are 2, {port.0} to {port.1}"),
            "{beyond}"
        );
        assert!(filled(&groups, "{port+1}").unwrap_err().contains("block"));
        assert!(
            filled(&groups, "{web.port}")
                .unwrap_err()
                .contains("no names")
        );
        assert_eq!(
            filled(&groups, "{\"port\": ${port}}").unwrap(),
            "{\"port\": ${port}}"
        );
    }

    #[test]
    fn one_name_has_its_own_and_bare_variables() {
        let mut ray = group("ray", &[10, 11]);
        ray.in_a_row = true;
        let groups = Groups(vec![ray]);
        let all = listed(&groups);
        for expected in ["PORT=10", "PORT_1=11", "RAY_PORT_1=11", "RAY_PORT_COUNT=2"] {
            assert!(all.iter().any(|it| it == expected), "{expected}: {all:?}");
        }
        assert_eq!(filled(&groups, "{ray.port+1} {port+0}").unwrap(), "11 10");
        assert!(filled(&groups, "{port+2}").is_err());
    }

    #[test]
    fn several_names_have_no_bare_variables() {
        let groups = Groups(vec![group("web", &[10]), group("api", &[20])]);
        assert_eq!(
            listed(&groups),
            [
                "API_HOST=127.0.0.1",
                "API_PORT=20",
                "WEB_HOST=127.0.0.1",
                "WEB_PORT=10"
            ]
        );
        let said = filled(&groups, "{port}").unwrap_err();
        assert!(said.contains("such as {web.port}"), "{said}");
        assert!(
            filled(&groups, "{host}")
                .unwrap_err()
                .contains("{web.host}")
        );
        assert!(
            filled(&groups, "{x.port}")
                .unwrap_err()
                .contains("there are web, api")
        );
        assert_eq!(groups.port_of("api"), Port::new(20));
        assert_eq!(groups.port_of("1"), Port::new(20));
        assert_eq!(groups.port_of("2"), None);
    }

    #[test]
    fn two_names_with_one_variable_are_refused() {
        let groups = Groups(vec![group("my-api", &[1]), group("my_api", &[2])]);
        let said = groups.variables().unwrap_err().to_string();
        assert!(
            said.contains("my-api and my_api both set MY_API_PORT"),
            "{said}"
        );
        let names: Vec<Name> = ["Web", "web"].map(|name| name.parse().unwrap()).to_vec();
        assert!(twins(&names).is_some());
        assert_eq!(twins(&names[..1]), None);
    }

    #[test]
    fn misread_variables_are_left_out_unless_asked_for() {
        let mut docker = group("docker", &[1]);
        let left_out = Groups(vec![docker.clone()]).variables().unwrap();
        assert_eq!(left_out.left_out[0].0, "DOCKER_HOST");
        assert!(!left_out.values.contains_key("DOCKER_HOST"));
        docker.wishes.host_variable = HostVariable::Named("DOCKER_HOST".parse().unwrap());
        let asked_for = Groups(vec![docker]).variables().unwrap();
        assert_eq!(asked_for.values["DOCKER_HOST"], "127.0.0.1");
        assert!(asked_for.left_out.is_empty());
    }

    #[test]
    fn clients_are_told_another_host_than_a_wildcard() {
        let mut web = group("web", &[8]);
        web.bind_host = "0.0.0.0".to_owned();
        let url = "http://{host}:{port}".to_owned();
        web.wishes.env.insert("URL".parse().unwrap(), url);
        let groups = Groups(vec![web]);
        let values = groups.variables().unwrap().values;
        assert_eq!(values["HOST"], "0.0.0.0");
        assert_eq!(values["WEB_CLIENT_HOST"], "127.0.0.1");
        assert_eq!(values["URL"], "http://127.0.0.1:8");
        assert_eq!(filled(&groups, "{host}").unwrap(), "0.0.0.0");
    }
}
