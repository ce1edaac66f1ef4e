//! Takes settings out of the layers one by one.
//!
//! Each setting is asked for once, with its default. That call reads it, notes its problems, records
//! its source, and makes the key known. Keys that are left in the layers afterwards are unknown.

use super::finding::{Finding, Problem};
use super::key::Key;
use super::layers::{Found, Layers};
use super::provenance::{DEFAULT, Provenance};
use super::rule::Rule;
use super::value::Scalar;

/// The layers, with the findings and the provenance of the settings read so far.
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

    /// Table of a key; the root for no segments.
    pub fn section<const N: usize>(&mut self, segments: [&str; N]) -> Section<'_, 'a> {
        Section {
            reader: self,
            key: Key::new(segments),
        }
    }

    /// Ends the reading. Keys that were not asked for become findings where `stray` has a problem.
    pub fn finish(
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
    /// A table below this one. `None` if it is not given.
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

    /// Names of all settings in this table, known or not.
    pub fn names(&self) -> Vec<String> {
        self.reader.layers.names(&self.key)
    }

    /// Reads a setting. Where it is not given, or wrong, its default stands in; a rule checks given
    /// values alone.
    pub fn setting<T: Scalar>(&mut self, name: &str, default: T, rule: Rule<T::Bare>) -> T {
        let key = self.key.child(name);
        let Some(found) = self.reader.layers.find(&key) else {
            self.record(&key, &default, DEFAULT.to_owned());
            return default;
        };
        let read = found.read::<T>();
        let checked = read.and_then(|value| match value.bare() {
            Some(bare) => rule(bare).map(|()| value),
            None => Ok(value),
        });
        let value = checked.unwrap_or_else(|problem| {
            self.fail(name, problem);
            default
        });
        self.record(&key, &value, found.source);
        value
    }

    /// Notes that a setting is wrong.
    pub fn fail(&mut self, name: &str, problem: Problem) {
        let key = self.key.child(name);
        let found = self.reader.layers.find(&key);
        // A missing setting is reported on the line of its table.
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

    /// Number of findings so far, in this table and elsewhere.
    pub fn problems(&self) -> usize {
        self.reader.findings.len()
    }

    fn record<T: Scalar>(&mut self, key: &Key, value: &T, source: String) {
        let value = value.to_json();
        self.reader.provenance.record(key, value, source);
    }
}
