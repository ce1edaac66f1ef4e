//! The layers of a configuration: files, environment, flags, each over the one before.

use figment::value::{Dict, Value};
use figment::{Figment, Metadata, Profile};

use super::file::{self, Presence};
use super::finding::{Finding, Problem};
use super::key::Key;
use super::layer::{Layer, nest};
use super::sources::{Flags, Sources};
use super::strange;
use super::value::Scalar;

/// Variables that `portbook run` sets for the program it starts. They are no settings, so a `portbook`
/// called by that program ignores them.
pub const CHILD_VARIABLES: [&str; 7] = [
    "PORTBOOK_ADDRESSES",
    "PORTBOOK_ALLOCATION",
    "PORTBOOK_CLIENT_HOST",
    "PORTBOOK_FENCE",
    "PORTBOOK_HOST",
    "PORTBOOK_LEASE",
    "PORTBOOK_PORT",
];

/// Every layer, merged.
pub(super) struct Layers {
    figment: Figment,
    tree: Dict,
}

/// A value that a layer gave.
pub(super) struct Found<'a> {
    value: &'a Value,
    /// Source, as findings and `config show` name it.
    pub source: String,
    /// Variable that gave it. `None` if another source did.
    pub variable: Option<String>,
    /// Text of the variable, before it was taken for a number or a list.
    raw: Option<String>,
}

impl Layers {
    /// Reads and merges every source. An unreadable file is a finding, and the others still count, so
    /// that one call shows every problem.
    pub fn collect(sources: &Sources) -> (Self, Vec<Finding>) {
        let mut findings = Vec::new();
        let mut layers = files(sources, &mut findings);
        layers.extend(environment(&sources.environment));
        findings.extend(strange::variables(&sources.environment));
        layers.extend(flags(&sources.flags, &mut findings));
        (Self::merged(layers), findings)
    }

    /// The file of a project alone.
    pub fn of_file(path: &std::path::Path) -> (Self, Vec<Finding>) {
        let mut findings = Vec::new();
        let layer = file::read(path, Presence::Found);
        let layer = layer.unwrap_or_else(|finding| {
            findings.push(finding);
            None
        });
        (Self::merged(layer), findings)
    }

    /// No source at all: every setting has its default.
    pub fn none() -> Self {
        Self::merged(None)
    }

    fn merged(layers: impl IntoIterator<Item = Layer>) -> Self {
        let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
        // An empty path finds the root. Our providers never fail, so there always is one.
        let root = figment.find_value("").ok().and_then(Value::into_dict);
        let tree = root.unwrap_or_default();
        Self { figment, tree }
    }

    /// Value of a key.
    pub fn find(&self, key: &Key) -> Option<Found<'_>> {
        let (last, parents) = key.segments().split_last()?;
        let mut table = &self.tree;
        for segment in parents {
            table = table.get(segment)?.as_dict()?;
        }
        Some(self.found(key, table.get(last)?))
    }

    fn found<'a>(&'a self, key: &Key, value: &'a Value) -> Found<'a> {
        let metadata = self.figment.get_metadata(value.tag());
        let source = metadata.map(|from| from.interpolate(&Profile::Default, key.segments()));
        // Only a variable's layer keeps a text as its source.
        let raw = metadata.and_then(|from| from.source.as_ref()?.custom());
        let variable = raw.and(metadata).map(|from| from.name.to_string());
        Found {
            value,
            source: source.unwrap_or_default(),
            variable,
            raw: raw.map(str::to_owned),
        }
    }

    /// Names of the tables in a table at the top.
    pub fn tables(&self, name: &str) -> Vec<String> {
        let table = self.tree.get(name).and_then(Value::as_dict);
        let entries = table.into_iter().flatten();
        let tables = entries.filter(|(_, value)| value.as_dict().is_some());
        tables.map(|(name, _)| name.clone()).collect()
    }

    /// Names of all entries of a table.
    pub fn names(&self, table: &Key) -> Vec<String> {
        let found = self.find(table);
        let entries = found.as_ref().and_then(|found| found.value.as_dict());
        entries
            .into_iter()
            .flat_map(|all| all.keys().cloned())
            .collect()
    }

    /// Keys of all values, and of the tables without any.
    pub fn leaves(&self) -> Vec<Key> {
        let mut keys = Vec::new();
        collect_leaves(&self.tree, &Key::new([""; 0]), &mut keys);
        keys
    }
}

impl Found<'_> {
    /// Converts the value.
    pub fn read<T: Scalar>(&self) -> Result<T, Problem> {
        T::read(self.value).or_else(|error| {
            // figment takes PORTBOOK_SOCKET_MODE=0660 for a number and PORTBOOK_SOCKET=1 as well;
            // where that does not fit, the plain text may.
            let raw = self.raw.as_deref().filter(|_| !self.is_compound());
            raw.and_then(|raw| T::read(&Value::from(raw)).ok())
                .ok_or_else(|| problem::<T>(error))
        })
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        self.value.as_dict().is_some()
    }

    fn is_compound(&self) -> bool {
        self.is_table() || self.value.as_array().is_some()
    }
}

/// Turns an error of figment into a finding: the value, and the form to write instead.
fn problem<T: Scalar>(error: figment::Error) -> Problem {
    use figment::error::{Actual, Kind};
    let expected = format!("write {}", T::EXPECTS);
    match error.kind {
        Kind::Message(text) => {
            let problem = Problem::from_message(&text);
            Problem {
                hint: problem.hint.or(Some(expected)),
                ..problem
            }
        }
        Kind::InvalidType(found, _) | Kind::InvalidValue(found, _) => {
            let found = match found {
                Actual::Bool(flag) => flag.to_string(),
                Actual::Unsigned(number) => number.to_string(),
                Actual::Signed(number) => number.to_string(),
                Actual::Float(number) => number.to_string(),
                Actual::Str(text) => format!("\"{text}\""),
                Actual::Seq => "a list".into(),
                Actual::Map => "a table".into(),
                other => other.to_string(),
            };
            Problem::new(format!("{found} does not fit"), expected)
        }
        Kind::UnknownVariant(word, known) => Problem::new(
            format!("\"{word}\" is not known"),
            format!("write {}", known.join(" or ")),
        ),
        other => Problem::new(other.to_string(), expected),
    }
}

fn collect_leaves(table: &Dict, at: &Key, keys: &mut Vec<Key>) {
    for (name, value) in table {
        let key = at.child(name);
        match value.as_dict() {
            Some(inner) if !inner.is_empty() => collect_leaves(inner, &key, keys),
            _ => keys.push(key),
        }
    }
}

fn files(sources: &Sources, findings: &mut Vec<Finding>) -> Vec<Layer> {
    let customary = [Some(&sources.system_file), sources.user_file.as_ref()];
    let customary = customary.into_iter().flatten();
    let named = sources.explicit_file.iter();
    let all = customary
        .map(|path| (path, Presence::Optional))
        .chain(named.map(|path| (path, Presence::Required)));
    let mut layers = Vec::new();
    for (path, presence) in all {
        match file::read(path, presence) {
            Ok(layer) => layers.extend(layer),
            Err(finding) => findings.push(finding),
        }
    }
    layers
}

/// One layer for each `PORTBOOK_` variable. An empty one counts as not set.
fn environment(variables: &[(String, String)]) -> impl Iterator<Item = Layer> {
    let ours = variables.iter().filter_map(|(name, raw)| {
        let key = name.strip_prefix("PORTBOOK_")?;
        let is_setting =
            !CHILD_VARIABLES.contains(&name.as_str()) && !strange::is_service_link(name);
        (is_setting && !raw.is_empty())
            .then(|| (name, Key::new(key.to_lowercase().split("__")), raw))
    });
    ours.map(|(name, key, raw)| {
        let typed = raw
            .parse()
            .unwrap_or_else(|never: std::convert::Infallible| match never {});
        let source = format!("environment ({name})");
        Layer {
            metadata: Metadata::from(name.clone(), figment::Source::Custom(raw.clone()))
                .interpolater(move |_: &Profile, _| source.clone()),
            values: nest(&key, typed),
        }
    })
}

/// One layer for each flag that was given.
fn flags(flags: &Flags, findings: &mut Vec<Finding>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (flag, key, value) in flags.given() {
        if let Some(value) = value {
            layers.push(flag_layer(flag, key, value));
        } else {
            let source = format!("command-line flag ({flag})");
            let problem = Problem::new("the path is not UTF-8", "use one that is");
            findings.push(Finding::error(&"", &source, problem));
        }
    }
    layers
}

fn flag_layer(flag: &str, key: &str, value: Value) -> Layer {
    let source = format!("command-line flag ({flag})");
    Layer {
        metadata: Metadata::named(source.clone())
            .interpolater(move |_: &Profile, _| source.clone()),
        values: nest(&Key::new(key.split('.')), value),
    }
}
