//! `portbook config show|check|init`: what they print, and the file that `init` writes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Failure, Global, file, fleet_files, note, print_json};
use crate::answers::configuration;
use crate::answers::document::VERSION;
use crate::config::{
    ConfigError, DEFAULT, Finding, Flags, Loaded, PROJECT_FILE, Setting, Severity, Sources,
    template,
};
use crate::domain::attempt::printable;
use crate::domain::selector::Selector;
use crate::domain::words::counted;
use crate::host::interface::{Interfaces, resolve};
use crate::host::kernel;

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every setting with the source of its value.
    Show,
    /// Report what is wrong by source and key, or that nothing is; exit code 2 for an error.
    Check {
        /// A file to check alone, such as a project's portbook.toml. Default: all settings in
        /// force.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Write a commented file to begin with.
    Init {
        /// The file; default: your own configuration file.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Replace a file that exists.
        #[arg(long)]
        force: bool,
    },
}

pub(super) fn run(global: &Global, args: &ConfigArgs) -> Result<ExitCode, Failure> {
    match &args.action {
        Action::Show => show(global)?,
        Action::Check { file } => return check(global, file.as_deref()),
        Action::Init { file, force } => begin(global, file.as_deref(), *force)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(global: &Global) -> Result<(), Failure> {
    let loaded = global.load()?;
    global.answer(&configuration::document(&loaded), || show_text(&loaded))
}

fn check(global: &Global, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let checked = match file {
        Some(file) if is_of_project(file) => check_project(global, file),
        file => check_settings(&sources(global, file), file.is_some()),
    };
    let (findings, code) = match &checked {
        Ok(checked) => (&checked.warnings, ExitCode::SUCCESS),
        Err(error) => (&error.findings, ExitCode::from(2)),
    };
    global.answer(&check_json(findings, checked.as_ref().ok()), || {
        let verdict = checked.as_ref().map(Checked::to_string);
        lines(findings) + &verdict.unwrap_or_default()
    })?;
    Ok(code)
}

/// A configuration that holds.
#[derive(Debug)]
struct Checked {
    warnings: Vec<Finding>,
    /// The files that were read.
    files: Vec<PathBuf>,
    /// Number of settings, or of a project's services, that these and other sources give.
    set: usize,
    /// Noun for what is counted.
    what: &'static str,
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.warnings.is_empty() {
            "all is well"
        } else {
            "no errors"
        };
        let files: Vec<String> = self
            .files
            .iter()
            .map(|file| printable(&file.display().to_string()))
            .collect();
        let files = match files.len() {
            0 => "no file".to_owned(),
            _ => files.join(", "),
        };
        let counted = counted(self.set, self.what);
        writeln!(f, "{verdict}: {counted} set; read {files}")
    }
}

/// Sources to check: all in force, or the defaults with one file.
fn sources(global: &Global, file: Option<&Path>) -> Sources {
    let sources = Sources::from_process(global.flags());
    let Some(file) = file else { return sources };
    Sources {
        system_file: PathBuf::new(),
        user_file: None,
        explicit_file: Some(std::path::absolute(file).unwrap_or_else(|_| file.to_owned())),
        environment: Vec::new(),
        flags: Flags::default(),
        ..sources
    }
}

fn check_settings(sources: &Sources, alone: bool) -> Result<Checked, ConfigError> {
    let loaded = crate::config::load(sources)?;
    let customary = [Some(&sources.system_file), sources.user_file.as_ref()];
    let customary = customary
        .into_iter()
        .flatten()
        .filter(|file| file.is_file());
    let files = customary.filter(|_| !alone).chain(&sources.explicit_file);
    let files = files.cloned().collect();
    let settings = loaded.provenance.settings().iter();
    let set = settings.filter(|setting| setting.source != DEFAULT).count();
    let found = with_host(loaded);
    if found.iter().any(|one| one.severity == Severity::Error) {
        return Err(ConfigError { findings: found });
    }
    Ok(Checked {
        warnings: found,
        files,
        set,
        what: "setting",
    })
}

/// Whether a file is a project's; such files have one name everywhere.
fn is_of_project(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == PROJECT_FILE)
}

fn check_project(global: &Global, file: &Path) -> Result<Checked, ConfigError> {
    let sources = Sources::from_process(global.flags());
    let project = crate::config::read_project(file.to_owned(), &sources)?;
    Ok(Checked {
        warnings: Vec::new(),
        set: project.services.len(),
        files: vec![project.file],
        what: "service",
    })
}

/// Findings of the settings themselves, and of their conflicts with this host.
fn with_host(loaded: Loaded) -> Vec<Finding> {
    let host = Interfaces::open().current();
    let matches = |selectors: &[Selector]| {
        host.as_ref()
            .is_ok_and(|host| resolve(host, selectors).is_ok())
    };
    let outgoing = kernel::outgoing_ports();
    let (settings, provenance) = (&loaded.settings, &loaded.provenance);
    let found = crate::config::against_host(settings, provenance, &outgoing, &matches);
    let of_fleet = fleet_files::findings(&loaded);
    let all = loaded.warnings.into_iter().chain(found);
    all.chain(of_fleet).collect()
}

fn begin(global: &Global, file: Option<&Path>, force: bool) -> Result<(), Failure> {
    let sources = Sources::from_process(global.flags());
    let own = sources.explicit_file.or(sources.user_file);
    let path = file.map(Path::to_owned).or(own);
    let path = path.ok_or_else(|| Failure::usage("no home directory: name a file"))?;
    file::write(
        &path,
        &template(),
        force,
        "name a file in a folder of yours",
    )?;
    if global.json {
        print_json(&json!({ "version": VERSION, "file": path }))?;
    }
    note(&format!("wrote {}", path.display()));
    Ok(())
}

/// Every setting with its value and source, in columns. A setting without a value is a comment, so
/// that the text can be pasted into a file.
fn show_text(loaded: &Loaded) -> String {
    let settings = loaded.provenance.settings();
    let assignments: Vec<String> = settings.iter().map(assignment).collect();
    let lengths = assignments.iter().map(|text| text.chars().count());
    let width = lengths.max().unwrap_or_default();
    let columns = assignments.iter().zip(settings);
    lines(columns.map(|(text, setting)| format!("{text:width$}  # {}", setting.source)))
}

fn assignment(setting: &Setting) -> String {
    match &setting.value {
        Value::Null => format!("# {} is not set", setting.key),
        // JSON's texts, numbers and lists are TOML's as well.
        value => format!("{} = {value}", setting.key),
    }
}

fn lines<T: ToString>(each: impl IntoIterator<Item = T>) -> String {
    let each = each.into_iter();
    each.flat_map(|line| [line.to_string(), "\n".to_owned()])
        .collect()
}

fn check_json(findings: &[Finding], checked: Option<&Checked>) -> Value {
    let mut document = json!({ "version": VERSION, "findings": findings });
    if let Some(checked) = checked {
        document["files"] = json!(checked.files);
        document[format!("{}s", checked.what)] = json!(checked.set);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Sources, load};

    fn sources() -> Sources {
        Sources {
            home: Some("/home/me".into()),
            flags: Flags {
                log: Some("debug".into()),
                ..Flags::default()
            },
            ..Sources::default()
        }
    }

    #[test]
    fn show_is_aligned_and_names_each_source() {
        let text = show_text(&load(&sources()).unwrap());
        let columns: Vec<usize> = text
            .lines()
            .map(|line| line.rfind("  # ").unwrap())
            .collect();
        assert!(columns.len() > 40 && columns.iter().all(|column| *column == columns[0]));
        let line = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            line("telemetry.log "),
            "telemetry.log = \"debug\" # command-line flag (--log)"
        );
        assert_eq!(
            line("pools.console.prefer"),
            "pools.console.prefer = 8888 # default"
        );
        assert_eq!(
            line("# console.listen"),
            "# console.listen is not set # default"
        );
    }

    #[test]
    fn show_can_be_pasted_into_a_file() {
        let shown = load(&sources()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pasted.toml");
        std::fs::write(&file, show_text(&shown)).unwrap();
        let pasted = Sources {
            explicit_file: Some(file),
            flags: Flags::default(),
            ..sources()
        };
        assert_eq!(load(&pasted).unwrap().settings, shown.settings);
    }

    #[test]
    fn the_documents_carry_a_version() {
        let mut sources = sources();
        let shown = configuration::document(&load(&sources).unwrap());
        assert_eq!(shown["version"], 1);
        assert_eq!(shown["settings"][0]["key"], "data_dir");
        assert_eq!(
            shown["settings"][0]["value"],
            "/home/me/.local/state/portbook"
        );
        assert_eq!(shown["settings"][0]["source"], "default");
        assert_eq!(shown["warnings"], json!([]));

        sources.environment = vec![("PORTBOOK_SOKCET".into(), "/s".into())];
        let findings = load(&sources).unwrap_err().findings;
        assert_eq!(
            lines(&findings),
            "error: sokcet (environment (PORTBOOK_SOKCET)): PORTBOOK_SOKCET is not a setting: \
             did you mean PORTBOOK_SOCKET?\n"
        );
        let checked = check_json(&findings, None);
        assert_eq!(checked["version"], 1);
        assert_eq!(checked["findings"][0]["severity"], "error");
        assert_eq!(
            checked["findings"][0]["hint"],
            "did you mean PORTBOOK_SOCKET?"
        );
    }
}
