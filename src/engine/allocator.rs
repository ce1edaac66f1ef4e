//! From a plan to held ports: choose a candidate, bind it on every address, note each attempt.
//!
//! The bind is the check and the lock in one, so nothing here asks first. The books are asked,
//! because a leased port must not be probed; the kernel's tables are asked only once many
//! candidates were busy.

mod block;
mod candidate;
mod eligible;
mod weighing;

use std::sync::{Mutex, PoisonError};

use super::books::{Books, Ticket};
use super::occupants::Occupants;
use super::plan::Plan;
use super::refusal::Refusal;
use crate::choice::bits::PortBits;
use crate::choice::history::History;
use crate::choice::strategy::Order;
use crate::domain::attempt::Attempt;
use crate::domain::explanation::Explanation;
use crate::domain::lease::{BootTime, Lease};
use crate::domain::port::{Port, PortSet};
use crate::host::clock::Clock;
use crate::host::hold::Hold;

use eligible::cools;

/// So many busy candidates are really tried, so that the user sees who is in the way; after
/// them the rest of what the socket tables list is jumped over.
const REALLY_TRIED: usize = 16;

/// What the kernel sets aside, read now and then.
#[derive(Debug, Clone, Default)]
pub struct KernelRules {
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved: PortSet,
    /// `net.ipv4.ip_local_port_range`.
    pub ephemeral: PortSet,
    /// `net.ipv4.ip_unprivileged_port_start`.
    pub unprivileged_start: u16,
}

impl KernelRules {
    /// How many ports of the ephemeral range may be held at once: 5 %, but 16 at least, since
    /// everybody else on the host lives from that range.
    pub fn ephemeral_budget(&self) -> u32 {
        u32::try_from(self.ephemeral.len() / 20)
            .unwrap_or(u32::MAX)
            .max(16)
    }
}

/// One port that was found: held for each protocol, and reserved in the books.
#[derive(Debug)]
pub struct Found {
    /// The port.
    pub port: Port,
    /// One hold a protocol.
    pub holds: Vec<Hold>,
    /// What keeps it in the books until it is a lease.
    pub ticket: Ticket,
}

/// One search under way: where it looks, what it tried, what it has found.
pub struct Search<'a> {
    plan: &'a Plan,
    books: &'a Mutex<Books>,
    history: &'a Mutex<History>,
    clock: &'a Clock,
    rules: &'a KernelRules,
    deadline: BootTime,
    occupants: &'a mut Occupants<'a>,
    /// Who asks, and may know whose lease is in the way.
    uid: u32,
    /// Whether what it meets counts for later searches.
    leaves_marks: bool,
    /// What the socket tables listed, once they were asked.
    listed: Option<PortBits>,
    /// Everything tried so far.
    pub attempts: Vec<Attempt>,
    /// Why it goes as it goes.
    pub explanation: Explanation,
}

impl<'a> Search<'a> {
    /// A search that has not begun. Whoever searches has the data directory's lock.
    pub fn new(
        plan: &'a Plan,
        books: &'a Mutex<Books>,
        history: &'a Mutex<History>,
        clock: &'a Clock,
        rules: &'a KernelRules,
        occupants: &'a mut Occupants<'a>,
        uid: u32,
    ) -> Self {
        Self {
            plan,
            books,
            history,
            clock,
            rules,
            deadline: clock.boot().after(plan.pool.attempt_timeout),
            occupants,
            uid,
            leaves_marks: true,
            listed: None,
            attempts: Vec::new(),
            explanation: plan.explanation(),
        }
    }

    /// The same search, but nothing it meets counts for later ones.
    #[must_use]
    pub const fn without_marks(mut self) -> Self {
        self.leaves_marks = false;
        self
    }

    fn books(&self) -> std::sync::MutexGuard<'a, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds `count` ports, or none at all. `sticky` are ports that names had before: tried
    /// first, past lingering connections.
    pub fn find(
        &mut self,
        count: usize,
        sticky: &[Option<Port>],
        rng: &mut fastrand::Rng,
    ) -> Result<Vec<Found>, Refusal> {
        let mut found = Vec::with_capacity(count);
        for index in 0..count {
            let sticky = sticky.get(index).copied().flatten();
            let next = match self.plan.explicit {
                Some(port) => self.explicit(port),
                None => self.sticky_or_any(sticky, rng),
            };
            match next {
                Ok(port) => {
                    self.explanation.granted.push(port.port);
                    found.push(port);
                }
                Err(refusal) => {
                    self.explanation.granted.clear();
                    for found in found {
                        self.let_go(found);
                    }
                    return Err(refusal);
                }
            }
        }
        Ok(found)
    }

    /// Closes what was found and gives it up in the books.
    pub fn let_go(&self, found: Found) {
        drop(found.holds);
        self.cancel(found.port, found.ticket);
    }

    fn cancel(&self, port: Port, ticket: Ticket) {
        let (group, protocols) = (&self.plan.group, self.plan.protocols);
        self.books().cancel(group, protocols, port, ticket);
    }

    /// A port asked for by number: strict, never another.
    fn explicit(&mut self, port: Port) -> Result<Found, Refusal> {
        if self.plan.exclude.contains(port) {
            return Err(Refusal::PortExcluded {
                port,
                rule: format!("the configuration (exclude = \"{}\")", self.plan.exclude),
            });
        }
        let protocols = self.plan.protocols.each();
        if let Some(exclusion) = self.plan.exclusions.against(protocols, port) {
            let rule = exclusion.to_string();
            return Err(Refusal::PortExcluded { port, rule });
        }
        if self.over_ephemeral_budget() && self.rules.ephemeral.contains(port) {
            return Err(Refusal::QuotaExceeded(format!(
                "port {port} lies in the ephemeral range, of which portbook already holds {} ports, \
                 all that it may: choose one outside {}",
                self.rules.ephemeral_budget(),
                self.rules.ephemeral
            )));
        }
        match self.try_candidate(port)? {
            Some(found) => Ok(found),
            None => Err(self.why_not(port)),
        }
    }

    fn why_not(&self, port: Port) -> Refusal {
        if self.attempts.iter().any(|attempt| attempt.port == port) {
            return Refusal::PortInUse {
                port,
                attempts: Vec::new(),
            };
        }
        let books = self.books();
        for protocol in self.plan.protocols.each() {
            let holder = books
                .on_port(*protocol, port)
                .find(|lease| lease.addresses.overlaps(&self.plan.group));
            if let Some(lease) = holder {
                return Refusal::PortLeased {
                    port,
                    protocol: *protocol,
                    holder: holder_text(lease, self.uid),
                };
            }
        }
        Refusal::PortLeased {
            port,
            protocol: self.plan.protocols.each()[0],
            holder: "another request that is being answered right now".to_owned(),
        }
    }

    fn sticky_or_any(
        &mut self,
        sticky: Option<Port>,
        rng: &mut fastrand::Rng,
    ) -> Result<Found, Refusal> {
        if let Some(port) = sticky.filter(|port| !self.plan.excludes(*port)) {
            if self.is_too_dear(port) {
                self.note(format!(
                    "{port}, which this name had before, is taken too often"
                ));
                return self.any(rng);
            }
            if let Some(found) = self.candidate(port, Self::retake)? {
                self.note(format!("{port} is the port that this name had before"));
                return Ok(found);
            }
            if self.plan.strict {
                return Err(self.why_not(port));
            }
            self.note(format!("{port}, which this name had before, is taken"));
        }
        self.any(rng)
    }

    fn note(&mut self, note: String) {
        self.explanation.notes.push(note);
    }

    /// Walks the eligible ports in the order of the strategy.
    fn any(&mut self, rng: &mut fastrand::Rng) -> Result<Found, Refusal> {
        let mut eligible = self.eligible(true);
        let mut order = Order::new(self.plan.strategy, self.plan.prefer);
        let mut lifted = false;
        loop {
            let Some(port) = self.next(&mut order, &eligible.ports, rng) else {
                // Cool-down is lifted when nothing else is left.
                if std::mem::replace(&mut lifted, true) || !cools(&eligible) {
                    return Err(self.exhausted());
                }
                self.note("cool-down lifted: nothing else was left".to_owned());
                eligible = self.eligible(false);
                continue;
            };
            eligible.ports.remove(port);
            self.check_limits()?;
            if let Some(found) = self.try_candidate(port)? {
                return Ok(found);
            }
            if self.listed.is_none() && self.failed() >= REALLY_TRIED {
                self.jump_over_listed(&mut eligible);
            }
        }
    }

    fn check_limits(&self) -> Result<(), Refusal> {
        if self.failed() >= self.plan.max_attempts {
            return Err(Refusal::AttemptsExhausted {
                tried: self.explanation.tried.clone(),
                ranges: self.plan.ranges.clone(),
                attempts: Vec::new(),
            });
        }
        if self.clock.boot() >= self.deadline {
            return Err(Refusal::TimedOut {
                limit: self.plan.pool.attempt_timeout,
                attempts: Vec::new(),
            });
        }
        Ok(())
    }

    /// How many candidates were busy.
    fn failed(&self) -> usize {
        self.explanation.tried.len() - self.explanation.granted.len()
    }

    fn exhausted(&self) -> Refusal {
        Refusal::PoolExhausted {
            pool: self.plan.pool.name.to_string(),
            ranges: self.plan.ranges.clone(),
            explanation: Box::new(self.explanation.clone()),
            attempts: Vec::new(),
        }
    }
}

fn holder_text(lease: &Lease, uid: u32) -> String {
    if uid != 0 && uid != lease.uid {
        return format!("another user (uid {})", lease.uid);
    }
    match &lease.name {
        Some(_) => format!("{} (lease {})", lease.called(), lease.id),
        None => format!("lease {}", lease.id),
    }
}
