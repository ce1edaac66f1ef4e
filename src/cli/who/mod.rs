//! `portbook who`: the processes that listen on this host, and the present and past occupants of a
//! port.

mod list;
mod port;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use serde_json::json;

use super::target::{self, Target};
use super::when::Local;
use super::{Failure, Global, complete, fleet, named, note, print, with_backend};
use crate::answers::document::{PortDocument, VERSION};
use crate::domain::port::{Port, PortSet, Protocol, Protocols};
use crate::host::clock::Clock;
use crate::library::Error;
use crate::library::backend::Backend;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portbook who              every process that listens on this host
  portbook who 8888         the occupants of 8888, TCP and UDP, now and before
  portbook who 3000-3010    the listeners there; 80,443 is a list
  portbook who web          the occupants of the port of the lease web

A number is always a port here; a lease that is called as it, as by `run --map 8080`, is named beside it.")]
pub struct WhoArgs {
    /// A port, a range, a list of both, or a lease's name or id. Default: every listener.
    #[arg(value_name = "PORT|RANGE|NAME", add = ArgValueCandidates::new(complete::names))]
    target: Option<Target>,
    /// Only tcp or udp.
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Look for published names on these ports on all hosts of the fleet.
    #[arg(long)]
    fleet: bool,
}

/// Tells the occupants of one port, of several or of all.
pub(super) async fn run(global: &Global, args: &WhoArgs) -> Result<(), Failure> {
    if args.fleet {
        return of_fleet(global, args).await;
    }
    let loaded = global.load()?;
    let answer = with_backend(&loaded, async |backend| match &args.target {
        None => list::every(backend, args.protocol).await,
        Some(Target::Ports(ports)) => list::on(backend, ports, args.protocol).await,
        Some(Target::Port(port)) => {
            let found = on_port(backend, *port, args.protocol).await?;
            let called = named::called(backend, *port).await?;
            if let Some(said) = named::note_of_called(*port, &called) {
                note(&said);
            }
            about(found)
        }
        Some(Target::Lease(word)) => about_lease(&of_lease(backend, word, args.protocol).await?),
    });
    let Answer { text, json } = answer.await?;
    print(if global.json { &json } else { &text })
}

async fn of_fleet(global: &Global, args: &WhoArgs) -> Result<(), Failure> {
    let ports = match &args.target {
        None => None,
        Some(Target::Port(port)) => Some(PortSet::single(*port)),
        Some(Target::Ports(ports)) => Some(ports.clone()),
        Some(Target::Lease(_)) => {
            let hint = "with --fleet name ports; `portbook resolve NAME` finds a name";
            return Err(Failure::usage(hint));
        }
    };
    fleet::on_ports(global, ports, args.protocol).await
}

/// An answer in both forms.
struct Answer {
    text: String,
    json: String,
}

impl Answer {
    fn of(text: String, document: &impl Serialize) -> Result<Self, Failure> {
        let json = serde_json::to_string_pretty(document);
        let json = json.map_err(|error| Failure::other(error.to_string()))?;
        Ok(Self {
            text,
            json: json + "\n",
        })
    }
}

/// A port for both protocols. In JSON, TCP is at the top and UDP beside it.
#[derive(Serialize)]
struct BothDocument {
    #[serde(flatten)]
    tcp: PortDocument,
    udp: PortDocument,
}

/// Answers for a port, for one protocol or both.
fn about(found: Vec<PortDocument>) -> Result<Answer, Failure> {
    let text = text(&found.iter().collect::<Vec<_>>());
    match <[PortDocument; 2]>::try_from(found) {
        Ok([tcp, udp]) => Answer::of(text, &BothDocument { tcp, udp }),
        Err(found) => Answer::of(text, &found.first()),
    }
}

/// Answers for the ports of a lease, or of all leases of a name.
fn about_lease(found: &[PortDocument]) -> Result<Answer, Failure> {
    let text: String = found.iter().map(|one| text(&[one])).collect();
    match found {
        [only] => Answer::of(text, only),
        _ => Answer::of(text, &json!({ "version": VERSION, "ports": found })),
    }
}

/// Describes a port for one protocol or both.
pub(super) fn text(found: &[&PortDocument]) -> String {
    port::text(found, &Local::at(Clock::system().now()))
}

/// A port for this protocol, or for TCP and UDP.
pub(super) async fn on_port(
    backend: &Backend,
    port: Port,
    protocol: Option<Protocol>,
) -> Result<Vec<PortDocument>, Failure> {
    let places = wanted(protocol).iter().map(|protocol| (port, *protocol));
    Ok(ports(backend, &places.collect::<Vec<_>>()).await?)
}

/// Ports of a lease, or of all leases of a name.
pub(super) async fn of_lease(
    backend: &Backend,
    word: &str,
    protocol: Option<Protocol>,
) -> Result<Vec<PortDocument>, Failure> {
    let living = backend.leases(false).await?;
    let meant = target::leases(&living, word)?;
    let mut places: Vec<(Port, Protocol)> = meant
        .iter()
        .map(|lease| (lease.port, lease.protocol))
        .filter(|(_, is)| protocol.is_none_or(|wanted| wanted == *is))
        .collect();
    places.sort_unstable();
    places.dedup();
    Ok(ports(backend, &places).await?)
}

async fn ports(backend: &Backend, places: &[(Port, Protocol)]) -> Result<Vec<PortDocument>, Error> {
    let mut found = Vec::with_capacity(places.len());
    for (port, protocol) in places {
        found.push(backend.port(*protocol, *port).await?);
    }
    Ok(found)
}

fn wanted(protocol: Option<Protocol>) -> &'static [Protocol] {
    protocol.map_or(Protocols::Both, Protocols::from).each()
}
