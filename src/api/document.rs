//! The JSON documents, the same in the API and in `--json` of the command line.

mod process;
mod stats;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::address::{http_url, with_port};
use crate::domain::attempt::{Attempt, Occupant};
use crate::domain::duration::Span;
use crate::domain::exclusion::Exclusion;
use crate::domain::explanation::Explanation;
use crate::domain::health::Condition;
use crate::domain::lease::{
    AllocationId, Guard, Handover, Lease, LeaseId, Name, Owner, Scope, State,
};
use crate::domain::pool::Strategy;
use crate::domain::port::{Port, PortSet, Protocol, Protocols};
use crate::domain::request::Request;
use crate::domain::selector::Selector;
use crate::domain::story;
use crate::host::clock::Clock;
use crate::store::{AllocationRecord, AttemptRecord};

pub use process::ProcessDocument;
pub use stats::{
    HourStats, InterfaceStats, LifetimeStats, OccupantStats, OutcomesDocument, PoolStats,
    PortRecord, PortStats, PruneDocument, PruneRequest, Saved, StatsDocument,
};

/// The version of the JSON documents.
pub const VERSION: u32 = 1;

/// Within what names are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScopeWord {
    /// The user.
    User,
    /// The user and a directory tree.
    Dir,
}

/// What `POST /api/v1/leases` takes; every field may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(transform = add_rules)]
pub struct LeaseRequest {
    /// One name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Several names, a port each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("uniqueItems" = true))]
    pub names: Vec<Name>,
    /// The pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Exactly this port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// This port if it is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub prefer: Option<u16>,
    /// Where to look, in place of the pool's ranges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<PortSet>,
    /// How many ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub count: Option<NonZeroU32>,
    /// How many ports in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub block: Option<NonZeroU32>,
    /// Free for which protocols.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocols>,
    /// Where to hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Selector>,
    /// The order of candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How many candidate ports may be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<NonZeroU32>,
    /// How the port passes to its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
    /// How long to wait for a first listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_within: Option<Span>,
    /// How long the lease lasts unless renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Within what names are unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeWord>,
    /// The directory tree that `"scope": "dir"` means: an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/[^\\x00]*$"))]
    pub directory: Option<PathBuf>,
    /// The process that will use the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub owner_pid: Option<u32>,
    /// Free words to filter by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub labels: BTreeMap<String, String>,
    /// Refuse rather than move a name whose port was taken meanwhile.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// How long to wait for a port where none is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// Keep the port for its name until the owner comes: nobody is let in yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reserve: bool,
    /// Say what would be granted, and grant nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

impl LeaseRequest {
    /// The request in the domain's words, or what is wrong with it.
    pub fn parse(self) -> Result<Request, String> {
        let port = |field: &str, number: Option<u16>| match number.map(Port::new) {
            Some(None) => Err(format!(
                "{field}: 0 is not a port: ports go from 1 to 65535"
            )),
            Some(port) => Ok(port),
            None => Ok(None),
        };
        let mut names = self.names;
        match self.name {
            Some(_) if !names.is_empty() => {
                return Err("name and names exclude each other: put all into names".to_owned());
            }
            name => names.extend(name),
        }
        if self.ranges.as_ref().is_some_and(PortSet::is_empty) {
            return Err("ranges: name one port at least, or leave it out".to_owned());
        }
        check_labels(&self.labels)?;
        Ok(Request {
            until_reaped: false,
            pool: self.pool,
            names,
            scope: scope(self.scope, self.directory)?,
            count: self.count,
            block: self.block,
            port: port("port", self.port)?,
            prefer: port("prefer", self.prefer)?,
            ranges: self.ranges,
            protocol: self.protocol,
            interfaces: self.interfaces,
            strategy: self.strategy,
            max_attempts: self.max_attempts,
            handover: self.handover,
            claim_within: self.claim_within.map(|span| span.0),
            ttl: self.ttl.map(|span| span.0),
            owner_pid: self.owner_pid,
            labels: self.labels,
            strict: self.strict,
            wait: self.wait.map(|span| span.0),
            reserve: self.reserve,
            dry_run: self.dry_run,
        })
    }
}

/// Whether the kernel could have such a directory.
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

/// What excludes what, and what goes with what.
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
    let rules = [
        both("port", "prefer"),
        both("count", "block"),
        unless("name", given(), 1),
        unless("count", given(), 1),
        unless("block", given(), 1),
        unless("port", given(), 2),
        one_at_most("count", "port"),
        one_at_most("block", "port"),
        one_at_most("count", "name"),
        one_at_most("block", "name"),
        in_a_tree,
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

/// How many labels a lease may have, and how many characters a key or a value.
const MAX_LABELS: usize = 16;
const MAX_LABEL: usize = 128;

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

/// The process that uses a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerDocument {
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// Its user.
    pub uid: u32,
    /// Its name; anybody's text.
    pub command: String,
    /// What else is known of it; told where one port is asked about.
    #[serde(flatten)]
    pub process: ProcessDocument,
}

impl From<&Owner> for OwnerDocument {
    fn from(owner: &Owner) -> Self {
        Self {
            pid: owner.pid,
            started_at: owner.started_at,
            uid: owner.uid,
            command: owner.command.clone(),
            process: ProcessDocument::default(),
        }
    }
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseDocument {
    /// Its id.
    pub id: LeaseId,
    /// The allocation that granted it.
    pub allocation: AllocationId,
    /// Its name.
    pub name: Option<Name>,
    /// The directory tree that the name belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Its pool.
    pub pool: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: Port,
    /// The host that a client is told to use.
    pub host: String,
    /// The same as a URL, as a browser takes it.
    pub url: String,
    /// Every bind address with the port.
    pub addresses: Vec<String>,
    /// The interfaces of the bind addresses.
    pub interfaces: Vec<String>,
    /// What enforces it in the kernel.
    pub guard: Guard,
    /// Where it is in its life.
    pub state: State,
    /// How it passes to its owner.
    pub handover: Handover,
    /// The user it belongs to.
    pub uid: u32,
    /// The process that uses it.
    pub owner: Option<OwnerDocument>,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// When it ends by itself, unless renewed.
    pub expires_at: Option<Timestamp>,
    /// Until when a first listener must come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_by: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The trace of its allocation, when that was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The allocation's span there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
}

impl LeaseDocument {
    /// A lease as its user sees it.
    pub fn of(lease: &Lease, clock: &Clock) -> Self {
        let host = lease.addresses.advertised_host();
        let addresses = lease.addresses.addresses();
        let mut interfaces: Vec<String> = addresses
            .iter()
            .map(|address| address.interface.to_string())
            .collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        Self {
            id: lease.id,
            allocation: lease.allocation,
            name: lease.name.clone(),
            directory: match &lease.scope {
                Scope::User => None,
                Scope::Dir(dir) => Some(dir.clone()),
            },
            pool: lease.pool.to_string(),
            protocol: lease.protocol,
            port: lease.port,
            url: http_url(&host, lease.port),
            host,
            addresses: addresses
                .iter()
                .map(|address| with_port(address, lease.port))
                .collect(),
            interfaces,
            guard: lease.guard,
            state: lease.state,
            handover: lease.handover,
            uid: lease.uid,
            owner: lease.owner.as_ref().map(OwnerDocument::from),
            granted_at: lease.granted_at,
            expires_at: lease.expires.map(|at| clock.wall_time_of(at)),
            claim_by: lease.claim_by.map(|at| clock.wall_time_of(at)),
            ended_at: lease.ended_at,
            labels: lease.labels.clone(),
            trace_id: lease.trace_id.clone(),
            span_id: lease.span_id.clone(),
        }
    }

    /// A lease as others see it: where it is and whose, and nothing that its user wrote.
    #[must_use]
    pub fn seen_by_others(mut self) -> Self {
        self.name = None;
        self.directory = None;
        self.owner = None;
        self.labels.clear();
        self.trace_id = None;
        self.span_id = None;
        self
    }
}

/// The answer to a request for ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AllocationDocument {
    /// The allocation.
    pub allocation: AllocationId,
    /// Whether anything new was granted.
    pub created: bool,
    /// How many candidate ports were tried.
    pub attempt_count: usize,
    /// The trace, when it was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Its span there, for whoever goes on with the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// The leases, in the order of the names.
    pub leases: Vec<LeaseDocument>,
    /// Why these, where nothing was granted but the choice was asked for (`dry_run`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// What a reader should know, such as a name that had to move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The attempts that were refused on the way, with who was in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<AttemptDocument>,
}

/// One allocation with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AllocationRecordDocument {
    /// Its id.
    pub id: AllocationId,
    /// When it was answered.
    pub at: Timestamp,
    /// Who asked.
    pub uid: u32,
    /// Of which pool.
    pub pool: String,
    /// The code of the refusal.
    pub refusal: Option<String>,
    /// The refusal in words.
    pub detail: Option<String>,
    /// How many candidate ports were tried.
    pub attempt_count: u32,
    /// From the request to the commit.
    pub duration_us: u64,
    /// The trace, when it was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Its span there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// The same in a few sentences.
    #[serde(default)]
    pub story: String,
    /// Why it came out as it did.
    pub explanation: Explanation,
    /// What was tried, in order.
    pub attempts: Vec<AttemptDocument>,
}

impl AllocationRecordDocument {
    /// A record with its attempts, newest first as the store gives them.
    pub fn of(record: AllocationRecord, attempts: Vec<AttemptRecord>) -> Self {
        Self {
            id: record.id,
            at: record.at,
            uid: record.uid,
            pool: record.pool,
            refusal: record.refusal,
            detail: record.detail,
            attempt_count: record.attempt_count,
            duration_us: record.duration_us,
            trace_id: record.trace_id,
            span_id: record.span_id,
            story: story::of(&record.explanation),
            explanation: record.explanation,
            attempts: attempts
                .into_iter()
                .rev()
                .map(AttemptDocument::from)
                .collect(),
        }
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptDocument {
    /// The key for paging; none inside an answer, where nothing is on record yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// The allocation it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<AllocationId>,
    /// The pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// When it was made.
    pub at: Timestamp,
    /// The interface of the bind address.
    pub interface: String,
    /// The bind address.
    pub address: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// What came of it.
    pub outcome: String,
    /// The kernel's error number.
    pub errno: Option<i32>,
    /// How long the system calls took.
    pub duration_us: f64,
    /// Who was in the way.
    pub occupant: Option<Occupant>,
    /// The allocation's trace, when it was sampled; inside an answer, that of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The attempt's own span there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one system call")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

impl From<&Attempt> for AttemptDocument {
    fn from(attempt: &Attempt) -> Self {
        Self {
            seq: None,
            allocation: None,
            pool: None,
            at: attempt.at,
            interface: attempt.address.interface.to_string(),
            address: attempt.address.to_string(),
            protocol: attempt.protocol.as_str().to_owned(),
            port: attempt.port.get(),
            outcome: attempt.outcome.as_str().to_owned(),
            errno: attempt.errno,
            duration_us: micros(u64::try_from(attempt.duration.as_nanos()).unwrap_or(u64::MAX)),
            occupant: attempt.occupant.clone(),
            trace_id: None,
            span_id: attempt.span_id.clone(),
        }
    }
}

impl From<AttemptRecord> for AttemptDocument {
    fn from(record: AttemptRecord) -> Self {
        Self {
            seq: Some(record.seq),
            allocation: Some(record.allocation),
            pool: Some(record.pool),
            at: record.at,
            interface: record.interface,
            address: record.address,
            protocol: record.protocol,
            port: record.port,
            outcome: record.outcome,
            errno: record.errno,
            duration_us: micros(record.duration_ns),
            occupant: record.occupant,
            trace_id: record.trace_id,
            span_id: record.span_id,
        }
    }
}

/// Who is on one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortDocument {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: Port,
    /// The leases on it.
    pub leases: Vec<LeaseDocument>,
    /// Who is on it outside portbook.
    pub occupants: Vec<OccupantDocument>,
    /// Its latest attempts.
    pub attempts: Vec<AttemptDocument>,
    /// Whether somebody excluded it by hand, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusion: Option<Exclusion>,
    /// What all attempts on it add up to; none where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<PortRecord>,
}

/// Somebody on a port outside portbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OccupantDocument {
    /// As the kernel's tables tell.
    #[serde(flatten)]
    pub occupant: Occupant,
    /// What else is known of the process.
    #[serde(flatten)]
    pub process: ProcessDocument,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceDocument {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is a loopback.
    pub loopback: bool,
    /// Whether it belongs to containers or tunnels, which classes leave out.
    #[serde(rename = "virtual")]
    pub is_virtual: bool,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddressDocument>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceAddressDocument {
    /// The address, with its zone where it has one.
    pub address: String,
    /// The length of its network prefix.
    pub prefix_len: u8,
    /// Whether the host prefers it for talking to the world.
    pub primary: bool,
}

/// A pool with its rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolDocument {
    /// Its name.
    pub name: String,
    /// Its ranges.
    pub ranges: String,
    /// What is excluded.
    pub exclude: String,
    /// What requests by number alone get.
    #[serde(default)]
    pub static_band: String,
    /// Whether ports that browsers refuse are left out.
    #[serde(default)]
    pub browser_safe: bool,
    /// How many ports its ranges have.
    pub ports: usize,
    /// How many of them are leased.
    pub leased: usize,
    /// The preferred port.
    pub prefer: Option<Port>,
    /// The order of candidates.
    pub strategy: Strategy,
    /// How many candidates a request may try.
    pub max_attempts: Option<NonZeroU32>,
    /// Free for which protocols.
    pub protocol: Protocols,
    /// Where its ports are held.
    pub interfaces: Vec<Selector>,
    /// How ports pass to their owners.
    pub handover: Handover,
    /// How long to wait for a first listener.
    pub claim_within: Span,
    /// How long a lease lasts.
    pub ttl: Option<Span>,
    /// How long it may last at most.
    #[serde(default)]
    pub max_ttl: Option<Span>,
    /// How many leases there may be.
    #[serde(default)]
    pub max_leases: Option<NonZeroU32>,
    /// How many of them one user may have.
    #[serde(default)]
    pub max_leases_per_user: Option<NonZeroU32>,
    /// How long one request may try.
    pub attempt_timeout: Span,
    /// How long a port is left alone after a refused bind.
    pub cool_down: Span,
    /// How long a port is dearer after a lease on it has ended.
    pub release_cool_down: Span,
}

/// How the service is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusDocument {
    /// The program's version.
    pub version: String,
    /// The service's process.
    pub pid: u32,
    /// The user it runs as.
    pub uid: u32,
    /// Where the console landed.
    pub console: Option<String>,
    /// The API socket.
    pub socket: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Living leases.
    pub leases: usize,
    /// Descriptors kept open by holds.
    pub held_descriptors: usize,
    /// Descriptors that holds may keep open.
    #[serde(default)]
    pub descriptor_budget: usize,
    /// What the repair loop has mended since the start, by kind; nothing is as it should be.
    #[serde(default)]
    pub repairs: BTreeMap<String, u64>,
    /// Whether no check failed.
    pub ready: bool,
    /// What was looked at to say so, and how it is.
    #[serde(default)]
    pub checks: Vec<CheckDocument>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckDocument {
    /// What.
    pub name: String,
    /// How it is.
    pub condition: Condition,
    /// The same in words.
    pub detail: String,
}
