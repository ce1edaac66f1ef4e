//! `portbook fleet` and `portbook resolve`: this host among others.

mod evict;
mod join;
mod reserve;
mod resolve;
mod show;
mod status;
mod watch;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, Global, note, print_json, with_service};
use crate::answers::document::VERSION;
use crate::answers::fleet::LeaveFleet;
use crate::config::Loaded;
use crate::domain::fleet::HostName;
use crate::fleet::{Rights, role};

pub(super) use resolve::{ResolveArgs, resolve};
pub(super) use show::{list, on_ports};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portbook fleet join http://127.0.0.1:2379     with an etcd on this host
  portbook fleet status                         whether this host is in its fleet
  portbook fleet names --live                   what the others serve
  portbook fleet reserve 9100 --name node-exporter  one number on every host
  portbook fleet role build-2                   the rights of another host, as commands for etcdctl")]
pub struct FleetArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the state of this host in its fleet; exit code 3 unless it has joined, or if etcd refuses it.
    Status,
    /// List the hosts of the fleet.
    Hosts,
    /// List the published names of all hosts.
    Names(show::NamesArgs),
    /// List the numbers that are unique in the fleet, with the hosts that have them.
    Claims(show::ClaimsArgs),
    /// Reserve one number on every host for a name; exit code 1 if a host objects.
    Reserve(reserve::ReserveArgs),
    /// Take the reservation of a number on every host back.
    Release(reserve::ReleaseArgs),
    /// List the numbers that are reserved on every host, with what each host says.
    Everywhere,
    /// Take the unique numbers of a host whose machine is switched off, or claims that cannot be read.
    Evict(evict::EvictArgs),
    /// Check addresses, certificates and rights, and write the settings.
    Join(join::JoinArgs),
    /// Withdraw the names of this host, and end its session.
    Leave,
    /// Print the commands that give a host its rights in etcd.
    Role {
        /// Name of the host, which is the common name of its certificate.
        host: HostName,
        /// Rights to read alone.
        #[arg(long)]
        viewer: bool,
        /// Rights to reserve numbers on every host as well.
        #[arg(long, conflicts_with = "viewer")]
        operator: bool,
    },
}

pub(super) async fn run(global: &Global, args: &FleetArgs) -> Result<(), Failure> {
    match &args.action {
        Action::Status => status::status(global).await,
        Action::Hosts => show::hosts(global).await,
        Action::Names(args) => show::names(global, args).await,
        Action::Claims(args) => show::claims(global, args).await,
        Action::Reserve(args) => reserve::reserve(global, args).await,
        Action::Release(args) => reserve::release(global, args).await,
        Action::Everywhere => reserve::everywhere(global).await,
        Action::Evict(args) => evict::run(global, args).await,
        Action::Join(args) => join::run(global, args).await,
        Action::Leave => leave(global).await,
        Action::Role {
            host,
            viewer,
            operator,
        } => {
            let loaded = global.load()?;
            let rights = match (viewer, operator) {
                (true, _) => Rights::Viewer,
                (false, true) => Rights::Operator,
                (false, false) => Rights::Host,
            };
            let commands = role(host, &loaded.settings.fleet.prefix, rights);
            let lines: Vec<&str> = commands.lines().collect();
            global.answer(&json!({ "version": VERSION, "commands": lines }), || {
                commands.clone()
            })
        }
    }
}

async fn leave(global: &Global) -> Result<(), Failure> {
    let loaded = global.load()?;
    with_service(&loaded, async |backend| {
        backend.call::<LeaveFleet>(()).await
    })
    .await?;
    if global.json {
        print_json(&json!({ "version": VERSION, "left": true }))?;
    }
    if !loaded.settings.fleet.engine.is_empty() {
        let source = loaded.provenance.source("fleet.engine");
        let first = unique_pools(&loaded);
        note(&format!(
            "this host has left; the next start joins again unless fleet.engine is taken out ({source}){first}"
        ));
    }
    Ok(())
}

/// Says what is to be taken out before the fleet. Empty if no pool has unique numbers.
fn unique_pools(loaded: &Loaded) -> String {
    let pools = loaded.settings.pools.values();
    let unique = pools.filter(|pool| pool.is_unique()).map(|pool| {
        let key = format!("pools.{}.fleet", pool.name);
        format!("{key} ({})", loaded.provenance.source(&key))
    });
    let unique: Vec<String> = unique.collect();
    if unique.is_empty() {
        return String::new();
    }
    format!(
        "; take out {} first, as no service starts with a unique pool and without a fleet",
        unique.join(", ")
    )
}
