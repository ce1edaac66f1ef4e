//! The layers of a configuration: files, environment, flags, each over the one before.

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::file::{self, Presence};
use super::finding::{Finding, Problem};
use super::key::Key;
use super::value::Scalar;
use super::{Flags, Sources};

/// Variables that `portbook run` sets for the program it starts. They are answers, not settings, and
/// a `portbook` called by that program must not stumble over them.
pub const CHILD_VARIABLES: [&str; 6] = [
    "PORTBOOK_ADDRESSES",
    "PORTBOOK_ALLOCATION",
    "PORTBOOK_CLIENT_HOST",
    "PORTBOOK_HOST",
    "PORTBOOK_LEASE",
    "PORTBOOK_PORT",
];

/// The values of one source. A source is as narrow as it can be named: one variable, one flag.
#[derive(Debug)]
pub(super) struct Layer {
    pub metadata: Metadata,
    pub values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Every layer, merged.
pub(super) struct Layers {
    figment: Figment,
    tree: Dict,
}

/// A value that some layer gave.
pub(super) struct Found<'a> {
    value: &'a Value,
    /// Where it came from.
    pub source: String,
    /// The variable that gave it, if one did.
    pub variable: Option<String>,
    /// The text as it stands in the variable, before it was taken for a number or a list.
    raw: Option<String>,
}

impl Layers {
    /// Reads and merges what there is. A file that cannot be read is a finding, and the others
    /// still count, so that one look shows everything that is wrong.
    pub fn collect(sources: &Sources) -> (Self, Vec<Finding>) {
        let mut findings = Vec::new();
        let mut layers = files(sources, &mut findings);
        layers.extend(environment(&sources.environment));
        layers.extend(flags(&sources.flags, &mut findings));
        (Self::merged(layers), findings)
    }

    /// One file alone, of a project.
    pub fn of_file(path: &std::path::Path) -> (Self, Vec<Finding>) {
        let mut findings = Vec::new();
        let layer = file::read(path, Presence::Found);
        let layer = layer.unwrap_or_else(|finding| {
            findings.push(finding);
            None
        });
        (Self::merged(layer), findings)
    }

    fn merged(layers: impl IntoIterator<Item = Layer>) -> Self {
        let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
        // An empty path finds the root. Our providers never fail, so there always is one.
        let root = figment.find_value("").ok().and_then(Value::into_dict);
        let tree = root.unwrap_or_default();
        Self { figment, tree }
    }

    /// The value of a key.
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

    /// The names of the tables below a key.
    pub fn tables(&self, name: &str) -> Vec<String> {
        let table = self.tree.get(name).and_then(Value::as_dict);
        let entries = table.into_iter().flatten();
        let tables = entries.filter(|(_, value)| value.as_dict().is_some());
        tables.map(|(name, _)| name.clone()).collect()
    }

    /// The names of everything in a table.
    pub fn names(&self, table: &Key) -> Vec<String> {
        let found = self.find(table);
        let entries = found.as_ref().and_then(|found| found.value.as_dict());
        entries
            .into_iter()
            .flat_map(|all| all.keys().cloned())
            .collect()
    }

    /// Every key that has a value which is no table, or an empty one.
    pub fn leaves(&self) -> Vec<Key> {
        let mut keys = Vec::new();
        collect_leaves(&self.tree, &Key::new([""; 0]), &mut keys);
        keys
    }
}

impl Found<'_> {
    /// The value as a `T`.
    pub fn read<T: Scalar>(&self) -> Result<T, Problem> {
        self.value.deserialize().or_else(|error| {
            // figment takes PORTBOOK_SOCKET_MODE=0660 for a number and PORTBOOK_SOCKET=1 as well;
            // where that does not fit, the plain text may.
            let raw = self.raw.as_deref().filter(|_| !self.is_compound());
            raw.and_then(|raw| Value::from(raw).deserialize().ok())
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

/// figment's words in ours: what was found, and what to write instead.
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
        let counts = !raw.is_empty() && !CHILD_VARIABLES.contains(&name.as_str());
        counts.then(|| (name, Key::new(key.to_lowercase().split("__")), raw))
    });
    ours.map(|(name, key, raw)| {
        let typed = raw
            .parse()
            .unwrap_or_else(|never: std::convert::Infallible| match never {});
        let source = format!("environment ({name})");
        Layer {
            metadata: Metadata::from(name.clone(), figment::Source::Custom(raw.clone()))
                .interpolater(move |_: &Profile, _| source.clone()),
            values: file::nest(&key, typed),
        }
    })
}

/// One layer for each flag that was given: a default here would always win.
fn flags(flags: &Flags, findings: &mut Vec<Finding>) -> Vec<Layer> {
    let mut path = |flag: &str, path: &Option<std::path::PathBuf>| {
        let path = path.as_ref()?;
        let text = path.to_str();
        if text.is_none() {
            let source = format!("command-line flag ({flag})");
            let problem = Problem::new("the path is not UTF-8", "use one that is");
            findings.push(Finding::error(&"", &source, problem));
        }
        text.map(Value::from)
    };
    let attempts = flags.max_attempts.map(|number| Value::from(number.get()));
    let given = [
        (
            "--data-dir",
            "data_dir",
            path("--data-dir", &flags.data_dir),
        ),
        ("--socket", "socket", path("--socket", &flags.socket)),
        (
            "--listen",
            "console.listen",
            flags.listen.map(|at| at.to_string().into()),
        ),
        (
            "portserver",
            "console.enabled",
            flags.console.map(Value::from),
        ),
        (
            "--portserver_address",
            "portserver.address",
            flags.portserver_address.clone().map(Value::from),
        ),
        (
            "--portserver_static_pool",
            "pools.portserver.ranges",
            flags.portserver_pool.clone().map(Value::from),
        ),
        ("--max-attempts", "pools.console.max_attempts", attempts),
        (
            "--otlp-endpoint",
            "telemetry.endpoint",
            flags.otlp_endpoint.clone().map(Value::from),
        ),
        ("--log", "telemetry.log", flags.log.clone().map(Value::from)),
        (
            "--log-format",
            "telemetry.log_format",
            flags.log_format.map(|it| it.as_str().into()),
        ),
    ];
    let given = given.into_iter();
    let layers = given.filter_map(|(flag, key, value)| Some(flag_layer(flag, key, value?)));
    layers.collect()
}

fn flag_layer(flag: &str, key: &str, value: Value) -> Layer {
    let source = format!("command-line flag ({flag})");
    Layer {
        metadata: Metadata::named(source.clone())
            .interpolater(move |_: &Profile, _| source.clone()),
        values: file::nest(&Key::new(key.split('.')), value),
    }
}
