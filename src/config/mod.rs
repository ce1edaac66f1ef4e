//! The settings of the service: what the user allows, and where each value came from.
//!
//! Defaults, then `/etc/portbook/config.toml`, then the user's own `portbook/config.toml`, then the
//! file of `--config`, then `PORTBOOK_…` variables (`__` between levels), then flags; the later
//! wins. Never a file of the current directory: a stranger's folder must not move the console.
//!
//! Everything is checked at once. [`load`] returns either settings that hold, with the provenance
//! of each, or every finding there is.

mod check;
mod file;
mod finding;
mod key;
mod layers;
mod model;
mod place;
mod project;
mod provenance;
mod read;
mod reader;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod wishes;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

pub use check::{against_host, shared_with_outgoing};
pub use finding::{Finding, Severity};
pub use model::{InterfaceRule, Settings, Telemetry};
pub use place::SYSTEM_FILE;
pub use project::{PROJECT_FILE, Project, Service, project, read as read_project};
pub use provenance::{DEFAULT, Provenance, Setting};
pub use tree::Tree;

use crate::telemetry::{Environment, LogFormat};
use layers::Layers;
use place::Places;
use reader::Reader;

/// A configuration file with every setting commented out at its default, and explained.
///
/// A line that starts with `#` and a blank is an explanation, one with `#` alone a setting.
pub const TEMPLATE: &str = include_str!("template.toml");

/// What was given on the command line. Only what is given counts; there are no defaults here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config FILE`
    pub config: Option<PathBuf>,
    /// `--data-dir DIR`
    pub data_dir: Option<PathBuf>,
    /// `--socket PATH`
    pub socket: Option<PathBuf>,
    /// `--listen ADDRESS:PORT`, for the console.
    pub listen: Option<SocketAddr>,
    /// `--max-attempts N`, for the pool `console`.
    pub max_attempts: Option<NonZeroU32>,
    /// Whether the console runs at all; what `portbook portserver` says.
    pub console: Option<bool>,
    /// `--portserver_address ADDRESS`
    pub portserver_address: Option<String>,
    /// `--portserver_static_pool RANGES`
    pub portserver_pool: Option<String>,
    /// `--otlp-endpoint URL`
    pub otlp_endpoint: Option<String>,
    /// `--log FILTER`
    pub log: Option<String>,
    /// `--log-format text|json`
    pub log_format: Option<LogFormat>,
}

/// Everything that settings are read from. Whatever is ambient is a field, so that a test can say
/// what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The file that holds for every user; may be absent.
    pub system_file: PathBuf,
    /// The user's own file; may be absent.
    pub user_file: Option<PathBuf>,
    /// The file of `--config`; must be there.
    pub explicit_file: Option<PathBuf>,
    /// The environment, other variables than portbook's included.
    pub environment: Vec<(String, String)>,
    /// The command line.
    pub flags: Flags,
    /// Whether this is root, which has other default places.
    pub root: bool,
    /// The user's home directory.
    pub home: Option<PathBuf>,
}

impl Sources {
    /// The sources of this process. Relative paths of the command line and of variables mean the
    /// current directory.
    pub fn from_process(mut flags: Flags) -> Self {
        for path in [&mut flags.config, &mut flags.data_dir, &mut flags.socket] {
            *path = path.take().map(from_here);
        }
        let environment: Vec<(String, String)> = std::env::vars_os().map(variable).collect();
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        Self {
            system_file: SYSTEM_FILE.into(),
            user_file: place::user_file(&environment, home.as_deref()),
            explicit_file: flags.config.clone(),
            environment,
            flags,
            root: rustix::process::geteuid().is_root(),
            home,
        }
    }
}

/// A path that cannot be made absolute is left to the checks.
fn from_here(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn variable((name, value): (OsString, OsString)) -> (String, String) {
    let is_path = name == "PORTBOOK_DATA_DIR" || name == "PORTBOOK_SOCKET";
    let value = if is_path && !value.is_empty() {
        from_here(value.into()).into_os_string()
    } else {
        value
    };
    let text = |text: OsString| text.to_string_lossy().into_owned();
    (text(name), text(value))
}

/// Settings that hold, with where they came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Where each value came from.
    pub provenance: Provenance,
    /// What looks wrong, but works.
    pub warnings: Vec<Finding>,
}

/// A configuration that nothing can start with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Everything that was found, the warnings too.
    pub findings: Vec<Finding>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration does not hold:")?;
        for finding in &self.findings {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// Reads and checks the settings. Can be called again at any time, to see what has changed.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let (layers, mut findings) = Layers::collect(sources);
    let mut reader = Reader::new(&layers);
    let mut settings = read::settings(&mut reader, &Places::of(sources));
    let environment: Environment = sources.environment.iter().cloned().collect();
    let collector = environment.endpoint();
    settings.telemetry.collector = collector.map(|url| url.as_str().to_owned());
    let (provenance, of_reading) = reader.finish();
    findings.extend(of_reading);
    findings.extend(check::among_themselves(&settings, &provenance));
    let is_error = |finding: &Finding| finding.severity == Severity::Error;
    if findings.iter().any(is_error) {
        return Err(ConfigError { findings });
    }
    Ok(Loaded {
        settings,
        provenance,
        warnings: findings,
    })
}
