//! Names: what lives under one already, where it was before, and handing it out once more.

use std::sync::Arc;

use super::grant::{Allocated, Asked};
use super::refusal::Refusal;
use super::service::{Service, lock};
use crate::domain::attempt::{Attempt, veiled};
use crate::domain::lease::{BootTime, Handover, Lease, Name, Owner, State};
use crate::domain::port::{Port, Protocol};
use crate::host::hold::Hold;
use crate::host::process;

impl Service {
    /// For each name its living leases, and how many names have none.
    pub(super) async fn living(
        &self,
        asked: &Asked<'_>,
    ) -> Result<(Vec<Option<Vec<Arc<Lease>>>>, usize), Refusal> {
        let mut living = Vec::with_capacity(asked.request.names.len());
        for name in &asked.request.names {
            let mut leases = self.leases_named(asked, name).await;
            let unseen = |lease: &Arc<Lease>| {
                lease.state == State::Handed && self.hold_of(lease.id).is_none()
            };
            if leases.iter().any(unseen) {
                // Its first listener may have come since the last look.
                self.observe().await;
                leases = self.leases_named(asked, name).await;
            }
            let lost = match leases.first() {
                Some(first) if !asked.request.dry_run => !self.is_still_ours(asked, first).await?,
                _ => false,
            };
            if lost {
                // The port went to an outsider: the name moves on.
                for lease in &leases {
                    let why = "lost to an outsider";
                    self.end(lease.id, State::Released, why, |_| true).await?;
                }
            }
            if leases.is_empty() || lost {
                living.push(None);
                continue;
            }
            fits(asked, name, &leases)?;
            living.push(Some(leases));
        }
        let missing = living.iter().filter(|lives| lives.is_none()).count();
        if asked.request.names.is_empty() {
            return Ok((living, asked.request.port_count()));
        }
        if asked.request.block.is_some() {
            return self.whole_row(asked, living).await;
        }
        Ok((living, missing))
    }

    /// The living leases of a name. One that is ending is waited for, so that its port is free
    /// again when the name asks for it.
    async fn leases_named(&self, asked: &Asked<'_>, name: &Name) -> Vec<Arc<Lease>> {
        let known = self.known_as(asked, name);
        for lease in known.iter().filter(|lease| lease.state.is_ended()) {
            drop(self.turn(lease.id).await);
        }
        let mut living = self.known_as(asked, name);
        living.retain(|lease| !lease.state.is_ended());
        living
    }

    fn known_as(&self, asked: &Asked<'_>, name: &Name) -> Vec<Arc<Lease>> {
        let books = lock(&self.books);
        [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .filter_map(|protocol| {
                let scope = asked.request.scope.clone();
                books.named(&(asked.caller.uid, scope, name.clone(), protocol))
            })
            .cloned()
            .collect()
    }

    /// Whether a name's port can still be handed out: held, in its owner's hands, or to be had.
    async fn is_still_ours(&self, asked: &Asked<'_>, lease: &Lease) -> Result<bool, Refusal> {
        let _turn = self.turn(lease.id).await;
        let Some(lease) = self.living_lease(lease.id) else {
            return Ok(true);
        };
        // Released, its program may be about to bind: a hold would be in its way.
        let let_go = lease.handover == Handover::Release && lease.state == State::Handed;
        let in_use = lease.owner.as_ref().is_some_and(process::is_running) || let_go;
        let ours = lease.state != State::Lost
            && (in_use || self.hold_of(lease.id).is_some() || self.hold_again(&lease).is_some());
        if !ours && asked.request.strict {
            let mut occupants = self.occupants();
            let mut attempts = Vec::new();
            let mut note = |mut attempt: Attempt, _: &tracing::Span| {
                attempt.occupant = occupants.of(&attempt);
                attempts.push(attempt);
            };
            let (group, clock) = (&lease.addresses, &self.clock);
            let port = lease.port;
            // Once more, for the name of whoever is in the way.
            let how = crate::host::hold::Take::Strictly;
            drop(Hold::take(
                how,
                group,
                lease.protocol,
                port,
                clock,
                &mut note,
            ));
            let attempts = veiled(&attempts, |uid| asked.caller.may_act_for(uid));
            return Err(Refusal::PortInUse { port, attempts });
        }
        Ok(ours)
    }

    /// The ports that the missing names had before, if any.
    pub(super) async fn last_ports(
        &self,
        asked: &Asked<'_>,
        living: &[Option<Vec<Arc<Lease>>>],
    ) -> Result<Vec<Option<Port>>, Refusal> {
        let mut ports = Vec::new();
        for (name, lives) in asked.request.names.iter().zip(living) {
            if lives.is_some() {
                continue;
            }
            let protocol = asked.plan.protocols.each()[0];
            let scope = &asked.request.scope;
            let uid = asked.caller.uid;
            let last = self.store.last_of_name(uid, scope, name, protocol).await?;
            // A port of another pool or of ranges since narrowed is no port to return to.
            let port = last
                .filter(|last| last.lease.pool == asked.plan.pool.name)
                .map(|last| last.lease.port)
                .filter(|port| asked.plan.ranges.contains(*port));
            ports.push(port);
        }
        Ok(ports)
    }

    /// Every name lives already: the same leases, in the asker's hands once more.
    pub(super) async fn hand_again(
        &self,
        asked: &Asked<'_>,
        living: Vec<Option<Vec<Arc<Lease>>>>,
    ) -> Result<Allocated, Refusal> {
        let leases = self.in_order(asked, living, Vec::new()).await?;
        let id = leases.first().map_or(asked.id, |lease| lease.allocation);
        Ok(Allocated::again(asked, id, leases))
    }

    /// Living and fresh leases in the order of the names; the living ones are handed again.
    pub(super) async fn in_order(
        &self,
        asked: &Asked<'_>,
        living: Vec<Option<Vec<Arc<Lease>>>>,
        fresh: Vec<Arc<Lease>>,
    ) -> Result<Vec<Arc<Lease>>, Refusal> {
        if living.is_empty() {
            return Ok(fresh);
        }
        let each = asked.plan.protocols.each().len();
        let mut fresh = fresh.into_iter();
        let mut leases = Vec::new();
        for lives in living {
            match lives {
                None => leases.extend(fresh.by_ref().take(each)),
                Some(known) => {
                    for lease in known {
                        leases.push(self.hand(asked, &lease).await?);
                    }
                }
            }
        }
        Ok(leases)
    }

    /// Hands a living lease out once more. On a task of its own: whoever asked may hang up, but an
    /// owner is not noted without its gate.
    async fn hand(&self, asked: &Asked<'_>, lease: &Lease) -> Result<Arc<Lease>, Refusal> {
        let owner_lives = lease.owner.as_ref().is_some_and(process::is_running);
        let at_work = owner_lives && asked.owner.is_none();
        if at_work || asked.request.dry_run || asked.request.reserve {
            // Nothing changes hands.
            return self.lease(lease.id).ok_or(Refusal::NotFound);
        }
        let now = self.clock.boot();
        let terms = Terms {
            owner: asked.owner.clone(),
            claim_by: asked
                .owner
                .is_none()
                .then(|| now.after(asked.plan.claim_within)),
            ttl: asked.request.ttl.or(lease.ttl),
            handover: asked.request.handover,
            labels: asked.request.labels.clone(),
        };
        let (service, id) = (self.clone(), lease.id);
        let handing = async move {
            let _turn = service.turn(id).await;
            let changed = service.change(id, |lease| terms.apply(lease, now)).await?;
            service.hand_over(&changed).await?;
            service.watch(&changed);
            service.lease(id).ok_or(Refusal::NotFound)
        };
        let handed = tokio::spawn(handing).await;
        handed.unwrap_or(Err(Refusal::Store(crate::store::StoreError::Closed)))
    }
}

/// What a name is handed out with once more.
struct Terms {
    owner: Option<Owner>,
    claim_by: Option<BootTime>,
    ttl: Option<std::time::Duration>,
    handover: Option<Handover>,
    labels: std::collections::BTreeMap<String, String>,
}

impl Terms {
    fn apply(self, lease: &mut Lease, now: BootTime) {
        lease.state = State::Handed;
        lease.owner = self.owner;
        lease.claim_by = self.claim_by;
        lease.ttl = self.ttl;
        lease.expires = self.ttl.map(|ttl| now.after(ttl));
        if let Some(handover) = self.handover {
            lease.handover = handover.for_protocol(lease.protocol);
        }
        if !self.labels.is_empty() {
            lease.labels = self.labels;
        }
    }
}

/// Whether the living leases of a name are what is asked for under it.
fn fits(asked: &Asked<'_>, name: &Name, leases: &[Arc<Lease>]) -> Result<(), Refusal> {
    let taken = |why: String| {
        Err(Refusal::NameTaken {
            name: name.clone(),
            why,
        })
    };
    let protocols: Vec<Protocol> = leases.iter().map(|lease| lease.protocol).collect();
    let wanted = asked.request.protocol;
    if wanted.is_some_and(|wanted| wanted.each() != protocols) {
        let words: Vec<&str> = protocols.iter().map(|protocol| protocol.as_str()).collect();
        return taken(format!(
            "it is leased for {}; release it first",
            words.join(" and ")
        ));
    }
    for lease in leases {
        if let Some(why) = unfit(asked, lease) {
            return taken(why);
        }
    }
    Ok(())
}

fn unfit(asked: &Asked<'_>, lease: &Lease) -> Option<String> {
    if asked.request.port.is_some_and(|port| port != lease.port) {
        return Some(format!("it has port {}; release it first", lease.port));
    }
    if asked.request.pool.is_some() && lease.pool != asked.plan.pool.name {
        return Some(format!("it is of pool {}; release it first", lease.pool));
    }
    if !asked.request.interfaces.is_empty() && lease.addresses != asked.plan.group {
        return Some("it is held on other addresses; release it first".to_owned());
    }
    let (Some(wanted), Some(owner)) = (&asked.owner, &lease.owner) else {
        return None;
    };
    (!wanted.is(owner) && process::is_running(owner))
        .then(|| format!("its owner, pid {}, lives", owner.pid))
}
