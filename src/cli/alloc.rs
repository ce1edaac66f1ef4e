//! `portbook alloc`: a port on stdout.

use clap::Args;

use super::request::{PortOptions, label_all};
use super::running::traced_on;
use super::{Failure, Global, note, number};
use crate::answers::document::AllocationDocument;
use crate::domain::duration::HumanDuration;
use crate::domain::lease::{Guard, Handover};

#[derive(Debug, Args)]
#[command(after_help = "\
Prints the port and nothing else, one a line where several are asked for:
  PORT=$(portbook alloc) && python3 -m http.server $PORT
The lease waits for its first listener (claim_within, ten minutes by default), which becomes its
owner; it ends with that process. A name outlives it and gets the same port again. --reserve keeps
a port for a name that comes later, such as that of a job to be installed.")]
pub struct AllocArgs {
    #[command(flatten)]
    wanted: PortOptions,
    /// Limit on the wait for the first listener, such as 10m.
    #[arg(long, value_name = "DURATION", value_parser = number::lasting(number::TOO_SHORT))]
    claim_within: Option<HumanDuration>,
    /// The process that will use the port, if it runs already.
    #[arg(long, value_name = "PID",
        value_parser = number::at_least_one::<u32>("a process id is 1 or more"))]
    owner_pid: Option<u32>,
    /// Keep the port for its name until the program asks for it by that name; no other program is
    /// let in before.
    #[arg(long, requires = "name", conflicts_with_all = ["owner_pid", "claim_within", "dry_run"])]
    reserve: bool,
    /// Print the port that would be chosen, and lease nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(global: &Global, args: &AllocArgs) -> Result<(), Failure> {
    let mut requests = args.wanted.requests(global)?;
    for request in &mut requests {
        request.claim_within = args.claim_within;
        request.owner_pid = args.owner_pid;
        request.reserve = args.reserve;
        request.dry_run = args.dry_run;
    }
    let loaded = global.load()?;
    label_all(&mut requests, &loaded);
    traced_on(&loaded, "portbook alloc", async |backend| {
        let granted = backend.allocate_all(requests).await?;
        tell(&granted, args.dry_run);
        let printed = global.answer_each("allocations", &granted, ports);
        if printed.is_err() {
            backend.take_back_all(&granted).await;
        }
        printed
    })
}

fn tell(granted: &[AllocationDocument], dry_run: bool) {
    granted.iter().for_each(super::request::tell);
    if let Some(unguarded) = unguarded(granted).filter(|_| !dry_run) {
        note(unguarded);
    }
}

/// Note on ports that no hold keeps. `None` if each has one.
pub(super) fn unguarded(granted: &[AllocationDocument]) -> Option<&'static str> {
    let mut leases = granted.iter().flat_map(|granted| &granted.leases);
    let is_unguarded =
        leases.any(|lease| lease.guard == Guard::None && lease.handover == Handover::Gate);
    is_unguarded.then_some(
        "no service holds this port, so only the record keeps it until your program binds it; `portbook serve` would hold it",
    )
}

/// Prints every port once: TCP and UDP on one number are one line.
fn ports(granted: &AllocationDocument) -> String {
    let leases = granted.leases.iter();
    let mut ports: Vec<String> = leases.map(|lease| format!("{}\n", lease.port)).collect();
    ports.dedup();
    ports.concat()
}
