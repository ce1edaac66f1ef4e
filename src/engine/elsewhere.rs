//! Programs that listen elsewhere: on other ports in place of the port of their lease, or on the ports
//! above it too. They are looked for once a second, with one walk of the processes at most, and only
//! if listeners or leases have changed since.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::hint::{Hint, HintKind, flags_of};
use crate::domain::lease::{Handover, Lease, LeaseId, State};
use crate::domain::port::{Port, Protocol};
use crate::engine::engine::Engine;
use crate::engine::ignored;
use crate::engine::looked::Looked;
use crate::engine::refusal::Refusal;
use crate::host::occupancy::{Entry, Occupancy, processes_of};
use crate::host::process::{self, Mark};

/// Time that a program has to come to its port, before it is looked for on others.
const TIME_TO_COME: Duration = Duration::from_secs(5);

/// Number of ports above its own that a program may take too, as some do with N and N+1.
const NEIGHBOURS: u16 = 3;

/// Maximum number of ports that a hint names.
const MOST_NAMED: usize = 5;

/// Number of ancestors of a listener that are asked for a framework.
const GENERATIONS: usize = 8;

/// Looks for the programs of leases on other ports.
pub(super) async fn look(engine: &Arc<Engine>) {
    let leases = engine.leases.filtered(|lease| is_due(engine, lease));
    if leases.is_empty() {
        return;
    }
    let looking = Arc::clone(engine);
    let look = move || find(&looking, leases);
    let found = tokio::task::spawn_blocking(look).await.ok().flatten();
    for (lease, hint) in found.unwrap_or_default() {
        if let Err(error) = tell(engine, &lease, hint).await {
            tracing::error!(%error, lease = %lease.id, "what was seen could not be recorded");
        }
    }
}

async fn tell(engine: &Arc<Engine>, lease: &Arc<Lease>, hint: Option<Hint>) -> Result<(), Refusal> {
    match hint {
        Some(hint) if hint.kind == HintKind::SocketsIgnored => {
            let _turn = engine.leases.turn(lease.id).await;
            let now = engine.leases.living(lease.id);
            let is_same = now.is_some_and(|now| now.revision == lease.revision);
            if is_same {
                ignored::tell(engine, lease, hint).await?;
            }
        }
        hint => {
            if let Some(hint) = engine.leases.set_hint(lease, hint) {
                engine.journal.hinted(lease, &hint);
            }
        }
    }
    Ok(())
}

/// Whether the program of a lease has had the time to come to its port.
fn is_due(engine: &Engine, lease: &Lease) -> bool {
    let me = std::process::id();
    let is_due = lease.owner.as_ref().is_some_and(|owner| {
        let age = engine.clock.now().duration_since(owner.started_at);
        let age = Duration::try_from(age).unwrap_or_default();
        owner.pid != me && !owner.until_reaped && age >= TIME_TO_COME
    });
    let is_in_use = matches!(lease.state, State::Handed | State::Active);
    // Programs open sockets of UDP on any port as clients: there, only the ports above their own tell.
    let tells = lease.protocol == Protocol::Tcp || lease.state == State::Active;
    is_due && is_in_use && tells && !lease.is_spare()
}

/// Finds a hint for each lease. `None` if nothing has changed since the last walk.
fn find(engine: &Engine, leases: Vec<Arc<Lease>>) -> Option<Vec<(Arc<Lease>, Option<Hint>)>> {
    let mut listeners = Occupancy::listeners().ok()?;
    if leases.iter().any(|lease| lease.protocol == Protocol::Udp) {
        listeners.extend(Occupancy::listening(Protocol::Udp).ok()?);
    }
    let is_in_doubt = |lease: &&Arc<Lease>| engine.leases.receipt(lease.id).is_in_doubt(lease);
    let in_doubt = leases.iter().filter(is_in_doubt).map(|lease| lease.id);
    let in_doubt: HashSet<LeaseId> = in_doubt.collect();
    let ports = Ports::of(&leases, !in_doubt.is_empty());
    let wanted = listeners.into_iter().filter(|entry| ports.may_be_on(entry));
    let wanted: Vec<Entry> = wanted.collect();
    let looked = Looked {
        listeners: wanted.iter().map(|entry| entry.inode).collect(),
        leases: leases
            .iter()
            .map(|lease| (lease.id, lease.revision))
            .collect(),
    };
    let is_known = engine.elsewhere.with(|last| {
        let is_known = *last == looked;
        *last = looked;
        is_known
    });
    if is_known {
        return None;
    }
    let mut found = on_ports(&wanted, &leases);
    let hint = |lease: Arc<Lease>| {
        let on = found.remove(&lease.id).unwrap_or_default();
        let hint = match lease.handover {
            Handover::Fd if in_doubt.contains(&lease.id) => ignoring(&lease, &on),
            Handover::Fd => neighbours(&lease, &on),
            // It served its port, and is on its way out.
            _ if lease.state == State::Handed && engine.leases.has_listened(&lease) => None,
            _ => hint(&lease, &on),
        };
        (lease, hint)
    };
    Some(leases.into_iter().map(hint).collect())
}

/// The ports on which the programs of some leases are looked for.
struct Ports {
    /// Whether a program is looked for on any port.
    any: bool,
    users: HashSet<u32>,
    neighbours: HashSet<Port>,
}

impl Ports {
    fn of(leases: &[Arc<Lease>], any_in_doubt: bool) -> Self {
        let owners = leases.iter().filter_map(|lease| lease.owner.as_ref());
        let above = leases.iter().flat_map(|lease| {
            let above = (1..=NEIGHBOURS).filter_map(|by| lease.port.get().checked_add(by));
            above.filter_map(Port::new)
        });
        Self {
            any: any_in_doubt || leases.iter().any(|lease| lease.state == State::Handed),
            users: owners.map(|owner| owner.uid).collect(),
            neighbours: above.collect(),
        }
    }

    fn may_be_on(&self, entry: &Entry) -> bool {
        let is_of_user = entry.uid.is_some_and(|uid| self.users.contains(&uid));
        is_of_user && (self.any || self.neighbours.contains(&entry.port))
    }
}

/// Ports by the lease whose program listens there, each with one process that does.
type OnPorts = HashMap<LeaseId, BTreeMap<Port, u32>>;

/// Finds the ports of each lease's program, without those that it has leases for.
fn on_ports(listeners: &[Entry], leases: &[Arc<Lease>]) -> OnPorts {
    let mut by_owner: HashMap<u32, Vec<&Arc<Lease>>> = HashMap::new();
    for lease in leases.iter().filter(|lease| is_of_run(lease)) {
        let owner = lease.owner.iter();
        owner.for_each(|owner| by_owner.entry(owner.pid).or_default().push(lease));
    }
    let processes = processes_of(listeners);
    let mut of_process: HashMap<u32, Vec<&Arc<Lease>>> = HashMap::new();
    let mut found = OnPorts::new();
    for entry in listeners {
        for process in processes.get(&entry.inode).into_iter().flatten() {
            let own = of_process.entry(process.pid);
            let own = own.or_insert_with(|| leases_of(process.pid, leases, &by_owner));
            if own.iter().any(|lease| lease.port == entry.port) {
                continue;
            }
            for lease in own.iter().filter(|lease| lease.protocol == entry.protocol) {
                let ports = found.entry(lease.id).or_default();
                ports.entry(entry.port).or_insert(process.pid);
            }
        }
    }
    found
}

/// Whether the owner of a lease is a program that was started for it. An owner that was named, such as a
/// shell, may have programs for other ports too.
fn is_of_run(lease: &Lease) -> bool {
    let mark = lease
        .owner
        .as_ref()
        .map(|owner| process::mark_of(owner.pid));
    mark.is_some_and(|mark| mark == Mark::Blank || mark.names(&lease.id.to_string()))
}

/// Leases whose program a process belongs to: by its lineage, else by its mark.
fn leases_of<'l>(
    pid: u32,
    leases: &'l [Arc<Lease>],
    by_owner: &HashMap<u32, Vec<&'l Arc<Lease>>>,
) -> Vec<&'l Arc<Lease>> {
    let nearest = process::lineage(pid).find_map(|pid| by_owner.get(&pid));
    if let Some(own) = nearest {
        return own.clone();
    }
    let mark = process::mark_of(pid);
    if !matches!(mark, Mark::Leases(_)) {
        return Vec::new();
    }
    let own = leases
        .iter()
        .filter(|lease| mark.names(&lease.id.to_string()));
    own.collect()
}

fn hint(lease: &Lease, on: &BTreeMap<Port, u32>) -> Option<Hint> {
    if lease.state == State::Handed {
        let ports: Vec<Port> = on.keys().copied().take(MOST_NAMED).collect();
        let first = on.values().next()?;
        let owner = lease.owner.as_ref().map(|owner| owner.pid);
        // A package manager that owns the lease may be the one whose command line names the framework.
        let beyond = owner.and_then(|owner| process::parent(owner).ok());
        let family = process::lineage(*first).take_while(|pid| Some(*pid) != beyond);
        let mut family = family.take(GENERATIONS);
        let flags = family.find_map(|pid| process::known_word(pid, flags_of));
        return Some(Hint::elsewhere(lease.port, &ports, flags));
    }
    neighbours(lease, on)
}

/// Hint on a program that listens elsewhere, and was not seen to take the sockets that it was given.
fn ignoring(lease: &Lease, on: &BTreeMap<Port, u32>) -> Option<Hint> {
    let ports: Vec<Port> = on.keys().copied().take(MOST_NAMED).collect();
    (!ports.is_empty()).then(|| Hint::sockets_ignored(lease.port, &ports))
}

fn neighbours(lease: &Lease, on: &BTreeMap<Port, u32>) -> Option<Hint> {
    let above = lease.port.get()..=lease.port.get().saturating_add(NEIGHBOURS);
    let ports = on
        .keys()
        .copied()
        .filter(|port| above.contains(&port.get()));
    let ports: Vec<Port> = ports.collect();
    (!ports.is_empty()).then(|| Hint::neighbours(lease.port, &ports))
}
