//! Variables that follow from names, and those that a project file spells out.

use std::collections::BTreeMap;

use super::{Group, Groups, HostVariable, Side, Variables, Wrong};
use crate::domain::variable::{Variable, misread};

impl Groups {
    /// Variables of all groups that are not merely referred to.
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

    /// Adds the variables of a service's `env`.
    fn written_out(&self, index: usize, found: &mut Found) -> Result<(), Wrong> {
        let group = &self.0[index];
        for (variable, text) in &group.wishes.env {
            let value = self.filled(text, Some(index), Side::Client)?;
            found.add(variable.as_str(), value, &owner(group))?;
        }
        Ok(())
    }
}

impl Group {
    /// First port under a variable, and all ports if a number was asked for.
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

/// Words for the group that a variable belongs to.
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
    /// Adds the variables that follow from a name.
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

    /// Adds the host for clients if they cannot connect to the bound one, such as a wildcard.
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
