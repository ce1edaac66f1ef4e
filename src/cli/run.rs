//! `portbook run -- CMD`: gets the port, then becomes the program.
//!
//! By exec, not beside it: signals, exit status and owner pid are then right by themselves.
//! Without a service the program inherits the hold, so it lives exactly as long as it is needed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Args;
use tracing::Instrument;

use super::request::Wanted;
use super::trace::Trace;
use super::{Failure, Global, note};
use crate::api::document::{AllocationDocument, LeaseDocument};
use crate::domain::lease::Handover;
use crate::host::handover::{MOST_BY_NUMBER, Numbers};
use crate::library::backend::Backend;
use crate::telemetry::propagation::Ids;

/// portbook refused, before the program was started.
const REFUSED: u8 = 125;
/// The program is there, but cannot be run.
const NOT_EXECUTABLE: u8 = 126;
/// There is no such program.
const NOT_FOUND: u8 = 127;

/// What `run` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Sets PORT, HOST and PORTBOOK_ADDRESSES, and replaces {port} and {host} in the arguments. With
names also WEB_PORT, WEB_HOST and {web.port}, {web.host}; with several names there is no bare PORT.
  portbook run -- python3 -m http.server {port}
  portbook run --service web -- npm run dev        as the project's portbook.toml says
  portbook run --name web --name api -- sh -c 'serve --web $WEB_PORT --api $API_PORT'
The program must set SO_REUSEADDR when it binds, as nearly all servers do; for one that does not,
use --handover release. With --handover fd it is given listening sockets (LISTEN_FDS, as systemd's
socket activation does): nobody can come in between, and ports below 1024 need no privilege.")]
pub struct RunArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// The program and its arguments.
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Becomes the program; returns only if that failed.
pub(super) fn run(global: &Global, args: &RunArgs) -> Result<ExitCode, Failure> {
    let refused = |failure: Failure| failure.with_code(REFUSED);
    // First of all: what is opened later must not have the numbers that the program looks at.
    let numbers = Numbers::keep()
        .map_err(|error| refused(Failure::other(format!("no descriptors: {error}"))))?;
    let loaded = global.load().map_err(refused)?;
    let trace = Trace::begin(&loaded, "portbook run");
    let runtime = super::runtime()?;
    let asking = async {
        let backend = Backend::open(&loaded).await;
        let backend = backend.map_err(|error| refused(error.into()))?;
        let answer = allocate(&backend, global, args).await;
        Ok::<_, Failure>((backend, answer))
    };
    let asked = runtime.block_on(asking.instrument(trace.span.clone()));
    let (backend, answer) = match asked {
        Ok(asked) => asked,
        Err(failure) => {
            trace.end(Some(&failure));
            return Err(failure);
        }
    };
    // What was granted is committed. The exec closes the record as a crash would, which loses
    // nothing; an orderly close would have the program wait for the disk.
    let failed = match answer {
        Ok((granted, sockets)) => {
            for granted in &granted {
                super::request::tell(granted);
            }
            let of_service = || granted.first().and_then(traceparent_of);
            let traceparent = trace.traceparent().or_else(of_service);
            trace.end_before_program();
            let leases: Vec<_> = granted.into_iter().flat_map(|it| it.leases).collect();
            become_program(args, &leases, traceparent, numbers, &sockets)
        }
        Err(failure) => {
            trace.end(Some(&failure));
            Err(refused(failure))
        }
    };
    runtime.block_on(backend.close());
    failed
}

/// The service's own span, where this command makes none, for the program to go on with.
fn traceparent_of(granted: &AllocationDocument) -> Option<String> {
    let (trace_id, span_id) = (granted.trace_id.clone()?, granted.span_id.clone()?);
    Some(Ids { trace_id, span_id }.traceparent())
}

/// Sockets that the program is given, each with the name it is to know it by.
type Sockets = Vec<(String, OwnedFd)>;

async fn allocate(
    backend: &Backend,
    global: &Global,
    args: &RunArgs,
) -> Result<(Vec<AllocationDocument>, Sockets), Failure> {
    let mut requests = args.wanted.requests(global)?;
    for request in &mut requests {
        // This process becomes the program, so it is the owner from the start.
        request.owner_pid = Some(std::process::id());
    }
    let granted = backend.allocate_all(requests).await?;
    let mut sockets = Sockets::new();
    for lease in granted.iter().flat_map(|granted| &granted.leases) {
        match backend {
            _ if lease.handover == Handover::Fd => {
                let given = backend.sockets(lease.id)?.into_iter();
                sockets.extend(given.map(|socket| (socket_name(lease), socket)));
            }
            Backend::Embedded(embedded) => embedded.bequeath(lease.id),
            Backend::Service(_) => {}
        }
    }
    Ok((granted, sockets))
}

/// What the program knows a socket by (`LISTEN_FDNAMES`, `sd_listen_fds_with_names(3)`).
fn socket_name(lease: &LeaseDocument) -> String {
    let name = lease.name.as_ref();
    name.map_or_else(|| "portbook".to_owned(), ToString::to_string)
}

fn become_program(
    args: &RunArgs,
    leases: &[LeaseDocument],
    traceparent: Option<String>,
    numbers: Numbers,
    sockets: &[(String, OwnedFd)],
) -> Result<ExitCode, Failure> {
    let words = Words::of(leases, !args.wanted.names().is_empty());
    let mut arguments = args.command.iter().map(|argument| words.replaced(argument));
    let Some(program) = arguments.next() else {
        return Err(Failure::usage("no program was given").with_code(REFUSED));
    };
    let mut command = Command::new(&program);
    command.args(arguments).envs(words.variables());
    // Where nothing is traced, the caller's own goes through untouched.
    command.envs(traceparent.map(|traceparent| ("TRACEPARENT", traceparent)));
    hand_over(&mut command, numbers, sockets).map_err(|failure| failure.with_code(REFUSED))?;
    let error = command.exec();
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    note(&format!("{}: {error}", program.to_string_lossy()));
    Ok(ExitCode::from(code))
}

/// Puts the sockets where the program looks for them and tells it so (`sd_listen_fds(3)`). What
/// somebody else has told this process of its own is not for the program.
fn hand_over(
    command: &mut Command,
    numbers: Numbers,
    sockets: &[(String, OwnedFd)],
) -> Result<(), Failure> {
    if sockets.is_empty() {
        return Ok(());
    }
    if sockets.len() > MOST_BY_NUMBER {
        return Err(Failure::usage(format!(
            "{} sockets are more than the {MOST_BY_NUMBER} that a program can be handed: ask for fewer ports or addresses",
            sockets.len()
        )));
    }
    let names: Vec<&str> = sockets.iter().map(|(name, _)| &**name).collect();
    command
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDNAMES", names.join(":"));
    numbers
        .place(sockets.iter().map(|(_, socket)| socket))
        .map_err(|error| Failure::other(format!("the sockets could not be handed over: {error}")))
}

/// What the program is told, as variables and as words in its arguments.
struct Words {
    variables: BTreeMap<String, String>,
    placeholders: Vec<(String, String)>,
}

impl Words {
    fn of(granted: &[LeaseDocument], named: bool) -> Self {
        let mut words = Self {
            variables: BTreeMap::new(),
            placeholders: Vec::new(),
        };
        let mut leases: Vec<&LeaseDocument> = granted.iter().collect();
        leases.dedup_by_key(|lease| (lease.name.clone(), lease.port));
        if named {
            for lease in &leases {
                words.name(lease);
            }
        }
        if let [only] = leases[..] {
            words.add("", "", only);
        }
        let addresses = granted.iter().flat_map(|lease| lease.addresses.clone());
        let addresses: Vec<String> = addresses.collect();
        words
            .variables
            .insert("PORTBOOK_ADDRESSES".to_owned(), addresses.join(","));
        words
    }

    fn name(&mut self, lease: &LeaseDocument) {
        if let Some(name) = &lease.name {
            let (variable, word) = (
                format!("{}_", name.env_prefix()),
                format!("{}.", name.service()),
            );
            self.add(&variable, &word, lease);
        }
    }

    fn add(&mut self, variable: &str, word: &str, lease: &LeaseDocument) {
        for (key, value) in [
            ("PORT", lease.port.to_string()),
            ("HOST", lease.host.clone()),
        ] {
            let placeholder = format!("{{{word}{}}}", key.to_ascii_lowercase());
            self.placeholders.push((placeholder, value.clone()));
            self.variables.insert(format!("{variable}{key}"), value);
        }
    }

    const fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// An argument with its placeholders replaced; one that is not text is left as it is.
    fn replaced(&self, argument: &OsString) -> OsString {
        let Some(text) = argument.to_str().filter(|text| text.contains('{')) else {
            return argument.clone();
        };
        let mut text = text.to_owned();
        for (placeholder, value) in &self.placeholders {
            text = text.replace(placeholder, value);
        }
        text.into()
    }
}
