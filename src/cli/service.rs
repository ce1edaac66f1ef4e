//! `portbook service install`: units with which systemd runs the service.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::unit::{Access, Unit as OfService};
use super::{Failure, Global, file, note, print_json};
use crate::answers::document::VERSION;

/// Path of the program in the units.
const PACKAGED: &str = "/usr/bin/portbook";

/// Folder of the administrator's units (`systemd.unit(5)`).
const SYSTEM_UNITS: &str = "/etc/systemd/system";

/// Place for a program that every user reaches.
const OPEN: &str = "/usr/local/bin/portbook";

/// File name and text of a unit.
type Unit<Text = &'static str> = (&'static str, Text);

const OF_THE_SYSTEM: [Unit; 2] = [
    (
        "portbook.service",
        include_str!("../../static/systemd/portbook.service"),
    ),
    (
        "portbook.socket",
        include_str!("../../static/systemd/portbook.socket"),
    ),
];

const OF_A_USER: [Unit; 2] = [
    (
        "portbook.service",
        include_str!("../../static/systemd/user/portbook.service"),
    ),
    (
        "portbook.socket",
        include_str!("../../static/systemd/user/portbook.socket"),
    ),
];

#[derive(Debug, Args)]
pub struct ServiceArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the units, and print the command that starts them.
    Install {
        /// Install for your user alone; default: for the whole host.
        #[arg(long)]
        user: bool,
        /// Print the units and write nothing.
        #[arg(long)]
        print: bool,
        /// Replace units that are there.
        #[arg(long)]
        force: bool,
    },
}

pub(super) fn run(global: &Global, args: &ServiceArgs) -> Result<(), Failure> {
    let Action::Install {
        user,
        print: only_print,
        force,
    } = args.action;
    let program = std::env::current_exe().map_err(|error| {
        Failure::other(format!("cannot find the path of this program: {error}"))
    })?;
    let units = if user { OF_A_USER } else { OF_THE_SYSTEM };
    let units = units.map(|(name, text)| (name, for_program(text, &program)));
    // A user's own service reaches what its user does.
    let problem = if user {
        None
    } else {
        out_of_reach(&program, &units)
    };
    match problem {
        Some(problem) if only_print => note(&format!("warning: {problem}")),
        Some(problem) => return Err(Failure::other(problem)),
        None => {}
    }
    if only_print {
        show(global, &units)
    } else {
        install(global, &units, user, force)
    }
}

/// A reason for which the units could not start this program, with the way out.
fn out_of_reach(program: &Path, units: &[Unit<String>]) -> Option<String> {
    let (_, text) = units.iter().find(|(name, _)| name.ends_with(".service"))?;
    let obstacle = OfService::of(text).obstacle(program, Access::Execute)?;
    let program = program.display();
    Some(format!(
        "the service could not start {program}, as {obstacle}: run `install {program} {OPEN}`, and then `{OPEN} service install`"
    ))
}

fn show(global: &Global, units: &[Unit<String>]) -> Result<(), Failure> {
    let document = |(name, text): &Unit<String>| json!({ "name": name, "text": text });
    let documents: Vec<_> = units.iter().map(document).collect();
    global.answer(&json!({ "version": VERSION, "units": documents }), || {
        let text = |(name, text): &Unit<String>| format!("# {name}\n{text}\n");
        units.iter().map(text).collect()
    })
}

fn install(
    global: &Global,
    units: &[Unit<String>],
    user: bool,
    force: bool,
) -> Result<(), Failure> {
    let folder = folder(user)?;
    let mut written = Vec::new();
    for (name, text) in units {
        let file = folder.join(name);
        file::write(&file, text, force, "use --user, or run it as root")?;
        note(&format!("wrote {}", file.display()));
        written.push(file);
    }
    let scope = if user { " --user" } else { "" };
    let start = format!(
        "systemctl{scope} daemon-reload && systemctl{scope} enable --now portbook.socket portbook.service"
    );
    if global.json {
        print_json(&json!({ "version": VERSION, "written": written, "start": start }))?;
    }
    note(&format!("start it with: {start}"));
    Ok(())
}

/// Makes a unit start this very program. Blanks and quotes in its path are escaped, and `%` doubled
/// (`systemd.service(5)`, `systemd.unit(5)`).
fn for_program(text: &str, program: &Path) -> String {
    let path = program.to_string_lossy();
    let escaped = path
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    let word = if escaped.contains([' ', '\t', '"', '\'', ';', '\\', '$']) {
        format!("\"{}\"", escaped.replace('$', "$$"))
    } else {
        escaped
    };
    text.replace(PACKAGED, &word)
}

fn folder(user: bool) -> Result<PathBuf, Failure> {
    if !user {
        return Ok(SYSTEM_UNITS.into());
    }
    let absolute = |path: &PathBuf| path.is_absolute();
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config
        .filter(absolute)
        .or_else(|| Some(std::env::home_dir().filter(absolute)?.join(".config")));
    let config = config.ok_or_else(|| {
        Failure::usage("there is no home directory: set XDG_CONFIG_HOME, or use --print")
    })?;
    Ok(config.join("systemd/user"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_the_service_does_not_reach_is_refused_with_the_way_out() {
        let units = OF_THE_SYSTEM.map(|(name, text)| (name, text.to_owned()));
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let program = folder.path().join("portbook");
        std::fs::write(&program, "").unwrap();
        let told = out_of_reach(&program, &units).unwrap();
        assert!(told.contains("PrivateTmp") && told.contains(OPEN), "{told}");
        assert_eq!(out_of_reach(Path::new("/bin/sh"), &units), None);
    }

    #[test]
    fn every_unit_starts_the_program_that_wrote_it() {
        for (name, text) in OF_THE_SYSTEM.iter().chain(&OF_A_USER) {
            let unit = for_program(text, Path::new("/opt/portbook"));
            assert!(!unit.contains(PACKAGED), "{name}");
            if name.ends_with(".service") {
                assert!(unit.contains("\nExecStart=/opt/portbook serve\n"), "{name}");
            }
        }
        let odd = for_program(PACKAGED, Path::new("/o %p/$x"));
        assert_eq!(odd, "\"/o %%p/$$x\"");
    }
}
