//! The observer: looks who listens on leased ports. For "somebody began to listen" the kernel
//! has no event, so leases that wait for it are looked up once a second.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::keeper::recovered_state;
use super::refusal::Refusal;
use super::service::{Service, lock};
use crate::domain::attempt::{Occupant, SocketState};
use crate::domain::lease::{Guard, Handover, Lease, LeaseId, Owner, State};
use crate::domain::port::{Port, Protocol};
use crate::host::occupancy::{self, Entry, Occupancy, processes_with};
use crate::host::process::{self, Process};

/// How often unclaimed leases are looked up.
const ROUND: Duration = Duration::from_secs(1);

/// Programs that listen on behalf of a user's container.
const PROXIES: [&str; 3] = ["docker-proxy", "dockerd", "rootlesskit"];

impl Service {
    /// Looks once a second at whatever waits for a listener, for as long as it is polled.
    pub async fn run_observer(&self) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.observe().await;
        }
    }

    /// Looks at every lease that has been handed out: who listens there?
    pub async fn observe(&self) {
        let me = std::process::id();
        let handed: Vec<Arc<Lease>> = lock(&self.books)
            .leases()
            .filter(|lease| matches!(lease.state, State::Handed | State::Active | State::Lost))
            .filter(|lease| lease.owner.as_ref().is_none_or(|owner| owner.pid != me))
            .cloned()
            .collect();
        self.observe_these(handed).await;
    }

    /// Looks at these leases: who listens there?
    pub(super) async fn observe_these(&self, handed: Vec<Arc<Lease>>) {
        if handed.is_empty() {
            return;
        }
        let known = lock(&self.listeners).clone();
        let found = tokio::task::spawn_blocking(move || look(&handed, &known)).await;
        for seen in found.unwrap_or_default() {
            let lease = Arc::clone(&seen.lease);
            if let Err(error) = self.note_sight(seen).await {
                tracing::error!(%error, lease = %lease.id, "what was seen could not be recorded");
            }
        }
    }

    async fn note_sight(&self, seen: Seen) -> Result<(), Refusal> {
        let _turn = self.turn(seen.lease.id).await;
        // What has changed since the look is looked at again in the next round.
        let lease = self.living_lease(seen.lease.id);
        let Some(lease) = lease.filter(|lease| lease.revision == seen.lease.revision) else {
            return Ok(());
        };
        let lease = &*lease;
        match seen.sight {
            Sight::Owner | Sight::Claimant(_) => {
                lock(&self.listeners).insert(lease.id, seen.inodes);
            }
            Sight::Nobody | Sight::Outsider(_) => {
                lock(&self.listeners).remove(&lease.id);
            }
        }
        match seen.sight {
            Sight::Nobody if lease.state == State::Lost => self.find_again(lease).await?,
            Sight::Nobody if lease.state == State::Active => {
                // The owner lives and may listen again, as watchers do.
                self.change(lease.id, |lease| lease.state = State::Handed)
                    .await?;
            }
            Sight::Owner if lease.state != State::Active => {
                let command = lease
                    .owner
                    .as_ref()
                    .map(|owner| process::command(owner.pid));
                let active = self.change(lease.id, |lease| {
                    lease.state = State::Active;
                    // `run` became its program since it asked.
                    if let (Some(owner), Some(Ok(command))) = (&mut lease.owner, command) {
                        owner.command = command;
                    }
                    if lease.guard == Guard::None {
                        lease.guard = Guard::Owner;
                    }
                });
                let active = active.await?;
                self.journal.active(&active, "the owner listens");
            }
            Sight::Claimant(owner) if lease.claim_by.is_some() => self.claim(lease, owner).await?,
            Sight::Outsider(who) if lease.state != State::Lost => {
                self.lose(lease, who).await?;
            }
            Sight::Nobody | Sight::Owner | Sight::Claimant(_) | Sight::Outsider(_) => {}
        }
        Ok(())
    }

    /// The outsider who had the port of a lost lease has gone. Where portbook has no hold any more,
    /// the lease is ours again once it has.
    pub(super) async fn find_again(&self, lease: &Lease) -> Result<(), Refusal> {
        let hold = self.hold_of(lease.id);
        if hold.is_none() && lease.handover != Handover::Release {
            return Ok(());
        }
        let healed = self.change(lease.id, |lease| lease.state = recovered_state(lease));
        let healed = healed.await?;
        if let Some(hold) = hold
            && let Some(who) = self.fix_gate(&healed, &hold).await
        {
            return self.lose(&healed, who).await;
        }
        self.journal.healed(&healed, "the outsider has gone");
        Ok(())
    }

    async fn claim(&self, lease: &Lease, owner: Owner) -> Result<(), Refusal> {
        let (pid, command) = (owner.pid, owner.command.clone());
        let claimed = self.change(lease.id, |lease| {
            lease.owner = Some(owner);
            lease.claim_by = None;
            lease.state = State::Active;
            if lease.guard == Guard::None {
                lease.guard = Guard::Owner;
            }
        });
        let claimed = claimed.await?;
        self.watch(&claimed);
        self.journal.claimed(&claimed, pid, &command);
        Ok(())
    }
}

/// Who listens on a lease's port right now and is neither its owner nor a descendant of it.
pub(super) fn stranger_on(lease: &Arc<Lease>) -> Option<Occupant> {
    let found = look(std::slice::from_ref(lease), &HashMap::new());
    match found.into_iter().next().map(|seen| seen.sight) {
        Some(Sight::Outsider(who)) => Some(who),
        _ => None,
    }
}

/// The listening sockets of one lease's port.
pub(super) type Inodes = HashSet<u64>;

/// One lease, and what was seen on its port.
struct Seen {
    lease: Arc<Lease>,
    sight: Sight,
    inodes: Inodes,
}

/// What was seen on a lease's port.
enum Sight {
    Nobody,
    Owner,
    Claimant(Owner),
    Outsider(Occupant),
}

fn listens_on(entry: &Entry, lease: &Lease) -> bool {
    entry.state == SocketState::Listening
        && (entry.protocol, entry.port) == (lease.protocol, lease.port)
        && lease
            .addresses
            .addresses()
            .iter()
            .any(|address| entry.overlaps(address))
}

/// One look at the kernel's tables for all of them, and one walk of the processes.
fn look(leases: &[Arc<Lease>], known: &HashMap<LeaseId, Inodes>) -> Vec<Seen> {
    let protocols: Vec<Protocol> = [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .filter(|protocol| leases.iter().any(|lease| lease.protocol == *protocol))
        .collect();
    let Ok(tables) = Occupancy::snapshot(&protocols) else {
        return Vec::new();
    };
    let mut by_port: HashMap<(Protocol, Port), Vec<&Entry>> = HashMap::new();
    for entry in tables
        .entries
        .iter()
        .filter(|entry| entry.state == SocketState::Listening)
    {
        by_port
            .entry((entry.protocol, entry.port))
            .or_default()
            .push(entry);
    }
    let listeners = |lease: &Lease| -> Vec<&Entry> {
        let on_port = by_port.get(&(lease.protocol, lease.port));
        let on_port = on_port.into_iter().flatten().copied();
        on_port.filter(|entry| listens_on(entry, lease)).collect()
    };
    let inodes: HashSet<u64> = leases
        .iter()
        .map(|lease| (lease, listeners(lease)))
        .filter(|(lease, entries)| !goes_on(lease, entries, known))
        .flat_map(|(_, entries)| entries)
        .map(|entry| entry.inode)
        .collect();
    let processes = if inodes.is_empty() {
        HashMap::new()
    } else {
        processes_with(&inodes)
    };
    let seen = leases.iter().map(|lease| {
        let entries = listeners(lease);
        let sight = if goes_on(lease, &entries, known) {
            Sight::Owner
        } else {
            sight(lease, &entries, &processes)
        };
        Seen {
            lease: Arc::clone(lease),
            sight,
            inodes: entries.iter().map(|entry| entry.inode).collect(),
        }
    });
    seen.collect()
}

fn sight(lease: &Lease, entries: &[&Entry], processes: &HashMap<u64, Vec<Process>>) -> Sight {
    if entries.is_empty() {
        return Sight::Nobody;
    }
    let me = std::process::id();
    let known: Vec<&Process> = entries
        .iter()
        .filter_map(|entry| processes.get(&entry.inode))
        .flatten()
        .collect();
    if !known.is_empty() && known.iter().all(|process| process.pid == me) {
        // Listeners of portbook's that wait to be given to their owner.
        return Sight::Nobody;
    }
    let same_user = entries.iter().all(|entry| entry.uid == Some(lease.uid));
    // A name is anybody's to choose; that a proxy is one, its user has to bear out.
    let of_trust = |uid: Option<u32>| uid == Some(0) || uid == Some(lease.uid);
    let proxy = entries.iter().all(|entry| of_trust(entry.uid))
        && known
            .iter()
            .any(|process| process.command.as_deref().is_some_and(is_proxy));
    match &lease.owner {
        Some(owner)
            if known
                .iter()
                .any(|p| process::is_descendant(p.pid, owner.pid)) =>
        {
            Sight::Owner
        }
        // Whom such an owner left its port to, it is not known to be: children outlive it.
        Some(owner) if owner.until_reaped && same_user && !process::is_running(owner) => {
            Sight::Owner
        }
        // Where the processes are not ours to see, the socket's user has to do.
        Some(_) if proxy || (same_user && known.is_empty()) => Sight::Owner,
        None if same_user || proxy => match eldest(&known).map(process::owner) {
            Some(Ok(owner)) => Sight::Claimant(owner),
            // Gone again, or not to be seen: look again in the next round.
            _ => Sight::Nobody,
        },
        _ => Sight::Outsider(outsider(entries, processes)),
    }
}

/// Whether the lease's owner was seen to listen, and nothing but the sockets that were found to be
/// its own listens now. Who has a socket is found out once, not in every round.
fn goes_on(lease: &Lease, entries: &[&Entry], known: &HashMap<LeaseId, Inodes>) -> bool {
    let own = known.get(&lease.id);
    let all_own = |own: &Inodes| entries.iter().all(|entry| own.contains(&entry.inode));
    lease.state == State::Active && !entries.is_empty() && own.is_some_and(all_own)
}

fn is_proxy(command: &str) -> bool {
    PROXIES.contains(&command)
}

/// Of several processes that share a listener the one that the others descend from.
fn eldest(processes: &[&Process]) -> Option<u32> {
    let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    let top = pids.iter().find(|pid| {
        let others = pids.iter().filter(|other| other != pid);
        !others
            .into_iter()
            .any(|other| process::is_descendant(**pid, *other))
    });
    top.or(pids.first()).copied()
}

/// Of several listeners one whose process is known.
fn outsider(entries: &[&Entry], processes: &HashMap<u64, Vec<Process>>) -> Occupant {
    let occupants = entries
        .iter()
        .map(|entry| occupancy::occupant(entry, processes));
    occupants
        .min_by_key(|occupant| occupant.pid.is_none())
        .unwrap_or_default()
}
