//! What looks found on the ports of leases. It is in memory alone: a restart finds it out anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Leases;
use crate::domain::hint::{Hint, HintKind};
use crate::domain::lease::{Handover, Lease, LeaseId, Owner, State};
use crate::domain::outsider::Outsider;
use crate::domain::port::{Port, Protocol};
use crate::engine::sight::{Found, Inodes, Known, Seen};
use crate::engine::taking::{Receipt, Taking, Verdict};
use crate::engine::whose::Made;
use crate::host::hold::Hold;

/// Maximum number of sockets of one lease that are known to have been handed over: an owner may ask
/// for new ones at any time.
const MOST_GIVEN: usize = 64;

/// What is known of the sockets on the port of one lease.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// The owner's.
    own: Inodes,
    /// Those that portbook made and handed over, the newest last.
    given: Vec<u64>,
    outsiders: Vec<Found>,
    /// Revision of the lease at the last look.
    revision: Option<u64>,
    /// Owner that was seen to listen last.
    listened: Option<Owner>,
    hint: Option<Hint>,
    receipt: Receipt,
    /// Time at which the port was handed out last. `None` if that was before the start of the service,
    /// or at the grant.
    handed: Option<Timestamp>,
}

impl Leases {
    /// Notes what a look found. Returns the outsiders of the look before, and the judgement of a program
    /// that was given sockets.
    pub(in crate::engine) fn note_look(&self, seen: &Seen) -> (Vec<Found>, Verdict) {
        let (id, now) = (seen.lease.id, self.clock.now());
        self.state.with(|state| {
            let is_bare = seen.own.is_empty() && seen.outsiders.is_empty();
            if is_bare && !state.observed.contains_key(&id) {
                return (Vec::new(), Verdict::Serves);
            }
            let observed = state.observed.entry(id).or_default();
            observed.own.clone_from(&seen.own);
            observed.revision = Some(seen.lease.revision);
            let verdict = observed.judge(seen, now);
            if !seen.own.is_empty() && verdict == Verdict::Serves {
                observed.listened.clone_from(&seen.lease.owner);
                // Advice to a program that does not listen is out of date.
                observed
                    .hint
                    .take_if(|hint| hint.kind != HintKind::Neighbours);
            }
            let before = std::mem::replace(&mut observed.outsiders, seen.outsiders.clone());
            (before, verdict)
        })
    }

    /// Notes the hint on the ports of a running program, or that there is none. Returns it if it is new.
    pub(in crate::engine) fn set_hint(&self, lease: &Lease, hint: Option<Hint>) -> Option<Hint> {
        self.state.with(|state| {
            let now = state.books.get(lease.id);
            // What has changed since the look is looked at again.
            now.filter(|now| now.revision == lease.revision)?;
            if hint.is_none() && !state.observed.contains_key(&lease.id) {
                return None;
            }
            let known = &mut state.observed.entry(lease.id).or_default().hint;
            if *known == hint || (hint.is_none() && !known.as_ref().is_some_and(Hint::is_of_ports))
            {
                return None;
            }
            known.clone_from(&hint);
            hint
        })
    }

    /// Notes that the port of a lease is handed out again.
    pub(in crate::engine) fn note_handed(&self, id: LeaseId) {
        let now = self.clock.now();
        self.state.with(|state| {
            state.observed.entry(id).or_default().handed = Some(now);
        });
    }

    /// Notes the end of a program. Returns a hint if it came soon after its start, and the program was not
    /// seen to listen, here or elsewhere.
    pub(in crate::engine) fn note_end(&self, lease: &Lease, owner: &Owner) -> Option<Hint> {
        let now = self.clock.now();
        self.state.with(|state| {
            let observed = state.observed.entry(lease.id).or_default();
            let age = now.duration_since(observed.start_of(owner, lease));
            // A program may try for long to bind a port that it was given as a socket.
            if age > Hint::EARLY && !observed.receipt.is_in_doubt(lease) {
                return None;
            }
            let has_listened = observed.has_listened(owner);
            let before = observed.hint.as_ref();
            if has_listened || before.is_some_and(Hint::is_of_running) {
                return None;
            }
            let times = before.map_or(0, |hint| hint.times).saturating_add(1);
            let hint = Hint::never_listened(lease.handover, times);
            observed.hint = Some(hint.clone());
            Some(hint)
        })
    }

    /// Whether the owner of a lease was seen to listen.
    pub(in crate::engine) fn has_listened(&self, lease: &Lease) -> bool {
        let Some(owner) = &lease.owner else {
            return false;
        };
        self.state.with(|state| {
            let observed = state.observed.get(&lease.id);
            observed.is_some_and(|observed| observed.has_listened(owner))
        })
    }

    /// Notes that a process inherits a lease: what was seen of the owner that ended holds for it too.
    pub(in crate::engine) fn note_heir(&self, id: LeaseId, ended: &Owner, heir: &Owner) {
        self.state.with(|state| {
            let observed = state.observed.entry(id).or_default();
            if observed.has_listened(ended) {
                observed.listened = Some(heir.clone());
            }
        });
    }

    /// Returns the hint on the program of a lease.
    pub(in crate::engine) fn hint(&self, id: LeaseId) -> Option<Hint> {
        let hint = |one: &Observed| one.hint.clone();
        self.state
            .with(|state| state.observed.get(&id).and_then(hint))
    }

    /// Notes sockets that are about to be handed over, by `run` for its program or to the program itself.
    pub(in crate::engine) fn note_given(
        &self,
        id: LeaseId,
        inodes: Vec<u64>,
        is_for_program: bool,
    ) {
        let receipt = Receipt {
            is_for_program,
            is_taken: !is_for_program,
            waited: false,
        };
        self.state.with(|state| {
            let observed = state.observed.entry(id).or_default();
            observed.receipt = receipt;
            let given = &mut observed.given;
            given.extend(inodes);
            let older = given.len().saturating_sub(MOST_GIVEN);
            given.drain(..older);
        });
    }

    /// Returns what is known of the sockets that were given for a lease.
    pub(in crate::engine) fn receipt(&self, id: LeaseId) -> Receipt {
        let receipt = |one: &Observed| one.receipt;
        self.state
            .with(|state| state.observed.get(&id).map(receipt))
            .unwrap_or_default()
    }

    /// Returns what is known of the ports of these leases; those of which nothing is known are left out.
    pub(in crate::engine) fn known(&self, leases: &[Arc<Lease>]) -> HashMap<LeaseId, Known> {
        let mut holds: Vec<(LeaseId, Arc<Hold>)> = Vec::new();
        let mut known = HashMap::new();
        self.state.with(|state| {
            for lease in leases {
                let mut one = state.observed.get(&lease.id).map(Observed::known);
                let others = state.books.on_port(lease.protocol, lease.port);
                for other in others.filter(|other| other.id != lease.id) {
                    let one = one.get_or_insert_default();
                    one.neighbours.push(other.addresses.clone());
                }
                known.extend(one.map(|one| (lease.id, one)));
                if shows_as_listener(lease) {
                    holds.extend(
                        state
                            .holds
                            .get(lease.id)
                            .map(|hold| (lease.id, Arc::clone(hold))),
                    );
                }
            }
        });
        for (id, hold) in holds {
            let kept = hold.inodes().into_iter().chain(hold.listener_inodes());
            known.entry(id).or_default().made.kept.extend(kept);
        }
        known
    }

    /// Returns the known listening sockets of all owners.
    pub(in crate::engine) fn listeners(&self) -> HashMap<LeaseId, Inodes> {
        self.state.with(|state| {
            let observed = state.observed.iter();
            observed.map(|(id, one)| (*id, one.of_owner())).collect()
        })
    }

    /// Returns the leases of absent owners on whose ports the last look found outsiders.
    pub(in crate::engine) fn reserved_with_outsiders(&self) -> Vec<Arc<Lease>> {
        self.state.with(|state| {
            let beset = state
                .observed
                .iter()
                .filter(|(_, one)| !one.outsiders.is_empty());
            let leases = beset.filter_map(|(id, _)| state.books.get(*id));
            let reserved = leases.filter(|lease| lease.state == State::Reserved);
            reserved.cloned().collect()
        })
    }

    /// Returns the outsiders that the last look found on the port of a lease.
    pub(in crate::engine) fn outsiders(&self, id: LeaseId) -> Vec<Outsider> {
        self.state.with(|state| {
            let found = state.observed.get(&id).map(|one| &one.outsiders[..]);
            let found = found.unwrap_or_default().iter();
            found.map(|found| found.outsider.clone()).collect()
        })
    }

    /// Returns the inodes of portbook's own sockets on a port. A socket that is handed over as a
    /// descriptor is not among them: the owner may have it too.
    pub(in crate::engine) fn own_sockets(&self, protocol: Protocol, port: Port) -> HashSet<u64> {
        let leases = self.on_port(protocol, port);
        let leases = leases.iter().filter(|lease| lease.handover != Handover::Fd);
        let holds: Vec<Arc<Hold>> = leases.filter_map(|lease| self.hold_of(lease.id)).collect();
        holds.iter().flat_map(|hold| hold.inodes()).collect()
    }
}

/// Whether the kernel's tables may show sockets that portbook has for a lease as if they were a
/// program's: holds for UDP, and listeners that wait to be handed over.
fn shows_as_listener(lease: &Lease) -> bool {
    lease.protocol.has_no_listeners() || lease.handover == Handover::Fd
}

impl Observed {
    /// Whether this owner was the last that was seen to listen.
    fn has_listened(&self, owner: &Owner) -> bool {
        self.listened.as_ref().is_some_and(|one| one.is(owner))
    }

    /// Judges a program by the sight of the sockets that it was given, and notes that sight.
    fn judge(&mut self, seen: &Seen, now: Timestamp) -> Verdict {
        let owner = seen.lease.owner.as_ref();
        let since = owner.map(|owner| self.start_of(owner, &seen.lease));
        let is_young = since.is_some_and(|since| now.duration_since(since) <= Hint::EARLY);
        let kind = self.hint.as_ref().map(|hint| hint.kind);
        let is_told = kind == Some(HintKind::SocketsIgnored);
        let verdict = self.receipt.verdict(seen.taking, is_young, is_told);
        self.receipt.waited = seen.taking == Some(Taking::Waiting);
        self.receipt.is_taken |= seen.taking == Some(Taking::Taken);
        verdict
    }

    /// Start of a program with the port of its lease: its process may be older, as that of a script which
    /// builds something first, and then becomes `run`.
    fn start_of(&self, owner: &Owner, lease: &Lease) -> Timestamp {
        let handed = self.handed.unwrap_or(lease.granted_at);
        handed.max(lease.granted_at).max(owner.started_at)
    }

    fn known(&self) -> Known {
        Known {
            own: self.own.clone(),
            made: Made {
                kept: HashSet::new(),
                given: self.given.iter().copied().collect(),
            },
            outsiders: self.outsiders.clone(),
            revision: self.revision,
            neighbours: Vec::new(),
            receipt: self.receipt,
        }
    }

    fn of_owner(&self) -> Inodes {
        self.own.iter().chain(&self.given).copied().collect()
    }
}
