//! `portbook resolve`: where a name is served in the fleet.

use std::time::Duration;

use clap::Args;

use super::super::output::print;
use super::super::{Failure, Global, with_service};
use super::show::{judge_age, tell, tell_age};
use super::watch;
use crate::answers::fleet::{FleetNameQuery, FleetNamesDocument, NamePath, ResolveFleetName};
use crate::answers::operation::Query;
use crate::domain::address::host_with_port;
use crate::domain::attempt::printable;
use crate::domain::fleet::FleetName;
use crate::domain::lease::Name;
use crate::library::Error;
use crate::library::backend::Backend;

/// Formats for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Address,
}

/// Least limit on an answer that waits for a change.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portbook resolve billing               the hosts and ports of billing
  portbook resolve billing --live        only those whose host lives
  portbook resolve billing --watch       again at each change
  portbook resolve billing --live --format address
                                         address:port, a line for each

While the fleet does not answer, the last known answer is printed and its age is told; with --fresh
the exit code is 3 then. It is 1 if no host serves the name. --watch goes on through an outage of etcd
and a restart of the service, and tells both.")]
pub struct ResolveArgs {
    /// Name of a lease.
    name: Name,
    /// Only those whose host lives.
    #[arg(long)]
    live: bool,
    /// Fail with exit code 3 if the fleet does not answer, instead of telling what is known from before.
    #[arg(long)]
    fresh: bool,
    /// Print address:port alone, a line for each lease that others reach, by the first of its addresses.
    #[arg(long, value_name = "FORMAT", conflicts_with = "watch")]
    format: Option<Format>,
    /// Print the answer again each time that it changes; with --json one document a line.
    #[arg(long, conflicts_with = "fresh")]
    watch: bool,
}

pub(in crate::cli) async fn resolve(global: &Global, args: &ResolveArgs) -> Result<(), Failure> {
    global.check_format(args.format.as_ref())?;
    let mut loaded = global.load()?;
    if args.watch {
        let limit = &mut loaded.settings.client.timeout;
        *limit = (*limit).max(PATIENCE);
        return watch::run(global, args, &loaded).await;
    }
    let found = with_service(&loaded, async |backend| ask(args, backend, None).await).await?;
    if found.names.is_empty() && (found.fresh || !args.fresh) {
        tell_age(found.fresh, found.age_ms);
        let living = if args.live { " living" } else { "" };
        let name = &args.name;
        return Err(Failure::not_found(format!(
            "no{living} host of the fleet serves {name}"
        )));
    }
    match args.format {
        None => tell(global, &found, args.fresh),
        Some(Format::Address) => {
            print(&addresses(&found.names))?;
            judge_age(found.fresh, found.age_ms, args.fresh)
        }
    }
}

/// One line for each lease that others reach.
fn addresses(names: &[FleetName]) -> String {
    let line = |name: &FleetName| {
        let address = name.addresses.first()?;
        Some(printable(&host_with_port(address, name.port)) + "\n")
    };
    names.iter().filter_map(line).collect()
}

/// Asks for the answer, or for one with another tag than `unlike`.
pub(super) async fn ask(
    args: &ResolveArgs,
    backend: &Backend,
    unlike: Option<String>,
) -> Result<FleetNamesDocument, Error> {
    let query = FleetNameQuery {
        live: args.live,
        unlike,
    };
    let input = (NamePath(args.name.clone()), Query(query));
    backend.call::<ResolveFleetName>(input).await
}
