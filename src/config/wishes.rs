//! Variables of a service in a project file. The file may come from an untrusted repository, so its
//! texts must reach shells and loaders as plain texts alone.

use std::collections::BTreeMap;

use super::finding::Problem;
use super::reader::Section;
use super::value::AdvertisedHost;
use crate::domain::placeholder::{Piece, pieces};
use crate::domain::variable::Variable;
use crate::domain::variables::{HostVariable, Wishes};

/// Settings of a service about its variables.
pub(super) const SETTINGS: [&str; 4] = ["variable", "host_variable", "host", "env"];

/// Reads the settings about variables out of the table of one service.
pub(super) fn wishes(section: &mut Section<'_, '_>) -> Wishes {
    let host: Option<AdvertisedHost> = section.setting("host", None, |_| Ok(()));
    Wishes {
        variable: section.setting("variable", None, harmless),
        host_variable: section.setting("host_variable", HostVariable::Derived, |variable| {
            match variable {
                HostVariable::Named(variable) => harmless(variable),
                _ => Ok(()),
            }
        }),
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
        let text = table.setting(&name, None::<String>, plain);
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
