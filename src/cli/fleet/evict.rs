//! `portbook fleet evict`: takes the unique numbers of a machine that is switched off.

use std::io::{self, IsTerminal};

use clap::Args;

use super::super::release::is_agreed;
use super::super::{Failure, Global, note, with_backend};
use crate::answers::fleet::{
    EvictFleetHost, EvictionDocument, FleetClaimsQuery, HostPath, ListFleetClaims,
};
use crate::answers::operation::Query;
use crate::domain::fleet::HostName;
use crate::domain::words::counted;

#[derive(Debug, Args)]
pub struct EvictArgs {
    /// Name of the host, as `portbook fleet claims` lists it.
    host: HostName,
    /// Evict without asking: the machine is known to be switched off.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(global: &Global, args: &EvictArgs) -> Result<(), Failure> {
    let loaded = global.load()?;
    if !args.yes {
        let query = FleetClaimsQuery {
            host: Some(args.host.to_string()),
            ports: None,
        };
        let claims = with_backend(&loaded, async |backend| {
            backend.call::<ListFleetClaims>(Query(query)).await
        })
        .await?;
        // What is refused without a question, the service refuses.
        let is_to_be_asked = !claims.claims.is_empty() && !claims.claims.iter().any(|one| one.live);
        if is_to_be_asked || !claims.fresh {
            ask(&args.host, claims.claims.len())?;
        }
    }
    let evicted = with_backend(&loaded, async |backend| {
        let host = HostPath(args.host.clone());
        backend.call::<EvictFleetHost>(host).await
    })
    .await?;
    global.answer(&evicted, || in_words(&evicted))
}

/// Asks the user at the terminal; without a terminal it refuses.
fn ask(host: &HostName, claims: usize) -> Result<(), Failure> {
    let numbers = counted(claims as u64, "unique number");
    let warning = format!(
        "{host} has {numbers}; a program there that goes on is not cut off, and another host may get its number at once"
    );
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::other(format!(
            "{warning}\nnothing was evicted: make sure that the machine is switched off, and add --yes"
        )));
    }
    note(&warning);
    if is_agreed("is the machine switched off, and is it to be evicted?") {
        return Ok(());
    }
    Err(Failure::other("nothing was evicted"))
}

fn in_words(evicted: &EvictionDocument) -> String {
    let numbers = evicted.evicted.iter();
    let lines = numbers.map(|number| format!("{}/{}\n", number.port, number.protocol));
    lines.collect()
}
