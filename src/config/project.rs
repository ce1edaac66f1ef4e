//! The project file, `portbook.toml` in a repository. It names the ports that the project needs and has
//! no settings of the service. Client commands alone read it; [`Tree`] finds it.

use std::path::{Path, PathBuf};

use super::finding::{ConfigError, Finding, Problem};
use super::key::{Key, TABLES};
use super::layers::{Found, Layers};
use super::place;
use super::reader::Reader;
use super::service::Service;
use super::sources::Sources;
use super::tree::Tree;
use crate::domain::variables::{Group, Groups, Side};
use crate::domain::words::counted;

/// Settings of the service that belong to no table.
const OF_THE_SERVICE: [&str; 3] = ["data_dir", "socket", "socket_mode"];

/// Maximum number of services of one project, each of which may become a lease.
const MAX_SERVICES: usize = 256;

/// Maximum number of settings of one project, those of all its services together.
const MAX_SETTINGS: usize = 4096;

/// The services of a project file.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    pub file: PathBuf,
    /// Services by name.
    pub services: Vec<Service>,
}

/// Reads the project of a tree. `None` if it has no project file.
pub fn project(tree: &Tree, sources: &Sources) -> Result<Option<Project>, ConfigError> {
    let file = tree.file.clone();
    file.map(|file| read(file, sources)).transpose()
}

/// Reads a project file.
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
        services.extend(Service::of(section, &name));
    }
    check(&services, &mut reader);
    let (_, of_reading) = reader.finish(|key, found, _| stray(key, found, &own_file));
    findings.extend(of_reading);
    if findings.is_empty() {
        Ok(Project { file, services })
    } else {
        Err(ConfigError { findings })
    }
}

/// Bounds the work that the file of an untrusted repository can cause.
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

/// Finds placeholders that cannot be filled, and variables that two services set.
fn check(services: &[Service], reader: &mut Reader<'_>) {
    let mut groups = Groups(services.iter().map(Service::to_come).collect());
    for (index, service) in services.iter().enumerate() {
        for (variable, text) in &service.wishes.env {
            if let Err(wrong) = groups.filled(text, Some(index), Side::Client) {
                let problem = Problem::from_placeholder(&wrong.to_string());
                reader
                    .section(["services", service.name.as_str(), "env"])
                    .fail(variable.as_str(), problem);
            }
        }
    }
    // Placeholders have been checked. Now the variables that two services set.
    for end in 1..=services.len() {
        let known = Groups(groups.0[..end].iter().map(without_text).collect());
        if let Err(wrong) = known.variables() {
            let name = services[end - 1].name.as_str();
            let problem = Problem::from_message(&wrong.to_string());
            reader.section(["services", name]).fail_here(problem);
            // One finding a pair: the second service is left out from now on.
            groups.0[end - 1].only_referred_to = true;
        }
    }
}

/// Copy of a group whose variables have no texts to fill.
fn without_text(group: &Group) -> Group {
    let mut group = group.clone();
    group.wishes.env.values_mut().for_each(String::clear);
    group
}

/// Problem of a key that does not belong into a project file. `None` for a service without settings.
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
    let settings: Vec<&str> = Service::settings().collect();
    let known = settings
        .iter()
        .map(|name| Key::new(["services", "web", name]));
    let known: Vec<Key> = known.collect();
    let hint = match key.nearest(&known) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("a service has {}", settings.join(", ")),
    };
    Problem::new(format!("{key} is not a setting of a project"), hint)
}
