//! `portbook fleet evict`: takes the unique numbers of a machine that is switched off, and claims that cannot be read.

use std::io::{self, IsTerminal};
use std::str::FromStr;

use clap::Args;

use super::super::release::is_agreed;
use super::super::{Failure, Global, note, with_service};
use crate::answers::fleet::{
    EvictFleetHost, EvictUnreadableClaims, EvictionDocument, FleetClaimsQuery, HostPath,
    ListFleetClaims, UnreadableQuery,
};
use crate::answers::operation::Query;
use crate::domain::claim::UNREADABLE;
use crate::domain::fleet::{HostName, HostNameError};
use crate::domain::words::counted;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portbook fleet evict build-2   the numbers of a machine that is switched off
  portbook fleet evict '?'       claims that cannot be read, which `portbook fleet claims` lists with the host ?")]
pub struct EvictArgs {
    /// Name of the host, as `portbook fleet claims` lists it; ? for claims that cannot be read.
    host: Evictee,
    /// Evict without asking: the machine is known to be switched off.
    #[arg(long)]
    yes: bool,
}

/// Claims that are to be taken.
#[derive(Debug, Clone)]
enum Evictee {
    Host(HostName),
    Unreadable,
}

impl FromStr for Evictee {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        if text == UNREADABLE {
            return Ok(Self::Unreadable);
        }
        text.parse().map(Self::Host)
    }
}

impl Evictee {
    fn as_str(&self) -> &str {
        match self {
            Self::Host(host) => host.as_str(),
            Self::Unreadable => UNREADABLE,
        }
    }

    /// Warning before the question, with the question itself.
    fn ask(&self, claims: usize) -> (String, &'static str) {
        match self {
            Self::Host(host) => {
                let numbers = counted(claims as u64, "unique number");
                let warning = format!(
                    "{host} has {numbers}; a program there that goes on is not cut off, and another host may get its number at once"
                );
                (
                    warning,
                    "is the machine switched off, and is it to be evicted?",
                )
            }
            Self::Unreadable => {
                let numbers = counted(claims as u64, "claim");
                let warning = format!(
                    "{numbers} cannot be read; a host of a later build may have written one, and then its program goes on while another host may get the number at once"
                );
                (
                    warning,
                    "has no host these numbers, and are the claims to be deleted?",
                )
            }
        }
    }
}

pub(super) async fn run(global: &Global, args: &EvictArgs) -> Result<(), Failure> {
    let loaded = global.load()?;
    let mut ports = None;
    if !args.yes {
        let query = FleetClaimsQuery {
            host: Some(args.host.as_str().to_owned()),
            ports: None,
        };
        let claims = with_service(&loaded, async |backend| {
            backend.call::<ListFleetClaims>(Query(query)).await
        })
        .await?;
        // What is refused without a question, the service refuses.
        let is_to_be_asked = !claims.claims.is_empty() && !claims.claims.iter().any(|one| one.live);
        if is_to_be_asked || !claims.fresh {
            ask(&args.host, claims.claims.len())?;
        }
        if claims.claims.is_empty() && matches!(args.host, Evictee::Unreadable) {
            let none = EvictionDocument {
                host: UNREADABLE.to_owned(),
                evicted: Vec::new(),
            };
            return tell(global, &none);
        }
        // What came after the question was not agreed to.
        ports = Some(claims.claims.iter().map(|claim| claim.port).collect());
    }
    let evicted = with_service(&loaded, async |backend| match &args.host {
        Evictee::Host(host) => {
            let host = HostPath(host.clone());
            backend.call::<EvictFleetHost>(host).await
        }
        Evictee::Unreadable => {
            let query = Query(UnreadableQuery { ports });
            backend.call::<EvictUnreadableClaims>(query).await
        }
    })
    .await?;
    tell(global, &evicted)
}

/// Prints what was taken; a host that has nothing is refused before.
fn tell(global: &Global, evicted: &EvictionDocument) -> Result<(), Failure> {
    if evicted.evicted.is_empty() {
        note("every claim of the fleet can be read: none was deleted");
    }
    global.answer(evicted, || in_words(evicted))
}

/// Asks the user at the terminal; without a terminal it refuses.
fn ask(evictee: &Evictee, claims: usize) -> Result<(), Failure> {
    let (warning, question) = evictee.ask(claims);
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let sure = match evictee {
            Evictee::Host(_) => "make sure that the machine is switched off",
            Evictee::Unreadable => "make sure that no host has these numbers",
        };
        return Err(Failure::other(format!(
            "{warning}\nnothing was evicted: {sure}, and add --yes"
        )));
    }
    note(&warning);
    if is_agreed(question) {
        return Ok(());
    }
    Err(Failure::other("nothing was evicted"))
}

fn in_words(evicted: &EvictionDocument) -> String {
    let numbers = evicted.evicted.iter();
    let lines = numbers.map(|number| format!("{}/{}\n", number.port, number.protocol));
    lines.collect()
}
