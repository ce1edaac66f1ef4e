//! Instances of a service: a name whose program runs is not handed to a second one, which gets an
//! instance of its own instead.

use std::sync::Arc;

use crate::domain::attempt::printable;
use crate::domain::lease::{Lease, Name};
use crate::engine::{
    at_work::is_at_work, context::RequestContext, engine::Engine, refusal::Refusal,
    told::owner_text,
};

/// Maximum number of instances that are checked for an unused one.
const INSTANCES: u32 = 1000;

/// Refuses a name for a program while another one has it, and says which and what to do.
pub(super) fn check_is_away(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    leases: &[Arc<Lease>],
) -> Result<(), Refusal> {
    let Some(wanted) = &asked.owner else {
        return Ok(());
    };
    for lease in leases {
        let other = lease.owner.as_ref().filter(|owner| !owner.is(wanted));
        let other = other.filter(|_| is_at_work(lease));
        if let (Some(_), Some(name)) = (other, &lease.name) {
            return Err(Refusal::NameTaken {
                name: name.clone(),
                why: at_work(engine, lease, name),
            });
        }
    }
    Ok(())
}

fn at_work(engine: &Arc<Engine>, lease: &Lease, name: &Name) -> String {
    let folder = lease.scope.folder();
    let of = folder.map_or_else(String::new, |folder| {
        format!(" for {}", printable(&folder.display().to_string()))
    });
    let (program, port) = (owner_text(lease), lease.port);
    let is_left = lease.owner.as_ref().is_some_and(|owner| owner.inherited);
    let left = if is_left {
        ", which the last run left behind,"
    } else {
        ""
    };
    let way_out = if lease.is_console() {
        "; stop that service before another one uses a copy of its data directory".to_owned()
    } else {
        let next = next_instance(engine, lease, name);
        format!("; for a second one beside it ask for an instance: --instance {next}")
    };
    format!("{program}{left} lives and has it, with port {port}{of}{way_out}")
}

/// The number of the first instance that no lease has.
fn next_instance(engine: &Arc<Engine>, lease: &Lease, name: &Name) -> u32 {
    let is_free = |number: &u32| {
        let instance = name.of_instance(&number.to_string());
        let leases = &engine.leases;
        instance.is_ok_and(|name| leases.named(lease.uid, &lease.scope, &name).is_empty())
    };
    (2..INSTANCES).find(is_free).unwrap_or(INSTANCES)
}
