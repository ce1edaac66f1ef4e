//! Names of a request: their living leases, and whether these stay or the name seeks a port. Ports,
//! ranges and preferences of the user beat chance.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::domain::lease::{Lease, Name, State};
use crate::domain::port::{Port, Protocol};
use crate::domain::precedence::Skipped;
use crate::domain::reason::Reason;
use crate::engine::{
    allocator::Wish, at_work, at_work::is_at_work, context::RequestContext, engine::Engine,
    everywhere, fate::Fate, fate::Known, instance, keeper::ending, look::listeners_of, name,
    observer, refusal::Refusal, told::held_text, told::owner_text,
};
use crate::host::redirect::redirected_at;

/// Looks up every name of a request. Empty for a request without names.
pub(super) async fn look_up_names(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
) -> Result<Vec<Known>, Refusal> {
    let mut all = Vec::with_capacity(asked.request.names.len());
    for (index, name) in asked.request.names.iter().enumerate() {
        // Of several names the first has the preference, the others go upwards.
        let preferred = asked.request.prefer.filter(|_| index == 0);
        all.push(known_name(engine, asked, name, preferred).await?);
    }
    Ok(all)
}

async fn known_name(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    name: &Name,
    preferred: Option<Port>,
) -> Result<Known, Refusal> {
    let mut leases = seen_leases(engine, asked, name, preferred).await;
    if asked.owner.is_some() && !asked.request.dry_run {
        at_work::wait_for_rest(engine, &leases).await;
        leases = name::leases_named(engine, asked, name).await;
    }
    let Some(port) = leases.first().map(|lease| lease.port) else {
        if let Some(port) = everywhere::let_pass(engine, asked, name).await? {
            return Ok(seeks(Vec::new(), Some(port), Some(port)));
        }
        let last = last_port(engine, asked, name).await?;
        return Ok(seeks(Vec::new(), preferred, last));
    };
    if !asked.request.dry_run && !name::is_still_ours(engine, asked, &leases[0]).await? {
        // Something is in the way, an outsider or connections that its last program left: the name moves on.
        end_all(engine, &leases, "its port is in use").await?;
        return Ok(seeks(Vec::new(), preferred, Some(port)));
    }
    if !asked.request.dry_run && is_redirected(engine, asked, &leases).await {
        // Its program would get no packet: the name moves on, and the search tells why.
        end_all(engine, &leases, "redirected by a packet filter").await?;
        return Ok(seeks(Vec::new(), preferred, Some(port)));
    }
    let known = judge(asked, name, leases, preferred)?;
    instance::check_is_away(engine, asked, &known.leases)?;
    if asked.request.dry_run || !holds_what_is_asked_for(asked, &known) {
        return Ok(known);
    }
    // The same number, held otherwise: its own hold would be in the way.
    end_all(engine, &known.leases, "asked for otherwise").await?;
    let Fate::Seeks { wish, gives_up } = known.fate else {
        return Ok(known);
    };
    let wish = Wish {
        last: Some(port),
        ..wish
    };
    Ok(Known {
        leases: Vec::new(),
        fate: Fate::Seeks { wish, gives_up },
    })
}

/// Whether a packet filter has come to redirect the port of a name whose program is away, or has not come
/// yet. While the engine of a container is away, the rule may be that of its own container.
async fn is_redirected(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    leases: &[Arc<Lease>],
) -> bool {
    let tried_at = &asked.plan.tried_at;
    if tried_at.is_empty() {
        return false;
    }
    for lease in leases {
        let is_away =
            lease.owner.is_none() && matches!(lease.state, State::Reserved | State::Handed);
        let is_tcp = lease.protocol == Protocol::Tcp;
        let is_held = engine.leases.hold_of(lease.id).is_some();
        let may_be = is_away && is_tcp && is_held;
        if may_be && redirected_at(tried_at, lease.port).await.is_some() {
            // The gate of a port that was handed out may be open, and its program have come since the last
            // look: then that has answered.
            return listeners_of(lease).is_ok_and(|listeners| listeners.is_empty());
        }
    }
    false
}

/// The living leases of a name, looked at anew where a first listener may have come: where
/// nothing is held, and where the name is about to leave the port.
async fn seen_leases(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    name: &Name,
    preferred: Option<Port>,
) -> Vec<Arc<Lease>> {
    let leases = name::leases_named(engine, asked, name).await;
    let elsewhere = |lease: &Arc<Lease>| preferred.is_some_and(|port| port != lease.port);
    let moves = leases.iter().any(elsewhere) || misfit(asked, &leases).is_some();
    let unseen = |lease: &Arc<Lease>| {
        let unclaimed = moves && lease.owner.is_none();
        let is_unheld = || engine.leases.hold_of(lease.id).is_none();
        lease.state == State::Handed && (unclaimed || lease.is_engines() || is_unheld())
    };
    if !leases.iter().any(unseen) {
        return leases;
    }
    observer::observe_these(engine, leases).await;
    name::leases_named(engine, asked, name).await
}

async fn end_all(
    engine: &Arc<Engine>,
    leases: &[Arc<Lease>],
    why: &'static str,
) -> Result<(), Refusal> {
    for lease in leases {
        ending::end(engine, lease.id, State::Released, why, |_| true).await?;
    }
    Ok(())
}

/// The port that a name without a living lease had before.
async fn last_port(
    engine: &Arc<Engine>,
    asked: &RequestContext<'_>,
    name: &Name,
) -> Result<Option<Port>, Refusal> {
    let protocol = asked.plan.protocols.each()[0];
    let (scope, uid) = (&asked.request.scope, asked.caller.uid);
    let last = engine
        .store
        .last_of_name(uid, scope, name, protocol)
        .await?;
    Ok(last.map(|last| last.lease.port))
}

fn seeks(leases: Vec<Arc<Lease>>, preferred: Option<Port>, last: Option<Port>) -> Known {
    let wish = Wish {
        preferred,
        last,
        keeps: false,
    };
    Known {
        leases,
        fate: Fate::Seeks {
            wish,
            gives_up: None,
        },
    }
}

/// Decides whether living leases stay, give way to the preferred port, or do not fit any more.
fn judge(
    asked: &RequestContext<'_>,
    name: &Name,
    leases: Vec<Arc<Lease>>,
    preferred: Option<Port>,
) -> Result<Known, Refusal> {
    let at_work = leases.iter().find(|lease| is_at_work(lease)).cloned();
    let misfit = misfit(asked, &leases);
    let port = leases[0].port;
    if let (Some(misfit), Some(lease)) = (&misfit, &at_work) {
        if misfit.is_of_request {
            return refuse(name, asked, lease, &misfit.wanted);
        }
    } else if let Some(misfit) = misfit {
        if asked.request.strict {
            return refuse(name, asked, &leases[0], &misfit.wanted);
        }
        let mut known = seeks(leases, preferred, None);
        if let Fate::Seeks { gives_up, .. } = &mut known.fate {
            *gives_up = Some(Skipped::new(port, misfit.reason, Some(misfit.wanted)));
        }
        return Ok(known);
    }
    let elsewhere = preferred.filter(|preferred| *preferred != port);
    let fate = match (elsewhere, at_work) {
        (None, _) => Fate::Stays(None),
        (Some(_), None) if asked.request.strict => Fate::Stays(None),
        (Some(preferred), Some(lease)) => Fate::Stays(Some(Skipped::new(
            preferred,
            Reason::KeepsPort,
            Some(format!(
                "{name} keeps {port} while {} runs",
                owner_text(&lease)
            )),
        ))),
        (preferred, None) => Fate::Seeks {
            wish: Wish {
                preferred,
                last: None,
                keeps: true,
            },
            gives_up: None,
        },
    };
    Ok(Known { leases, fate })
}

/// Something that living leases are not and should be.
struct Misfit {
    /// Whether the request asks for it, rather than a rule made since.
    is_of_request: bool,
    reason: Reason,
    /// The wish in words: "port 4000", "the range 3000-3099", "hand".
    wanted: String,
}

impl Misfit {
    fn asked(wanted: String) -> Self {
        Self {
            is_of_request: true,
            reason: Reason::AskedOtherwise,
            wanted,
        }
    }
}

/// The first thing about the living leases of a name that does not fit the request.
fn misfit(asked: &RequestContext<'_>, leases: &[Arc<Lease>]) -> Option<Misfit> {
    let (request, plan) = (asked.request, asked.plan);
    let protocols: Vec<Protocol> = leases.iter().map(|lease| lease.protocol).collect();
    let wanted = request.protocol.filter(|wanted| wanted.each() != protocols);
    if let Some(wanted) = wanted {
        return Some(Misfit::asked(format!("protocol {wanted}")));
    }
    leases.iter().find_map(|lease| {
        let port = lease.port;
        if let Some(wanted) = request.port.filter(|wanted| *wanted != port) {
            return Some(Misfit::asked(format!("port {wanted}")));
        }
        if plan.is_bounded && request.port.is_none() && !plan.ranges.contains(port) {
            return Some(Misfit {
                reason: Reason::OutsideRange,
                ..Misfit::asked(format!("the range {}", plan.ranges))
            });
        }
        if request.pool.is_some() && lease.pool != plan.pool.name {
            return Some(Misfit::asked(format!("pool {}", plan.pool.name)));
        }
        if !request.interfaces.is_empty() && lease.addresses != plan.group {
            let selectors: Vec<String> =
                request.interfaces.iter().map(ToString::to_string).collect();
            return Some(Misfit::asked(format!(
                "interfaces {}",
                selectors.join(", ")
            )));
        }
        excluded(asked, port)
    })
}

/// The exclusion of a port that was made since it was granted.
fn excluded(asked: &RequestContext<'_>, port: Port) -> Option<Misfit> {
    let rule = |reason, wanted| Misfit {
        is_of_request: false,
        reason,
        wanted,
    };
    if asked.plan.exclude.contains(port) {
        return Some(rule(Reason::Configured, "the configuration".to_owned()));
    }
    let protocols = asked.plan.protocols.each();
    let exclusion = asked.plan.exclusions.against(protocols, port)?;
    Some(rule(Reason::ByHand, exclusion.by()))
}

/// Whether the port that a name gives up is what the request asks for all the same: the number fits,
/// and it is held for another protocol or on other addresses.
fn holds_what_is_asked_for(asked: &RequestContext<'_>, known: &Known) -> bool {
    let Fate::Seeks {
        gives_up: Some(why),
        ..
    } = &known.fate
    else {
        return false;
    };
    let fits = |lease: &Arc<Lease>| {
        let explicit = asked.request.port;
        explicit.map_or(asked.plan.searched().contains(lease.port), |port| {
            port == lease.port
        })
    };
    why.reason == Reason::AskedOtherwise && known.leases.iter().all(fits)
}

fn refuse<T>(
    name: &Name,
    asked: &RequestContext<'_>,
    lease: &Lease,
    wanted: &str,
) -> Result<T, Refusal> {
    let has = held_text(lease);
    let why = if asked.request.strict {
        format!("it {has}, and {wanted} was asked for with strict; leave strict out to let it move")
    } else {
        format!("it {has}, and {wanted} was asked for; end that program, or ask for another name")
    };
    Err(Refusal::NameTaken {
        name: name.clone(),
        why,
    })
}
