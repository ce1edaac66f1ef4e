//! Unique numbers: what a search found is claimed in the fleet before it is granted. Hold first, claim
//! second, answer last.
//!
//! This is the only wait of a request for the fleet. It has an end, and requests of other pools have none.

use std::sync::Arc;

use super::allocator::{Found, Wish};
use super::claims::ClaimTicket;
use super::context::RequestContext;
use super::engine::Engine;
use super::fleet::{ClaimFailure, WantedNumber};
use super::giveway;
use super::refusal::Refusal;
use super::search::Searched;
use crate::domain::attempt::{Attempt, Occupant, Outcome};
#[cfg(feature = "fleet")]
use crate::domain::claim::LeaseClaim;
use crate::domain::claim::Number;
use crate::domain::everywhere::claimant;
use crate::domain::fleet::FleetState;
use crate::domain::lease::{BootTime, Lease, LeaseId};

/// Maximum number of searches for one request. Each that fails tells which numbers other hosts have.
const ROUNDS: usize = 32;

/// Maximum number of leases of one request for unique numbers: they are claimed in one commit.
const MOST_NUMBERS: usize = 60;

/// Searches, and claims what was found if the numbers of the pool are unique. Numbers that other hosts
/// have become attempts, and the search goes on.
pub(super) async fn search_and_claim(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    wishes: &[Wish],
    notes: Vec<String>,
) -> Searched {
    if !asked.plan.pool.is_unique() || asked.request.dry_run {
        return giveway::search_with_room(engine, asked, wishes, notes).await;
    }
    if let Err(refusal) = check(engine, asked, wishes.len()) {
        return Searched {
            result: Err(refusal),
            attempts: Vec::new(),
            explanation: asked.plan.explanation(),
        };
    }
    let deadline = asked.start.after(asked.plan.timeout);
    let mut earlier: Vec<Attempt> = Vec::new();
    for _ in 1..ROUNDS {
        let (mut searched, taken) = round(engine, asked, wishes, &notes, deadline).await;
        earlier.append(&mut searched.attempts);
        earlier.extend(taken.iter().map(|taken| attempt(engine, asked, taken)));
        // There is no other port to try in place of one that was asked for by number.
        let is_last = taken.is_empty() || asked.plan.explicit.is_some();
        if is_last || engine.clock.boot() >= deadline {
            searched.attempts = earlier;
            return searched;
        }
    }
    let (mut searched, _) = round(engine, asked, wishes, &notes, deadline).await;
    searched.attempts.splice(0..0, earlier);
    searched
}

/// One search, with claims on what it found. Returns the numbers that other hosts have as well.
async fn round(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    wishes: &[Wish],
    notes: &[String],
    deadline: BootTime,
) -> (Searched, Vec<(Number, String)>) {
    let mut searched = giveway::search_with_room(engine, asked, wishes, notes.to_vec()).await;
    match claim_found(engine, asked, &mut searched, deadline).await {
        Ok(()) => (searched, Vec::new()),
        Err(ClaimFailure::Taken(taken)) => {
            // The answer if no round follows.
            searched.result = Err(if asked.plan.explicit.is_some() {
                let failure = ClaimFailure::Taken(taken.clone());
                refusal(engine, &asked.plan.pool.name, failure)
            } else {
                Refusal::TimedOut {
                    limit: asked.plan.timeout,
                    attempts: Vec::new(),
                }
            });
            (searched, taken)
        }
        Err(failure) => {
            searched.result = Err(refusal(engine, &asked.plan.pool.name, failure));
            (searched, Vec::new())
        }
    }
}

/// Refuses at once what could not be claimed: nothing is tried in vain.
fn check(engine: &Engine, asked: &RequestContext<'_>, count: usize) -> Result<(), Refusal> {
    let leases = count * asked.plan.protocols.each().len();
    if leases > MOST_NUMBERS {
        return Err(Refusal::InvalidRequest(format!(
            "{leases} unique numbers are too many for one request: ask for {MOST_NUMBERS} at most"
        )));
    }
    let pool = &asked.plan.pool.name;
    absence(engine, pool).map_or(Ok(()), Err)
}

/// The refusal of all claims while this host is not in its fleet. `None` if it is, or will know in a moment.
fn absence(engine: &Engine, pool: &str) -> Option<Refusal> {
    let status = engine.fleet.status();
    match status.state {
        // A claim waits until the first try to open the session has ended.
        FleetState::Joined | FleetState::Joining => None,
        FleetState::Off => Some(Refusal::FleetOff(pool.to_owned())),
        state => {
            let since = std::time::Duration::from_millis(status.since_boot_ms);
            let age = engine.clock.boot().since(BootTime(since));
            let why = match &*status.why {
                "" => format!("this host is {} there", state.as_str()),
                why => why.to_owned(),
            };
            Some(Refusal::FleetAway {
                pool: pool.to_owned(),
                why,
                since: engine.clock.now().checked_sub(age).ok(),
            })
        }
    }
}

fn refusal(engine: &Engine, pool: &str, failure: ClaimFailure) -> Refusal {
    match failure {
        ClaimFailure::Off => Refusal::FleetOff(pool.to_owned()),
        ClaimFailure::Unrecorded(error) => Refusal::Store(error),
        // Where it is noticed first, the session loop has not said so yet.
        ClaimFailure::Away(why) => absence(engine, pool).unwrap_or(Refusal::FleetAway {
            pool: pool.to_owned(),
            why,
            since: None,
        }),
        ClaimFailure::Taken(taken) => match taken.into_iter().next() {
            Some((number, host)) => Refusal::PortLeased {
                port: number.port,
                protocol: number.protocol,
                holder: format!("{} of the fleet", claimant(&host)),
                whose: None,
            },
            None => Refusal::NotFound,
        },
    }
}

/// Claims all that a search found, in one commit. If that fails the ports are given back first.
async fn claim_found(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    searched: &mut Searched,
    until: BootTime,
) -> Result<(), ClaimFailure> {
    let Ok(found) = &mut searched.result else {
        return Ok(());
    };
    let numbers = wanted(engine, asked, found);
    let claimed = if numbers.is_empty() {
        Ok(Vec::new())
    } else {
        engine.fleet.claim(numbers, until).await
    };
    match claimed {
        Ok(tickets) => hand_out(tickets, found),
        Err(failure) => {
            found.clear();
            return Err(failure);
        }
    }
    Ok(())
}

/// The numbers of what was found, each with the id that its lease will have.
fn wanted(
    engine: &Engine,
    asked: &RequestContext<'_>,
    found: &[Option<Found>],
) -> Vec<WantedNumber> {
    let mut numbers = Vec::new();
    for (index, found) in found.iter().enumerate() {
        let Some(found) = found else { continue };
        for hold in &found.holds {
            numbers.push(WantedNumber {
                number: Number {
                    protocol: hold.protocol(),
                    port: found.port,
                },
                lease: LeaseId(engine.new_id()),
                pool: Arc::clone(&asked.plan.pool.name),
                name: asked.request.names.get(index).cloned(),
            });
        }
    }
    numbers
}

/// Puts each ticket to the port that it is for.
fn hand_out(tickets: Vec<ClaimTicket>, found: &mut [Option<Found>]) {
    for ticket in tickets {
        let port = ticket.number().port;
        let mut all = found.iter_mut().flatten();
        if let Some(found) = all.find(|found| found.port == port) {
            found.claims.push(ticket);
        }
    }
}

/// The attempt on a number that another host has.
fn attempt(
    engine: &Engine,
    asked: &RequestContext<'_>,
    (number, host): &(Number, String),
) -> Attempt {
    let addresses = asked.plan.group.addresses();
    Attempt {
        at: engine.clock.now(),
        // A claim is for all addresses; a plan has one at least.
        address: addresses[0].clone(),
        protocol: number.protocol,
        port: number.port,
        outcome: Outcome::Claimed,
        errno: None,
        duration: std::time::Duration::ZERO,
        occupant: Some(Occupant {
            command: Some(claimant(host)),
            ..Occupant::default()
        }),
        span_id: None,
    }
}

/// Claims the number of a lease that comes back after its release. `None` if its pool has no unique
/// numbers.
pub(super) async fn claim_again(
    engine: &Arc<Engine>,
    lease: &Lease,
) -> Result<Option<ClaimTicket>, Refusal> {
    let settings = engine.settings();
    let pool = settings.pools.get(&*lease.pool);
    let Some(pool) = pool.filter(|pool| pool.is_unique()) else {
        return Ok(None);
    };
    if let Some(refusal) = absence(engine, &pool.name) {
        return Err(refusal);
    }
    let wanted = WantedNumber {
        number: Number {
            protocol: lease.protocol,
            port: lease.port,
        },
        lease: lease.id,
        pool: Arc::clone(&pool.name),
        name: lease.name.clone(),
    };
    let until = engine.clock.boot().after(pool.attempt_timeout);
    let claimed = engine.fleet.claim(vec![wanted], until).await;
    let tickets = claimed.map_err(|failure| refusal(engine, &pool.name, failure))?;
    Ok(tickets.into_iter().next())
}

/// Notes that a claim is lost: no program is let in any more, and the lease says so until it ends.
#[cfg(feature = "fleet")]
pub(super) async fn lose(
    engine: &Arc<Engine>,
    id: LeaseId,
    by: Option<&str>,
) -> Result<(), Refusal> {
    let _turn = engine.leases.turn(id).await;
    let Some(lease) = engine.leases.living(id) else {
        return Ok(());
    };
    let claim = LeaseClaim {
        is_lost: true,
        ..lease.claim.unwrap_or_default()
    };
    // Before the lease says so: its hint tells the host.
    if let Some(host) = by {
        engine.fleet.claims().lost_to(id, host);
    }
    let lost = engine.leases.change(id, |lease| lease.claim = Some(claim));
    let lost = lost.await?;
    if let Some(hold) = engine.leases.hold_of(id) {
        // The number is lost already: who listens there changes nothing.
        drop(super::leases::Leases::shut(&lost, &hold).await);
    }
    engine.journal.claim_lost(&lost, by);
    engine.leases.notify_freed();
    Ok(())
}
