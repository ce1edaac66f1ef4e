//! The project file, `portbook.toml` in a repository: which ports the project needs, and nothing of
//! the service. Read by client commands alone; [`Tree`] finds it.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::finding::{Finding, Problem};
use super::key::{Key, TABLES};
use super::layers::{Found, Layers};
use super::place;
use super::reader::{Reader, Section};
use super::tree::Tree;
use super::value::Selectors;
use super::wishes;
use super::{ConfigError, Sources};
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{Handover, Name};
use crate::domain::pool::Strategy;
use crate::domain::port::{Port, PortSet, Protocols};
use crate::domain::selector::Selector;
use crate::domain::variables::Wishes;
use crate::domain::words::counted;

/// The name of the file.
pub const PROJECT_FILE: &str = "portbook.toml";

/// Settings of the service that belong to no table.
const OF_THE_SERVICE: [&str; 3] = ["data_dir", "socket", "socket_mode"];

/// What of a service a project can say.
const SETTINGS: [&str; 16] = [
    "pool",
    "port",
    "prefer",
    "range",
    "count",
    "block",
    "target",
    "protocol",
    "interfaces",
    "strategy",
    "handover",
    "ttl",
    "variable",
    "host_variable",
    "host",
    "env",
];

/// Maximum number of ports of one service, as in one request.
const MAX_PORTS: u32 = 256;

/// Maximum number of services of one project, each of which may become a lease.
const MAX_SERVICES: usize = 256;

/// Maximum number of settings of one project, those of all its services together.
const MAX_SETTINGS: usize = 4096;

/// What a project needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// The file that says so.
    pub file: PathBuf,
    /// Its services, by name.
    pub services: Vec<Service>,
}

/// One service of a project. What it leaves open its pool decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name, which becomes that of its lease.
    pub name: Name,
    /// The pool to take from.
    pub pool: Option<String>,
    /// Exactly this port.
    pub port: Option<Port>,
    /// This port if it is free.
    pub prefer: Option<Port>,
    /// Where to look, in place of the pool's ranges.
    pub range: Option<PortSet>,
    /// Number of ports. `None` means one.
    pub count: Option<NonZeroU32>,
    /// Number of ports in a row.
    pub block: Option<NonZeroU32>,
    /// The port inside its container, for `env --format compose`; of a block, the first.
    pub target: Option<Port>,
    /// Free for which protocols.
    pub protocol: Option<Protocols>,
    /// Where to hold it; the pool's interfaces if empty.
    pub interfaces: Vec<Selector>,
    /// The order of candidates.
    pub strategy: Option<Strategy>,
    /// How the port passes to its program.
    pub handover: Option<Handover>,
    /// How long the lease lasts unless it is renewed.
    pub ttl: Option<HumanDuration>,
    /// The variables that tell its programs.
    pub wishes: Wishes,
}

/// The project of a tree; `None` where it has no project file.
pub fn project(tree: &Tree, sources: &Sources) -> Result<Option<Project>, ConfigError> {
    let file = tree.file.clone();
    file.map(|file| read(file, sources)).transpose()
}

/// The project that a file describes.
pub fn read(file: PathBuf, sources: &Sources) -> Result<Project, ConfigError> {
    let (layers, mut findings) = Layers::of_file(&file);
    if let Some(problem) = too_many(&layers) {
        let source = format!("file {}", file.display());
        findings.push(Finding::error(&"services", &source, problem));
        return Err(ConfigError { findings });
    }
    let own_file = place::user_file(&sources.environment, sources.home.as_deref());
    let own_file = own_file.unwrap_or_else(|| sources.system_file.clone());
    let mut reader = Reader::new(&layers);
    let mut services: Vec<Service> = Vec::new();
    for name in layers.tables("services") {
        let section = reader.section(["services", &name]);
        services.extend(service(section, &name));
    }
    wishes::check(&services, &mut reader);
    let (_, of_reading) = reader.finish_with(|key, found, _| stray(key, found, &own_file));
    findings.extend(of_reading);
    if findings.is_empty() {
        Ok(Project { file, services })
    } else {
        Err(ConfigError { findings })
    }
}

/// A bound for what the file of a stranger's repository can make a command do.
fn too_many(layers: &Layers) -> Option<Problem> {
    let (services, settings) = (layers.tables("services").len(), layers.leaves().len());
    let (there_are, most) = if services > MAX_SERVICES {
        (
            counted(services, "service"),
            counted(MAX_SERVICES, "service"),
        )
    } else if settings > MAX_SETTINGS {
        (
            counted(settings, "setting"),
            counted(MAX_SETTINGS, "setting"),
        )
    } else {
        return None;
    };
    Some(Problem::new(
        format!("{there_are} are too many for one project"),
        format!("write at most {most}"),
    ))
}

fn service(mut section: Section<'_, '_>, name: &str) -> Option<Service> {
    let name = match name.parse::<Name>() {
        Ok(name) => name,
        Err(error) => {
            section.fail_here(Problem::from_message(&error.to_string()));
            return None;
        }
    };
    if name.instance().is_some() {
        let hint = format!("call it {}, and ask for it with --instance", name.service());
        section.fail_here(Problem::new(format!("{name} is an instance"), hint));
        return None;
    }
    let port = section.optional("port", None);
    for (one, other) in [
        ("port", "prefer"),
        ("port", "range"),
        ("port", "count"),
        ("port", "block"),
        ("count", "block"),
    ] {
        exclude(&mut section, one, other);
    }
    Some(Service {
        name,
        port,
        pool: section.optional("pool", None),
        prefer: section.optional("prefer", None),
        range: section.optional_checked("range", None, some_port),
        count: section.optional_checked("count", None, within_limit),
        block: section.optional_checked("block", None, within_limit),
        target: section.optional("target", None),
        protocol: section.optional("protocol", None),
        interfaces: section
            .optional("interfaces", None)
            .map_or_else(Vec::new, |selectors: Selectors| selectors.0),
        strategy: section.optional("strategy", None),
        handover: section.optional("handover", None),
        ttl: section.optional("ttl", None),
        wishes: wishes::wishes(&mut section),
    })
}

/// Notes that two settings exclude each other.
fn exclude(section: &mut Section<'_, '_>, one: &str, other: &str) {
    if section.is_given(one) && section.is_given(other) {
        let problem = Problem::new(
            format!("there is a {one} already"),
            format!("write one of {one} and {other}"),
        );
        section.fail(other, problem);
    }
}

fn some_port(range: &PortSet) -> Result<(), Problem> {
    if range.is_empty() {
        return Err(Problem::new("no port is in it", "name one at least"));
    }
    Ok(())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "a rule is given the setting as it was read"
)]
fn within_limit(count: &NonZeroU32) -> Result<(), Problem> {
    if count.get() > MAX_PORTS {
        let message = format!("{count} ports are too many");
        return Err(Problem::new(
            message,
            format!("ask for at most {MAX_PORTS}"),
        ));
    }
    Ok(())
}

/// Why a key does not belong into a project file; nothing if it is a service with no settings.
fn stray(key: &Key, found: &Found<'_>, own_file: &Path) -> Option<Problem> {
    let segments: Vec<&str> = key.segments().iter().map(String::as_str).collect();
    match segments[..] {
        ["services"] | ["services", _] | ["services", _, "env"] if found.is_table() => None,
        ["services"] | ["services", _] => Some(Problem::new(
            format!("{key} is a table"),
            "write [services.web], say, and what it needs below it",
        )),
        ["services", _, "env"] => Some(Problem::new(
            format!("{key} is a table"),
            "write env = { NAME = \"value\" }",
        )),
        [head, ..] if TABLES.contains(&head) || OF_THE_SERVICE.contains(&head) => {
            Some(Problem::new(
                format!("{key} is a setting of the service, not of a project"),
                format!("write it into {}", own_file.display()),
            ))
        }
        _ => Some(unknown(key)),
    }
}

fn unknown(key: &Key) -> Problem {
    let known = SETTINGS.map(|setting| Key::new(["services", "web", setting]));
    let hint = match key.nearest(&known) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("a service has {}", SETTINGS.join(", ")),
    };
    Problem::new(format!("{key} is not a setting of a project"), hint)
}
