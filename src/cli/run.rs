//! `portbook run -- CMD`: gets the port, then becomes the program.
//!
//! It becomes the program by exec, so signals, exit status and owner pid are right without more.
//! Without a service the program inherits the hold, which lives exactly as long as it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use super::map::{self, Map};
use super::program::{self, Chosen};
use super::request::{PortOptions, label_all};
use super::running::Source;
use super::trace::Trace;
use super::variables::{self, Asked};
use super::{Failure, Global};
use crate::answers::document::{AllocationDocument, LeaseDocument, LeaseRequest};
use crate::domain::lease::Handover;
use crate::host::handover::Numbers;
use crate::library::backend::Backend;
use crate::telemetry::propagation::Ids;

/// Exit code of a refusal, before the program was started (`env(1)`).
const REFUSED: u8 = 125;
/// Exit code of a program that cannot be run.
const NOT_EXECUTABLE: u8 = 126;
/// Exit code of a program that does not exist.
const NOT_FOUND: u8 = 127;

#[derive(Debug, Args)]
#[command(after_help = "\
Sets PORT, HOST, PORTBOOK_ADDRESSES and PORTBOOK_CLIENT_HOST, and replaces {port} and {host} in the
arguments. A name also gives WEB_PORT, WEB_HOST and {web.port}, {web.host}; with several names there
is no bare PORT. Several ports are PORT (the first), PORT_0, PORT_1, …, PORT_COUNT, and {port.1}.
  portbook run -- python3 -m http.server {port}
  portbook run --service web -- npm run dev        as the project's portbook.toml says
  portbook run --name web --name api -- sh -c 'serve --web $WEB_PORT --api $API_PORT'
  portbook run --name db --env PGPORT=db -- postgres
  portbook run --name ray --block 4 -- ray start --port={port} --worker-ports={port+1},{port+2}
  portbook run --map 8080 -- ./server              for a program with 8080 in its code
  portbook run --map 5353/udp -- ./resolver        for one with a UDP port in its code
  portbook run --map all -- ./server               for one with any ports in its code
  portbook run -i lan0 -- python3 -m http.server --bind {host} {port}

Placeholders: {port}, {port.INDEX} from 0 in the order granted, {port+OFFSET} within a block, {host},
each also for a name: {web.port}, {web.port.1}, {web.port+1}, {web.host}. One that cannot be filled
is an error. Other text stays as it is: ${port}, {{port}}, {\"port\": 1}; with --literal, all of it.
An IPv6 {host} has brackets before a port and in URLs.

HOST and {host} are for the program to bind: 127.0.0.1 as a rule, the NIC's address for one NIC, a
wildcard address (0.0.0.0, or :: without IPv4) where `any` or `all` was asked for by hand. Clients
find PORTBOOK_CLIENT_HOST, and WEB_CLIENT_HOST where it is another. A PORT, HOST or LISTEN_FDS of the
outer environment never passes for the program's own; sockets that systemd gave to portbook are
passed on, before portbook's.

The program must set SO_REUSEADDR when it binds, as nearly all servers do; for one that does not,
use --handover release, or beside a privileged service --handover bind: the kernel lets the program
in however it binds, and no other. With --handover fd it is given listening sockets (LISTEN_FDS, as systemd's
socket activation does): no other program can come in between, and ports below 1024 need no privilege.
That is one socket for both families where any address is held; --fds passes one for each address.
LISTEN_PID is the process that run becomes: behind a shell, write exec before the server.")]
pub struct RunArgs {
    #[command(flatten)]
    wanted: PortOptions,
    /// A variable with the port of a name, or with the port at an index from 0; repeatable.
    #[arg(long, value_name = "NAME=WEB|0", value_parser = program::chosen)]
    env: Vec<Chosen>,
    /// Pass a socket for each address, where --handover fd passes one for both families.
    #[arg(long)]
    fds: bool,
    /// A port that the program asks for by itself, whatever it is told: the kernel gives it a leased one instead,
    /// and its own connects and datagrams to it on this host follow. It is for TCP, PORT/udp or PORT/both, or what
    /// --protocol says. The lease is called as the port, or NAME, in the folder of the project unless --scope says
    /// otherwise; repeatable. `all` does so for each TCP port that the program asks for, beside those named. Needs a
    /// privileged service.
    #[arg(long, value_name = "PORT[/PROTOCOL][=NAME]|all", value_parser = map::map,
        conflicts_with_all = ["count", "block", "fds"])]
    map: Vec<Map>,
    /// Leave words such as {port} in the arguments as they are.
    #[arg(long)]
    literal: bool,
    /// The program and its arguments.
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Becomes the program; returns only if that failed.
pub(super) fn run(global: &Global, args: &RunArgs) -> Failure {
    // First of all, since anything opened before would take the numbers that the program looks at.
    let numbers = Numbers::keep().map_err(|error| {
        Failure::other(format!("cannot keep descriptors for the program: {error}"))
    });
    let not_run = numbers.and_then(|numbers| start(global, args, numbers));
    not_run.unwrap_or_else(|refusal| refusal.with_code(REFUSED))
}

/// Starts the program in place of this one. Returns the failure of a program that cannot be run, or
/// the refusal before it.
fn start(global: &Global, args: &RunArgs, numbers: Numbers) -> Result<Failure, Failure> {
    let mut asked = args.asked(global)?;
    let loaded = global.load()?;
    label_all(asked.iter_mut().map(|asked| &mut asked.request), &loaded);
    let trace = Trace::begin(&loaded, "portbook run");
    let source = match Source::find(&loaded, &trace.span) {
        Ok(source) => source,
        Err(failure) => {
            trace.end(Some(&failure));
            return Err(failure);
        }
    };
    let answer = source.work(allocate(&source.backend, &asked, args.fds), &trace.span);
    // The grants are committed. The exec closes the record as a crash would, which loses nothing;
    // for an orderly close the program would have to wait for the disk.
    let failed = match answer {
        Ok((granted, sockets)) => {
            let own = asked.iter().zip(&granted);
            for (_, granted) in own.filter(|(asked, _)| !asked.only_referred_to) {
                super::request::tell(granted);
            }
            let of_service = || granted.first().and_then(traceparent_of);
            let traceparent = trace.traceparent().or_else(of_service);
            trace.end_before_program();
            become_program(args, &asked, &granted, traceparent, (numbers, &sockets))
        }
        Err(failure) => {
            trace.end(Some(&failure));
            Err(failure)
        }
    };
    source.close();
    failed
}

/// Trace of the service's own span, for the program to continue if this command makes no span.
fn traceparent_of(granted: &AllocationDocument) -> Option<String> {
    let (trace_id, span_id) = (granted.trace_id.clone()?, granted.span_id.clone()?);
    Some(Ids { trace_id, span_id }.traceparent())
}

/// Sockets for the program, each with the name that the program knows it by.
type Sockets = Vec<(String, OwnedFd)>;

/// Answers to all requests, and the sockets for the program.
type Granted = (Vec<AllocationDocument>, Sockets);

impl RunArgs {
    /// Builds the requests. Every mistake that shows before a port is known is reported now.
    fn asked(&self, global: &Global) -> Result<Vec<Asked>, Failure> {
        let named = program::names_in(self.arguments());
        let mut asked = map::asked(&self.map, &self.wanted, global, &named)?;
        for asked in asked.iter_mut().filter(|asked| !asked.only_referred_to) {
            // This process becomes the program, so it is the owner from the start.
            asked.request.owner_pid = Some(std::process::id());
            if self.fds {
                by_sockets(&mut asked.request)?;
            }
        }
        let groups = variables::to_come(&asked);
        variables::variables(&groups)?;
        program::chosen_variables(&groups, &self.env)?;
        program::filled(&groups, self.arguments())?;
        Ok(asked)
    }

    /// Words of the command that may hold placeholders.
    fn arguments(&self) -> &[OsString] {
        if self.literal { &[] } else { &self.command }
    }
}

/// Makes the hand-over the one that passes sockets.
fn by_sockets(request: &mut LeaseRequest) -> Result<(), Failure> {
    match request.handover.replace(Handover::Fd) {
        None | Some(Handover::Fd) => Ok(()),
        Some(other) => Err(Failure::usage(format!(
            "--fds passes sockets, which handover {} does not: use --handover fd",
            other.as_str()
        ))),
    }
}

async fn allocate(backend: &Backend, asked: &[Asked], each: bool) -> Result<Granted, Failure> {
    let requests = asked.iter().map(|asked| asked.request.clone()).collect();
    let granted = backend.allocate_all(requests).await?;
    let own = asked.iter().zip(&granted);
    let own = own.filter(|(asked, _)| !asked.only_referred_to);
    let mut sockets = Sockets::new();
    for lease in own.flat_map(|(_, granted)| &granted.leases) {
        match backend {
            _ if lease.handover == Handover::Fd => {
                let given = backend.sockets(lease.id, each)?.into_iter();
                let named = given.enumerate();
                sockets.extend(named.map(|(index, socket)| (socket_name(lease, index), socket)));
            }
            Backend::Embedded(embedded) => embedded.bequeath(lease.id),
            Backend::Service(_) => {}
        }
    }
    Ok((granted, sockets))
}

/// Name of a socket for the program (`LISTEN_FDNAMES`, `sd_listen_fds_with_names(3)`): that of the lease,
/// and for further sockets of the lease `web.2`, `web.3`, since programs want one socket a name.
fn socket_name(lease: &LeaseDocument, index: usize) -> String {
    let name = lease.name.as_ref();
    let name = name.map_or_else(|| "portbook".to_owned(), ToString::to_string);
    if index == 0 {
        return name;
    }
    format!("{name}.{}", index + 1)
}

fn become_program(
    args: &RunArgs,
    asked: &[Asked],
    granted: &[AllocationDocument],
    traceparent: Option<String>,
    (numbers, sockets): (Numbers, &[(String, OwnedFd)]),
) -> Result<Failure, Failure> {
    let groups = variables::granted(asked, granted);
    let variables = variables::variables(&groups)?;
    variables::tell(asked, granted, &variables);
    let mut words = args.command.clone();
    if !args.literal {
        words = program::filled(&groups, &args.command)?;
    }
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::usage("no program was given"));
    };
    let mut command = Command::new(program);
    program::forget_outer(&mut command);
    command.args(arguments).envs(variables.values);
    command.envs(program::always(asked, granted, &groups));
    command.envs(program::chosen_variables(&groups, &args.env)?);
    // Without a trace the caller's own variable goes through untouched.
    command.envs(traceparent.map(|traceparent| ("TRACEPARENT", traceparent)));
    program::hand_over(&mut command, numbers, sockets)?;
    if !sockets.is_empty() {
        program::tell_of_shell(&words);
    }
    let error = command.exec();
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    let said = format!("{}: {error}", program.to_string_lossy());
    Ok(Failure::other(said).with_code(code))
}
