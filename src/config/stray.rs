//! Findings about keys that are no settings of the service.

use super::finding::Problem;
use super::key::{Key, TABLES};
use super::layers::Found;
use super::model::InterfaceRule;
use super::table::Explained;

/// Problem of a key that is no setting. `None` for a known table without content.
pub(super) fn stray(key: &Key, found: &Found<'_>, known: &[Key]) -> Option<Problem> {
    if key
        .segments()
        .first()
        .is_some_and(|head| head == "services")
    {
        return Some(Problem::new(
            "services are not settings of the service",
            "write them into a project file, portbook.toml",
        ));
    }
    if key.is_table() {
        let wrong = Problem::new(
            format!("{key} is a table of settings"),
            format!("write [{key}] and the settings below it"),
        );
        return (!found.is_table()).then_some(wrong);
    }
    Some(unknown(key, found, known))
}

fn unknown(key: &Key, found: &Found<'_>, known: &[Key]) -> Problem {
    // Settings of an interface are known only where one is configured.
    let entries = InterfaceRule::ENTRIES.iter();
    let of_interfaces = entries.map(|entry| Key::new(["interfaces", "eth0", entry.name]));
    let of_interfaces: Vec<Key> = of_interfaces.collect();
    let nearest = key.nearest(known.iter().chain(&of_interfaces));
    let spelled = |key: &Key| match &found.variable {
        Some(_) => key.variable(),
        None => key.to_string(),
    };
    let hint = match nearest {
        Some(nearest) => format!("did you mean {}?", spelled(&nearest)),
        None => format!("the tables are {}", TABLES.join(", ")),
    };
    let name = found.variable.clone().unwrap_or_else(|| key.to_string());
    Problem::new(format!("{name} is not a setting"), hint)
}
