//! The program that `run` becomes: its arguments, its environment, its sockets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use super::variables::{Asked, all_addresses};
use super::{Failure, note};
use crate::answers::document::{AllocationDocument, LeaseDocument};
use crate::domain::claim::FENCE_VARIABLE;
use crate::domain::lease::Name;
use crate::domain::placeholder::{Piece, pieces};
use crate::domain::variable::Variable;
use crate::domain::variables::{Groups, Side};
use crate::host::handover::{LISTEN_VARIABLES, MOST_BY_NUMBER, Numbers};
use crate::host::process::MARK;

/// A variable that the user chose, and the name or index of its port.
pub(super) type Chosen = (Variable, String);

/// Reads `NAME=WEB` or `NAME=0`.
pub(super) fn chosen(text: &str) -> Result<Chosen, String> {
    let Some((variable, word)) = text.split_once('=') else {
        return Err("write NAME=WEB for the port of web, or NAME=0 for the first port".to_owned());
    };
    let variable: Variable = variable
        .parse()
        .map_err(|error: crate::domain::variable::VariableError| error.to_string())?;
    Ok((variable, word.to_owned()))
}

/// Values of the variables that the user chose.
pub(super) fn chosen_variables(
    groups: &Groups,
    chosen: &[Chosen],
) -> Result<BTreeMap<String, String>, Failure> {
    let mut values = BTreeMap::new();
    for (variable, word) in chosen {
        let Some(port) = groups.port_of(word) else {
            return Err(Failure::usage(format!(
                "--env {variable}={word}: no port has that name or index (indices begin at 0)"
            )));
        };
        if values
            .insert(variable.to_string(), port.to_string())
            .is_some()
        {
            return Err(Failure::usage(format!("--env {variable} is given twice")));
        }
    }
    Ok(values)
}

/// Names in the placeholders of these arguments.
pub(super) fn names_in(arguments: &[OsString]) -> Vec<Name> {
    let texts = arguments.iter().filter_map(|argument| argument.to_str());
    let pieces = texts.flat_map(pieces);
    let names = pieces.filter_map(|piece| match piece {
        Piece::Place(placeholder, _) => placeholder.name,
        _ => None,
    });
    names.collect()
}

/// Fills the placeholders of the arguments. An argument that is not UTF-8 stays as it is.
pub(super) fn filled(groups: &Groups, arguments: &[OsString]) -> Result<Vec<OsString>, Failure> {
    let filled = arguments.iter().map(|argument| {
        let Some(text) = argument.to_str() else {
            return Ok(argument.clone());
        };
        let filled = groups.filled(text, None, Side::Program);
        filled.map(OsString::from).map_err(|wrong| {
            Failure::usage(format!(
                "{wrong} (--literal leaves such words in the arguments as they are)"
            ))
        })
    });
    filled.collect()
}

/// Variables that every program gets.
pub(super) fn always(
    asked: &[Asked],
    granted: &[AllocationDocument],
    groups: &Groups,
) -> Vec<(&'static str, String)> {
    let own = asked.iter().zip(granted);
    let own = own.filter(|(asked, _)| !asked.only_referred_to);
    let addresses = own.clone().flat_map(|(_, granted)| &granted.leases);
    let addresses = all_addresses(addresses.filter(|lease| !lease.spare));
    let mut always = vec![("PORTBOOK_ADDRESSES", addresses)];
    let ids = own.clone().flat_map(|(_, granted)| &granted.leases);
    let ids: Vec<String> = ids.map(|lease| lease.id.to_string()).collect();
    always.push((MARK, ids.join(",")));
    always.extend(tokens(own.flat_map(|(_, granted)| &granted.leases)));
    if let Some(first) = groups.0.iter().find(|group| !group.only_referred_to) {
        always.push(("PORTBOOK_CLIENT_HOST", first.client_host.clone()));
    }
    always
}

/// The fencing tokens, in the order of the leases; 0 for one whose number is not unique in a fleet. `None`
/// if that holds for all of them.
fn tokens<'l>(leases: impl Iterator<Item = &'l LeaseDocument>) -> Option<(&'static str, String)> {
    let tokens: Vec<u64> = leases.map(|it| it.fence_token.unwrap_or(0)).collect();
    let is_fenced = tokens.iter().any(|token| *token > 0);
    let texts: Vec<String> = tokens.iter().map(ToString::to_string).collect();
    is_fenced.then(|| (FENCE_VARIABLE, texts.join(",")))
}

/// Removes the variables of an outer program's ports.
pub(super) fn forget_outer(command: &mut Command) {
    for (variable, _) in std::env::vars_os() {
        if is_bare(&variable) {
            command.env_remove(variable);
        }
    }
}

/// Whether a variable is `PORT`, `HOST`, `PORT_COUNT`, `PORTBOOK_FENCE` or `PORT_0`, `PORT_1`, ….
fn is_bare(variable: &OsStr) -> bool {
    let Some(text) = variable.to_str() else {
        return false;
    };
    matches!(text, "PORT" | "HOST" | "PORT_COUNT" | FENCE_VARIABLE)
        || text.strip_prefix("PORT_").is_some_and(|index| {
            !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Passes the sockets to the program by number (`sd_listen_fds(3)`), after those that a supervisor
/// gave to this very process. Variables of other sockets are removed.
pub(super) fn hand_over(
    command: &mut Command,
    numbers: Numbers,
    sockets: &[(String, OwnedFd)],
) -> Result<(), Failure> {
    let outer = numbers.outer();
    if outer.is_none() {
        for variable in LISTEN_VARIABLES {
            if std::env::var_os(variable).is_some() {
                command.env_remove(variable);
            }
        }
        if is_meant_for_us() {
            note("LISTEN_FDS names sockets that are not open: it is not passed on");
        }
    }
    if sockets.is_empty() {
        numbers.leave_to_exec();
        return Ok(());
    }
    let mut names = outer.unwrap_or_default();
    let before = names.len();
    let count = before + sockets.len();
    if count > MOST_BY_NUMBER {
        return Err(Failure::usage(format!(
            "{count} sockets are more than the {MOST_BY_NUMBER} that a program can be handed: ask for fewer ports or addresses"
        )));
    }
    names.extend(sockets.iter().map(|(name, _)| name.clone()));
    command
        .env("LISTEN_FDS", count.to_string())
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDNAMES", names.join(":"));
    numbers
        .place(before, sockets.iter().map(|(_, socket)| socket))
        .map_err(|error| Failure::other(format!("cannot hand the sockets over: {error}")))
}

/// Shells, of which a child is not the process that the sockets are for.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

/// Prints a note if the sockets are for a shell whose script starts the server as a child.
pub(super) fn tell_of_shell(words: &[OsString]) {
    let Some((program, arguments)) = words.split_first() else {
        return;
    };
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    let Some(shell) = SHELLS.iter().find(|shell| name == Some(**shell)) else {
        return;
    };
    let words = arguments.iter().filter_map(|word| word.to_str());
    let mut script = words.skip_while(|word| !(word.starts_with('-') && word.ends_with('c')));
    let script = script.nth(1);
    let has_exec = |script: &str| script.split_whitespace().any(|word| word == "exec");
    if script.is_some_and(|script| !has_exec(script)) {
        note(&format!(
            "the sockets are for {shell} itself (LISTEN_PID): a server that looks for them there must take \
             its place; write exec before it"
        ));
    }
}

/// Whether the environment announces sockets for this very process.
fn is_meant_for_us() -> bool {
    let variable = |name| std::env::var(name).unwrap_or_default();
    variable("LISTEN_PID").parse() == Ok(std::process::id())
        && variable("LISTEN_FDS")
            .parse()
            .is_ok_and(|count: u32| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_variables_are_known_by_their_names() {
        for bare in ["PORT", "HOST", "PORT_0", "PORT_12", "PORT_COUNT"] {
            assert!(is_bare(OsStr::new(bare)), "{bare}");
        }
        for other in [
            "PORTS", "PORT_", "PORT_X", "WEB_PORT", "PORT_1A", "HOSTNAME",
        ] {
            assert!(!is_bare(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn chosen_variables_need_a_name_and_a_port() {
        assert_eq!(chosen("PGPORT=db").unwrap().1, "db");
        for wrong in ["PGPORT", "=db", "A B=db", "1A=0"] {
            assert!(chosen(wrong).is_err(), "{wrong} was taken");
        }
    }
}
