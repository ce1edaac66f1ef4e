//! `portbook portserver`: the service in place of the port server that test runners start, with
//! that program's flags and signals.

use clap::Args;

use super::{Failure, Global, serve};
use crate::config::Flags;
use crate::store::directory::{DataDirectory, Holder};

/// Flags of the reference program, underscores included.
#[derive(Debug, Args)]
#[command(after_help = "\
Grants ports to processes as the portpicker package's portserver.py does, whose flags these are; its
clients find it by PORTSERVER_ADDRESS. SIGUSR1 tells the statistics on stderr, SIGINT ends it.
It is a service without a console. Where one runs anyway, set its portserver.address instead.")]
pub struct PortserverArgs {
    /// The ports to grant.
    #[arg(
        long = "portserver_static_pool",
        value_name = "N-P[,N-P]",
        default_value = "15000-24999"
    )]
    pool: String,
    /// Address to listen at; @ stands for the NUL of an abstract name.
    #[arg(
        long = "portserver_address",
        alias = "portserver_unix_socket_address",
        value_name = "ADDRESS",
        default_value = "@unittest-portserver"
    )]
    address: String,
    /// Log more.
    #[arg(long)]
    verbose: bool,
    /// Log everything.
    #[arg(long)]
    debug: bool,
}

pub(super) fn run(global: &Global, args: &PortserverArgs) -> Result<(), Failure> {
    if let Some(pid) = of_running_service(global)? {
        return Err(Failure::other(format!(
            "a portbook service runs already (pid {pid}) and can be the port server itself: set \
             `address = \"{}\"` in the section [portserver] of its configuration and start it \
             again, or give this one another --data-dir",
            args.address
        )));
    }
    let log = match (args.debug, args.verbose) {
        (true, _) => Some("debug"),
        (false, true) => Some("info,portbook=debug"),
        (false, false) => None,
    };
    let flags = Flags {
        console: Some(false),
        portserver_address: Some(args.address.clone()),
        portserver_pool: Some(args.pool.clone()),
        log: log.map(str::to_owned),
        ..global.flags()
    };
    serve::with(flags, serve::Start::default(), global.json)
}

/// Pid of the service that has the data directory, if there is one.
fn of_running_service(global: &Global) -> Result<Option<String>, Failure> {
    let loaded = global.load()?;
    let directory = DataDirectory::open(&loaded.settings.data_dir)?;
    let holder = directory.holder();
    // A command that has the directory for a moment is waited for later.
    Ok(holder.filter(Holder::is_service).map(|holder| holder.pid))
}
