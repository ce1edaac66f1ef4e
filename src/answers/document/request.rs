//! A request for ports.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{map, row};
use crate::answers::schema::Lasting;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{Handover, Name, Scope};
use crate::domain::mapped::{Map, Mapped};
use crate::domain::note::MAX_NOTE;
use crate::domain::pool::Strategy;
use crate::domain::port::{Port, PortSet, Protocols};
use crate::domain::request::Request;
use crate::domain::selector::Selector;

/// Realm in which a name is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScopeWord {
    /// One user.
    User,
    /// One directory tree of one user.
    Dir,
}

/// A request for ports; every field is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(transform = add_rules)]
pub struct LeaseRequest {
    /// Name of the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Several names, one port each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("uniqueItems" = true))]
    pub names: Vec<Name>,
    /// Instance of the named service, with a port of its own: `2` makes `web@2` of `web`. `None` for
    /// the first instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 62))]
    pub instance: Option<String>,
    /// Name of the pool; `default` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Exact port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Preferred port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub prefer: Option<u16>,
    /// Number of ports above the preferred one that are tried before the pool; the pool's if left out.
    /// It goes with `prefer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefer_span: Option<u16>,
    /// Ranges in place of the pool's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<PortSet>,
    /// Number of ports. With one name, of at most 60 characters, they are leased as `web`, `web.1`,
    /// `web.2`, …, each of which gets its port again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub count: Option<NonZeroU32>,
    /// Number of consecutive ports. With one name the same row is granted again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub block: Option<NonZeroU32>,
    /// Protocols that the port must be free for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocols>,
    /// Interfaces and addresses to hold the port on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Selector>,
    /// Order of candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Maximum number of candidate ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<NonZeroU32>,
    /// Time limit of the search, above zero; the pool's `attempt_timeout` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Lasting>")]
    pub timeout: Option<HumanDuration>,
    /// Hand-over of the port to its owner; the pool's if left out, and for UDP `release` in place of its
    /// `gate`. Where `bind` cannot be had it is `gate`, with a note; a `strict` request is refused then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
    /// Time that the lease waits for its first listener, above zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Lasting>")]
    pub claim_within: Option<HumanDuration>,
    /// Lifetime unless renewed, above zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Lasting>")]
    pub ttl: Option<HumanDuration>,
    /// Realm in which a name is unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeWord>,
    /// Directory tree for `"scope": "dir"`: an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/[^\\x00]*$"))]
    pub directory: Option<PathBuf>,
    /// Id of the process that will use the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub owner_pid: Option<u32>,
    /// Port that the process asks for of its own choice: the kernel gives it the leased one instead. For one
    /// port, handed over by `bind`; refused where that cannot be had. `all` means each TCP port that it comes to
    /// ask for: spares are granted, of which the kernel gives it one for each. The leases that an earlier program
    /// left in the scope, under names that are numbers, are its own again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<Mapped>,
    /// Labels to filter by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub labels: BTreeMap<String, String>,
    /// Refuse, rather than move, a name whose port has been taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// Time to wait for a port if none is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<HumanDuration>,
    /// Keep the port for its name until the owner comes; the gate stays shut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reserve: bool,
    /// Answer with the choice, and grant nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

impl LeaseRequest {
    /// Longest time that the service may take by the request's own words: its wait and its search.
    pub fn longest(&self) -> Duration {
        let given = [self.wait, self.timeout].into_iter().flatten();
        given.fold(Duration::ZERO, |sum, span| sum.saturating_add(span.0))
    }

    /// Adds labels of the setting `client.labels`, each `KEY=VALUE`. One that the request has wins.
    pub fn add_labels(&mut self, own: &[String]) {
        for (key, value) in own.iter().filter_map(|label| label.split_once('=')) {
            let place = self.labels.entry(key.to_owned());
            place.or_insert_with(|| value.to_owned());
        }
    }

    /// The request for the engine; an error in words.
    pub fn parse(mut self) -> Result<Request, String> {
        if self.ranges.as_ref().is_some_and(PortSet::is_empty) {
            return Err("ranges: name one port at least, or leave it out".to_owned());
        }
        check_labels(&self.labels)?;
        if self.map.is_some() {
            map::fill_in(&mut self)?;
        }
        let names = self.take_names()?;
        Ok(Request {
            until_reaped: false,
            pool: self.pool,
            names,
            scope: scope(self.scope, self.directory)?,
            count: self.count,
            block: self.block,
            port: port_of("port", self.port)?,
            prefer: port_of("prefer", self.prefer)?,
            prefer_span: self.prefer_span,
            ranges: self.ranges,
            protocol: self.protocol,
            interfaces: self.interfaces,
            strategy: self.strategy,
            max_attempts: self.max_attempts,
            timeout: self.timeout.map(|span| span.0),
            handover: self.handover,
            claim_within: self.claim_within.map(|span| span.0),
            ttl: self.ttl.map(|span| span.0),
            owner_pid: self.owner_pid,
            map: self.map.map(Map::from),
            labels: self.labels,
            strict: self.strict,
            wait: self.wait.map(|span| span.0),
            reserve: self.reserve,
            dry_run: self.dry_run,
            retry_key: None,
        })
    }

    /// The names of all leases, with their instances and the suffixes of several ports.
    fn take_names(&mut self) -> Result<Vec<Name>, String> {
        let mut names = std::mem::take(&mut self.names);
        match self.name.take() {
            Some(_) if !names.is_empty() => {
                return Err("name and names exclude each other: put all into names".to_owned());
            }
            name => names.extend(name),
        }
        if let Some(instance) = &self.instance {
            names = instances(&names, instance)?;
        }
        row::names(names, self.count.or(self.block))
    }
}

fn port_of(field: &str, number: Option<u16>) -> Result<Option<Port>, String> {
    let port = number.map(|number| {
        let port = Port::new(number);
        port.ok_or_else(|| format!("{field}: 0 is not a port: ports go from 1 to 65535"))
    });
    port.transpose()
}

/// Adds the instance to each name.
fn instances(names: &[Name], instance: &str) -> Result<Vec<Name>, String> {
    if names.is_empty() {
        return Err("instance goes with a name: it is another one of the same service".to_owned());
    }
    let each = names.iter().map(|name| match name.instance() {
        Some(_) => Err(format!(
            "{name} names an instance already: leave out instance"
        )),
        None => name
            .of_instance(instance)
            .map_err(|error| format!("instance: {error}")),
    });
    each.collect()
}

/// Whether the path is absolute and without a zero byte.
fn is_path(dir: &Path) -> bool {
    dir.is_absolute() && !dir.as_os_str().as_bytes().contains(&0)
}

fn scope(word: Option<ScopeWord>, directory: Option<PathBuf>) -> Result<Scope, String> {
    match (word, directory) {
        (None | Some(ScopeWord::User), None) => Ok(Scope::User),
        (Some(ScopeWord::Dir), Some(dir)) if is_path(&dir) => Ok(Scope::Dir(dir)),
        (Some(ScopeWord::Dir), _) => {
            Err("scope \"dir\" needs directory: the absolute path of the tree".to_owned())
        }
        (_, Some(_)) => Err("directory goes with \"scope\": \"dir\"".to_owned()),
    }
}

/// Adds the rules between fields. Generators of requests (schemathesis 4.32) give up on a schema with
/// one rule more, so some stand in words alone: count and block, prefer_span and prefer, and those of map.
fn add_rules(schema: &mut Schema) {
    let given = || json!({"not": {"type": "null"}});
    let both = |a: &str, b: &str| json!({"not": {"properties": {a: given(), b: given()}, "required": [a, b]}});
    let unless = |a: &str, is: Value, names: usize| {
        let several = json!({"type": "array", "minItems": names});
        json!({"not": {"properties": {a: is, "names": several}, "required": [a, "names"]}})
    };
    let one_at_most = |field: &str, beside: &str| {
        let several = json!({"type": "integer", "minimum": 2});
        let properties = json!({beside: given(), field: several});
        json!({"not": {"properties": properties, "required": [beside, field]}})
    };
    let in_a_tree = json!({
        "if": {"properties": {"scope": {"const": "dir"}}, "required": ["scope"]},
        "then": {"properties": {"directory": {"type": "string"}}, "required": ["directory"]},
        "else": {"properties": {"directory": {"type": "null"}}},
    });
    let some_name = json!([
        {"properties": {"name": given()}, "required": ["name"]},
        {"properties": {"names": {"type": "array", "minItems": 1}}, "required": ["names"]},
    ]);
    let reserved_for_a_name = json!({
        "if": {"properties": {"reserve": {"const": true}}, "required": ["reserve"]},
        "then": {"properties": {"owner_pid": {"type": "null"}}, "anyOf": some_name},
    });
    let rules = [
        both("port", "prefer"),
        unless("name", given(), 1),
        unless("count", given(), 2),
        unless("block", given(), 2),
        unless("port", given(), 2),
        one_at_most("count", "port"),
        one_at_most("block", "port"),
        in_a_tree,
        reserved_for_a_name,
    ];
    schema.insert("allOf".to_owned(), json!(rules));
}

fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_LABELS,
        "propertyNames": {"minLength": 1, "maxLength": MAX_LABEL},
        "additionalProperties": {"type": "string", "maxLength": MAX_LABEL},
    })
}

/// Maximum number of labels, and of characters in a key or a value.
const MAX_LABELS: usize = 16;
const MAX_LABEL: usize = MAX_NOTE;

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    let fits = |text: &str| text.chars().count() <= MAX_LABEL;
    if labels.len() > MAX_LABELS
        || !labels
            .iter()
            .all(|(key, value)| !key.is_empty() && fits(key) && fits(value))
    {
        return Err(format!(
            "labels: at most {MAX_LABELS}, keys and values of at most {MAX_LABEL} characters"
        ));
    }
    Ok(())
}
