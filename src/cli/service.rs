//! `portbook service install`: the units that have systemd run the service.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use serde_json::json;

use super::{Failure, Global, note, print, print_json};
use crate::api::document::VERSION;

/// What the units call the program.
const PACKAGED: &str = "/usr/bin/portbook";

/// Where the units of the system's administrator lie (`systemd.unit(5)`).
const SYSTEM_UNITS: &str = "/etc/systemd/system";

/// A unit: its file's name and text.
type Unit = (&'static str, &'static str);

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

/// What `service` takes.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the units, and say which command starts them.
    Install {
        /// For your user alone; for the whole host otherwise.
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

/// Installs or prints the units.
pub(super) fn run(global: &Global, args: &ServiceArgs) -> Result<ExitCode, Failure> {
    let Action::Install {
        user,
        print: only_print,
        force,
    } = args.action;
    let units = if user { OF_A_USER } else { OF_THE_SYSTEM };
    let program = std::env::current_exe()
        .map_err(|error| Failure::other(format!("the program's own path: {error}")))?;
    let units = units.map(|(name, text)| (name, for_program(text, &program)));
    if only_print {
        if global.json {
            let units = units.map(|(name, text)| json!({ "name": name, "text": text }));
            print_json(&json!({ "version": VERSION, "units": units }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut text = String::new();
        for (name, unit) in &units {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# {name}\n{unit}");
        }
        print(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = folder(user)?;
    for (name, text) in &units {
        let file = folder.join(name);
        write(&file, text, force).map_err(|error| not_written(&file, &error))?;
        note(&format!("wrote {}", file.display()));
    }
    let scope = if user { " --user" } else { "" };
    let start = format!(
        "systemctl{scope} daemon-reload && systemctl{scope} enable --now portbook.socket portbook.service"
    );
    if global.json {
        let files = units.map(|(name, _)| folder.join(name));
        print_json(&json!({ "version": VERSION, "written": files, "start": start }))?;
    }
    note(&format!("start it with: {start}"));
    Ok(ExitCode::SUCCESS)
}

/// A unit that starts this very program. Blanks and quotes in its path are escaped, and `%` doubled
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

fn write(file: &Path, text: &str, force: bool) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    // create_new leaves no moment between looking and writing.
    let options = if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.write(true).open(file)?.write_all(text.as_bytes())
}

fn not_written(file: &Path, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::AlreadyExists => "exists already: replace it with --force".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "cannot be written: use --user, or run it as root".to_owned()
        }
        _ => format!("cannot be written: {error}"),
    };
    Failure::other(format!("{} {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
