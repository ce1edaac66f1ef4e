//! Takes settings out of the layers one by one.
//!
//! Each setting is asked for once, with its default. That one call reads it, notes every problem
//! instead of the first, records where the value came from, and makes the key known; what is left
//! in the layers afterwards is unknown.

use super::finding::{Finding, Problem};
use super::key::{Key, TABLES};
use super::layers::{Found, Layers};
use super::provenance::{DEFAULT, Provenance};
use super::value::Scalar;

/// A rule that one value has to keep, beyond its type.
pub(super) type Rule<T> = fn(&T) -> Result<(), Problem>;

/// The layers, and what came of reading them so far.
pub(super) struct Reader<'a> {
    pub layers: &'a Layers,
    pub findings: Vec<Finding>,
    pub provenance: Provenance,
}

impl<'a> Reader<'a> {
    pub fn new(layers: &'a Layers) -> Self {
        Self {
            layers,
            findings: Vec::new(),
            provenance: Provenance::default(),
        }
    }

    /// The table of this key; the root for no segments.
    pub fn section<const N: usize>(&mut self, segments: [&str; N]) -> Section<'_, 'a> {
        Section {
            reader: self,
            key: Key::new(segments),
        }
    }

    /// What came of it, with a finding for every key that nobody asked for.
    pub fn finish(self) -> (Provenance, Vec<Finding>) {
        self.finish_with(stray)
    }

    /// The same, where `stray` says why a key is wrong that nobody asked for.
    pub fn finish_with(
        mut self,
        stray: impl Fn(&Key, &Found<'_>, &[Key]) -> Option<Problem>,
    ) -> (Provenance, Vec<Finding>) {
        let known = self.provenance.keys();
        for key in self.layers.leaves() {
            let asked_for = known.iter().any(|asked| key.is_within(asked));
            let Some(found) = self.layers.find(&key).filter(|_| !asked_for) else {
                continue;
            };
            if let Some(problem) = stray(&key, &found, known) {
                self.findings
                    .push(Finding::error(&key, &found.source, problem));
            }
        }
        (self.provenance, self.findings)
    }
}

/// One table of settings.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    key: Key,
}

impl<'a> Section<'_, 'a> {
    /// A table below this one, where it is given.
    pub fn table(&mut self, name: &str) -> Option<Section<'_, 'a>> {
        let found = self.reader.layers.find(&self.key.child(name))?;
        if !found.is_table() {
            return None;
        }
        Some(Section {
            key: self.key.child(name),
            reader: &mut *self.reader,
        })
    }

    /// The names of all settings in this table, known or not.
    pub fn names(&self) -> Vec<String> {
        self.reader.layers.names(&self.key)
    }

    /// A setting that always has a value.
    pub fn value<T: Scalar + Clone>(&mut self, name: &str, default: T) -> T {
        self.checked(name, default, |_| Ok(()))
    }

    /// The same, with a rule.
    pub fn checked<T: Scalar + Clone>(&mut self, name: &str, default: T, rule: Rule<T>) -> T {
        let read = self.optional_checked(name, Some(default.clone()), rule);
        read.unwrap_or(default)
    }

    /// A setting that may be absent.
    pub fn optional<T: Scalar>(&mut self, name: &str, default: Option<T>) -> Option<T> {
        self.optional_checked(name, default, |_| Ok(()))
    }

    /// The same, with a rule.
    pub fn optional_checked<T: Scalar>(
        &mut self,
        name: &str,
        default: Option<T>,
        rule: Rule<T>,
    ) -> Option<T> {
        let key = self.key.child(name);
        let Some(found) = self.reader.layers.find(&key) else {
            self.record(&key, default.as_ref(), DEFAULT.to_owned());
            return default;
        };
        let read = found.read::<T>();
        let value = match read.and_then(|value| rule(&value).map(|()| value)) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.fail(name, problem);
                default
            }
        };
        self.record(&key, value.as_ref(), found.source);
        value
    }

    /// Notes that a setting is wrong.
    pub fn fail(&mut self, name: &str, problem: Problem) {
        let key = self.key.child(name);
        let found = self.reader.layers.find(&key);
        // What is not there is missed where its table is.
        let found = found.or_else(|| self.reader.layers.find(&self.key));
        let source = found.map_or(DEFAULT.to_owned(), |found| found.source);
        let finding = Finding::error(&key, &source, problem);
        self.reader.findings.push(finding);
    }

    /// Notes that the table itself is wrong.
    pub fn fail_here(&mut self, problem: Problem) {
        let found = self.reader.layers.find(&self.key);
        let source = found.map_or(DEFAULT.to_owned(), |found| found.source);
        let finding = Finding::error(&self.key, &source, problem);
        self.reader.findings.push(finding);
    }

    /// Whether any layer gives a setting.
    pub fn is_given(&self, name: &str) -> bool {
        self.reader.layers.find(&self.key.child(name)).is_some()
    }

    /// How many problems were found so far, in this table and elsewhere.
    pub fn problems(&self) -> usize {
        self.reader.findings.len()
    }

    fn record<T: Scalar>(&mut self, key: &Key, value: Option<&T>, source: String) {
        // Every scalar can be written as JSON; one that could not would show as unset.
        let value = serde_json::to_value(value).unwrap_or_default();
        self.reader.provenance.record(key, value, source);
    }
}

/// Why a key that nobody asked for is wrong; nothing if it is a known table without content.
fn stray(key: &Key, found: &Found<'_>, known: &[Key]) -> Option<Problem> {
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
    // No interface is known by itself, so its two settings are spelled out here.
    let of_interfaces = ["ranges", "exclude"].map(|name| Key::new(["interfaces", "eth0", name]));
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
