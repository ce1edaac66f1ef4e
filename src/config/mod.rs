//! Settings of the service, and the source of each value.
//!
//! Defaults, then `/etc/portbook/config.toml`, then the user's own `portbook/config.toml`, then the
//! file of `--config`, then `PORTBOOK_…` variables (`__` between levels), then flags; the later
//! wins. Never a file of the current directory: a folder of another user must not move the console.
//!
//! [`load`] returns either valid settings with the provenance of each, or every finding.

mod check;
mod file;
mod finding;
mod key;
mod layer;
mod layers;
mod model;
mod place;
mod pool;
mod project;
mod provenance;
mod read;
mod reader;
mod rule;
mod rule_fleet;
mod service;
mod sources;
mod strange;
mod stray;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod wishes;

pub use check::{against_host, shared_with_outgoing};
pub use finding::{ConfigError, Finding, Problem, Severity};
#[cfg(feature = "fleet")]
pub use model::Fleet;
pub use model::{InterfaceRule, Settings, Telemetry};
pub use pool::Pool;
pub use project::{Project, project, read as read_project};
pub use provenance::{DEFAULT, Provenance, Setting};
#[cfg(feature = "fleet")]
pub use rule_fleet::engine_address;
pub use service::Service;
pub use sources::{Flags, Sources};
pub use template::template;
pub use tree::{PROJECT_FILE, Tree};

use crate::telemetry::Environment;
use layers::Layers;
use reader::Reader;

/// Valid settings with their provenance.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub settings: Settings,
    pub provenance: Provenance,
    /// Findings that do not keep the service from starting.
    pub warnings: Vec<Finding>,
}

/// Reads and checks the settings. A reload calls it again.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let (layers, mut findings) = Layers::collect(sources);
    let mut reader = Reader::new(&layers);
    let environment: Environment = sources.environment.iter().cloned().collect();
    let collector = environment.endpoint();
    let collector = collector.map(|url| url.as_str().to_owned());
    let settings = read::settings(&mut reader, &sources.places(), collector);
    let (provenance, of_reading) = reader.finish(stray::stray);
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
