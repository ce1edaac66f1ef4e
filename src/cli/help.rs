//! The command with its help: options grouped by use, general ones last, and lengths of time
//! explained. It is done here for all commands, so that none is forgotten.

use clap::{Arg, Command, CommandFactory};

use super::{Command as Commands, Line};

/// Heading of every command's options.
pub(super) const GENERAL: &str = "General options";

/// Options of `run` and `alloc`, under the question that they answer.
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Which port",
        &[
            "port",
            "prefer",
            "prefer_span",
            "range",
            "pool",
            "protocol",
            "count",
            "block",
        ],
    ),
    (
        "Name and scope",
        &[
            "name", "service", "instance", "scope", "strict", "reserve", "label",
        ],
    ),
    ("Where to hold it", &["interface", "host"]),
    (
        "For how long",
        &["ttl", "claim_within", "owner_pid", "wait"],
    ),
    (
        "How to search",
        &["strategy", "max_attempts", "timeout", "dry_run"],
    ),
    (
        "How the program gets it",
        &["handover", "map", "fds", "env", "literal"],
    ),
];

const GROUPED: [&str; 2] = ["run", "alloc"];

/// Names of values that are lengths of time, with the meaning of a number without a unit.
const TIMES: [(&str, &str); 2] = [
    ("DURATION", "a number alone: seconds"),
    ("TIME", "a number alone: seconds ago"),
];

pub(super) fn command() -> Command {
    explained(Line::<Commands>::command()).mut_subcommands(|command| {
        let is_grouped = GROUPED.contains(&command.get_name());
        if is_grouped {
            command.mut_args(grouped)
        } else {
            command
        }
    })
}

fn grouped(option: Arg) -> Arg {
    let id = option.get_id().as_str();
    let group = GROUPS.iter().find(|(_, options)| options.contains(&id));
    match group {
        Some((heading, _)) => option.help_heading(*heading),
        None => option,
    }
}

fn explained(command: Command) -> Command {
    command.mut_args(with_unit).mut_subcommands(explained)
}

fn with_unit(option: Arg) -> Arg {
    let value = option.get_value_names().and_then(<[_]>::first);
    let unit = value.and_then(|value| TIMES.iter().find(|(name, _)| *name == value.as_str()));
    match (unit, option.get_help()) {
        (Some((_, unit)), Some(help)) => {
            let help = format!("{help} ({unit})");
            option.help(help)
        }
        _ => option,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn options_are_grouped_and_general_ones_come_last() {
        for name in GROUPED {
            let mut command = command();
            command.build();
            let command = command.find_subcommand_mut(name).unwrap();
            let help = command.render_long_help().to_string();
            let places: Vec<usize> = ["Which port:", "For how long:", "How to search:", GENERAL]
                .map(|heading| {
                    help.find(heading)
                        .unwrap_or_else(|| panic!("{heading}: {help}"))
                })
                .into();
            let last = help.find(GENERAL).unwrap();
            assert!(places.iter().all(|place| *place <= last), "{help}");
            assert!(help.find("--socket").unwrap() > last, "{help}");
            assert!(help.find("--port").unwrap() < last, "{help}");
            assert!(!help.contains("\nOptions:"), "{help}");
        }
    }

    #[test]
    fn help_tells_the_unit_of_durations() {
        fn check(command: &Command) {
            for option in command.get_arguments() {
                let values = option.get_value_names().unwrap_or_default();
                if values.iter().any(|value| value.as_str() == "DURATION") {
                    let help = option.get_help().unwrap().to_string();
                    assert!(help.contains("seconds"), "{}: {help}", option.get_id());
                }
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }
}
