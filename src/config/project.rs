//! The project file, `portbook.toml` in a repository: which ports the project needs, and nothing of
//! the service. Read by client commands alone; [`Tree`] finds it.

use std::path::{Path, PathBuf};

use super::finding::Problem;
use super::key::{Key, TABLES};
use super::layers::{Found, Layers};
use super::place;
use super::reader::{Reader, Section};
use super::tree::Tree;
use super::value::Selectors;
use super::{ConfigError, Sources};
use crate::domain::duration::Span;
use crate::domain::lease::{Handover, Name};
use crate::domain::pool::Strategy;
use crate::domain::port::{Port, Protocols};
use crate::domain::selector::Selector;

/// The name of the file.
pub const PROJECT_FILE: &str = "portbook.toml";

/// Settings of the service that belong to no table.
const OF_THE_SERVICE: [&str; 3] = ["data_dir", "socket", "socket_mode"];

/// What of a service a project can say.
const SETTINGS: [&str; 8] = [
    "pool",
    "port",
    "prefer",
    "protocol",
    "interfaces",
    "strategy",
    "handover",
    "ttl",
];

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
    /// Free for which protocols.
    pub protocol: Option<Protocols>,
    /// Where to hold it; the pool's interfaces if empty.
    pub interfaces: Vec<Selector>,
    /// The order of candidates.
    pub strategy: Option<Strategy>,
    /// How the port passes to its program.
    pub handover: Option<Handover>,
    /// How long the lease lasts unless it is renewed.
    pub ttl: Option<Span>,
}

/// The project of a tree; `None` where it has no project file.
pub fn project(tree: &Tree, sources: &Sources) -> Result<Option<Project>, ConfigError> {
    let file = tree.file.clone();
    file.map(|file| read(file, sources)).transpose()
}

/// The project that a file describes.
pub fn read(file: PathBuf, sources: &Sources) -> Result<Project, ConfigError> {
    let (layers, mut findings) = Layers::of_file(&file);
    let own_file = place::user_file(&sources.environment, sources.home.as_deref());
    let own_file = own_file.unwrap_or_else(|| sources.system_file.clone());
    let mut reader = Reader::new(&layers);
    let mut services: Vec<Service> = Vec::new();
    for name in layers.tables("services") {
        let section = reader.section(["services", &name]);
        services.extend(service(section, &name, &services));
    }
    let (_, of_reading) = reader.finish_with(|key, found, _| stray(key, found, &own_file));
    findings.extend(of_reading);
    if findings.is_empty() {
        Ok(Project { file, services })
    } else {
        Err(ConfigError { findings })
    }
}

fn service(mut section: Section<'_, '_>, name: &str, others: &[Service]) -> Option<Service> {
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
    let twin = others
        .iter()
        .find(|other| other.name.env_prefix() == name.env_prefix());
    if let Some(twin) = twin {
        let variable = format!("{}_PORT", name.env_prefix());
        section.fail_here(Problem::new(
            format!("{variable} is the variable of {} as well", twin.name),
            "give one of them another name",
        ));
    }
    let port = section.optional("port", None);
    if port.is_some() && section.is_given("prefer") {
        let problem = Problem::new("there is a port already", "write one of port and prefer");
        section.fail("prefer", problem);
    }
    Some(Service {
        name,
        port,
        pool: section.optional("pool", None),
        prefer: section.optional("prefer", None),
        protocol: section.optional("protocol", None),
        interfaces: section
            .optional("interfaces", None)
            .map_or_else(Vec::new, |selectors: Selectors| selectors.0),
        strategy: section.optional("strategy", None),
        handover: section.optional("handover", None),
        ttl: section.optional("ttl", None),
    })
}

/// Why a key does not belong into a project file; nothing if it is a service with no settings.
fn stray(key: &Key, found: &Found<'_>, own_file: &Path) -> Option<Problem> {
    let segments: Vec<&str> = key.segments().iter().map(String::as_str).collect();
    match segments[..] {
        ["services"] | ["services", _] if found.is_table() => None,
        ["services"] | ["services", _] => Some(Problem::new(
            format!("{key} is a table"),
            "write [services.web], say, and what it needs below it",
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
