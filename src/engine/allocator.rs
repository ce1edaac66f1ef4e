//! From a plan to held ports: choose a candidate, bind it on every address, note each attempt.
//!
//! The bind is the check and the lock in one, so nothing here asks first. The books are asked,
//! because a leased port must not be probed; the kernel's tables are asked only once many
//! candidates were busy.

use std::sync::{Mutex, PoisonError};

use tracing::Span;

use super::books::{Books, Taken};
use super::keeper::retake;
use super::occupants::Occupants;
use super::plan::Plan;
use super::refusal::Refusal;
use crate::choice::bits::PortBits;
use crate::choice::policy::Eligible;
use crate::choice::strategy::Order;
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::explanation::{Explanation, Reason};
use crate::domain::lease::{BootTime, Lease};
use crate::domain::port::{Port, PortSet, Protocol};
use crate::host::clock::Clock;
use crate::host::hold::{Hold, Take};
use crate::host::occupancy::Occupancy;
use crate::telemetry::span;

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
}

/// One search under way: where it looks, what it tried, what it has found.
pub struct Search<'a> {
    plan: &'a Plan,
    books: &'a Mutex<Books>,
    clock: &'a Clock,
    rules: &'a KernelRules,
    deadline: BootTime,
    occupants: &'a mut Occupants,
    /// Who asks, and may know whose lease is in the way.
    uid: u32,
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
        clock: &'a Clock,
        rules: &'a KernelRules,
        occupants: &'a mut Occupants,
        uid: u32,
    ) -> Self {
        Self {
            plan,
            books,
            clock,
            rules,
            deadline: clock.boot().after(plan.pool.attempt_timeout),
            occupants,
            uid,
            listed: None,
            attempts: Vec::new(),
            explanation: plan.explanation(),
        }
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
        self.cancel(found.port);
    }

    /// Finds `length` ports in a row, or none at all.
    pub fn find_block(
        &mut self,
        length: u16,
        rng: &mut fastrand::Rng,
    ) -> Result<Vec<Found>, Refusal> {
        let mut eligible = self.eligible(true).ports;
        let mut starts = eligible.run_starts(length);
        let mut order = Order::new(self.plan.strategy, self.plan.prefer);
        while let Some(first) = order.next(&starts, rng) {
            starts.remove(first);
            self.check_limits()?;
            let found = self.try_block(first, length)?;
            if found.len() == usize::from(length) {
                self.explanation
                    .granted
                    .extend(found.iter().map(|found| found.port));
                return Ok(found);
            }
            // The next one is busy, so no run with it is left.
            let busy = found.last().map_or(Some(first), |last| next(last.port));
            for found in found {
                self.let_go(found);
            }
            if let Some(busy) = busy {
                eligible.remove(busy);
                starts = eligible.run_starts(length);
            }
        }
        Err(Refusal::NoRun {
            pool: self.plan.pool.name.to_string(),
            ranges: self.plan.ranges.clone(),
            length,
            longest: eligible.longest_run(),
        })
    }

    /// Tries ports in a row until one is busy.
    fn try_block(&mut self, first: Port, length: u16) -> Result<Vec<Found>, Refusal> {
        let mut found: Vec<Found> = Vec::with_capacity(usize::from(length));
        let mut port = Some(first);
        for _ in 0..length {
            let Some(candidate) = port else { break };
            match self.try_candidate(candidate) {
                Ok(Some(taken)) => found.push(taken),
                Ok(None) => break,
                Err(refusal) => {
                    for found in found {
                        self.let_go(found);
                    }
                    return Err(refusal);
                }
            }
            port = next(candidate);
        }
        Ok(found)
    }

    fn cancel(&self, port: Port) {
        let mut books = self.books();
        for protocol in self.plan.protocols.each() {
            books.cancel(&self.plan.group, *protocol, port);
        }
    }

    /// A port asked for by number: strict, never another.
    fn explicit(&mut self, port: Port) -> Result<Found, Refusal> {
        if self.plan.exclude.contains(port) {
            return Err(Refusal::PortExcluded {
                port,
                rule: format!("the configuration (exclude = \"{}\")", self.plan.exclude),
            });
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
        if let Some(port) = sticky.filter(|port| !self.plan.exclude.contains(*port)) {
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
            let Some(port) = order.next(&eligible.ports, rng) else {
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

    /// What may be tried, and in the explanation what may not.
    fn eligible(&mut self, with_cool_down: bool) -> Eligible {
        let mut eligible = Eligible::all_of(&self.plan.ranges);
        if !self.plan.exclude.is_empty() {
            eligible.exclude(Reason::Configured, &PortBits::from(&self.plan.exclude));
        }
        if !self.rules.reserved.is_empty() {
            eligible.exclude(
                Reason::KernelReserved,
                &PortBits::from(&self.rules.reserved),
            );
        }
        if self.over_ephemeral_budget() {
            let ephemeral = PortBits::from(&self.rules.ephemeral);
            eligible.exclude(Reason::EphemeralBudget, &ephemeral);
        }
        let now = self.clock.boot();
        let mut books = self.books();
        for protocol in self.plan.protocols.each() {
            for taken in books.taken(&self.plan.group, *protocol) {
                eligible.exclude(Reason::Leased, taken);
            }
            if !with_cool_down {
                continue;
            }
            if let Some(cooling) = books.cooling(&self.plan.group, *protocol, now) {
                eligible.exclude(Reason::CoolingDown, cooling);
            }
        }
        drop(books);
        if let Some(listed) = &self.listed {
            eligible.exclude(Reason::Listed, listed);
        }
        // A port that this search has already tried is not tried again.
        for port in &self.explanation.tried {
            eligible.ports.remove(*port);
        }
        self.explanation.ports = eligible.pool_size;
        self.explanation.excluded.clone_from(&eligible.excluded);
        eligible
    }

    fn over_ephemeral_budget(&self) -> bool {
        let ephemeral = &self.rules.ephemeral;
        if self.plan.ranges.intersection(ephemeral).is_empty()
            && self
                .plan
                .explicit
                .is_none_or(|port| !ephemeral.contains(port))
        {
            return false;
        }
        let held = self.books().taken_within(&PortBits::from(ephemeral));
        held >= self.rules.ephemeral_budget()
    }

    /// Leaves out what the socket tables list. They are hints, but a port listed cannot be bound
    /// strictly, and what they miss the bind will tell.
    fn jump_over_listed(&mut self, eligible: &mut Eligible) {
        let Ok(tables) = Occupancy::snapshot(self.plan.protocols.each()) else {
            return;
        };
        let mut listed = PortBits::default();
        let addresses = self.plan.group.addresses();
        for entry in &tables.entries {
            if addresses.iter().any(|address| entry.overlaps(address)) {
                listed.insert(entry.port);
            }
        }
        eligible.exclude(Reason::Listed, &listed);
        self.explanation.excluded.clone_from(&eligible.excluded);
        self.listed = Some(listed);
    }

    fn try_candidate(&mut self, port: Port) -> Result<Option<Found>, Refusal> {
        self.candidate(port, Self::take)
    }

    fn take(&mut self, protocol: Protocol, port: Port) -> Result<Hold, Outcome> {
        let group = &self.plan.group;
        let mut note = noting(self.occupants, &mut self.attempts);
        Hold::take(Take::Strictly, group, protocol, port, self.clock, &mut note)
    }

    fn retake(&mut self, protocol: Protocol, port: Port) -> Result<Hold, Outcome> {
        let mut note = noting(self.occupants, &mut self.attempts);
        retake(&self.plan.group, protocol, port, self.clock, &mut note)
    }

    /// Tries one port on every address and protocol. `None`: busy, go on; an error: going on is
    /// pointless, because the kernel would say the same of every port.
    fn candidate(
        &mut self,
        port: Port,
        take: fn(&mut Self, Protocol, Port) -> Result<Hold, Outcome>,
    ) -> Result<Option<Found>, Refusal> {
        if !self.reserve(port) {
            return Ok(None);
        }
        if self.explanation.tried.last() != Some(&port) {
            self.explanation.tried.push(port);
        }
        let mut holds = Vec::with_capacity(2);
        for protocol in self.plan.protocols.each() {
            match take(self, *protocol, port) {
                Ok(hold) => holds.push(hold),
                Err(outcome) => {
                    drop(holds);
                    self.cancel(port);
                    return self.after_refusal(port, *protocol, outcome).map(|()| None);
                }
            }
        }
        Ok(Some(Found { port, holds }))
    }

    /// Keeps the port in the books for every protocol, or for none.
    fn reserve(&self, port: Port) -> bool {
        let mut books = self.books();
        let group = &self.plan.group;
        let protocols = self.plan.protocols.each();
        for (index, protocol) in protocols.iter().enumerate() {
            if let Err(Taken::By(_) | Taken::BeingGranted) = books.reserve(group, *protocol, port) {
                for earlier in &protocols[..index] {
                    books.cancel(group, *earlier, port);
                }
                return false;
            }
        }
        true
    }

    fn after_refusal(
        &self,
        port: Port,
        protocol: Protocol,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        let refused = self.attempts.last();
        let address = refused.map_or_else(String::new, |attempt| attempt.address.to_string());
        match outcome {
            Outcome::NotPermitted => Err(Refusal::PrivilegedPort {
                port,
                start: self.rules.unprivileged_start,
            }),
            Outcome::AddressNotAvailable => Err(Refusal::AddressNotAvailable { address }),
            Outcome::Failed if refused.is_some_and(out_of_descriptors) => {
                Err(Refusal::QuotaExceeded(
                    "no descriptors are left for holds (RLIMIT_NOFILE): release leases, or raise \
                     LimitNOFILE of the service"
                        .to_owned(),
                ))
            }
            Outcome::Failed => Err(Refusal::BindFailed {
                address,
                source: refused.and_then(|attempt| attempt.errno).map_or_else(
                    || std::io::Error::other("unknown"),
                    std::io::Error::from_raw_os_error,
                ),
            }),
            Outcome::InUse | Outcome::Bound | Outcome::Lingering => {
                let until = self.clock.boot().after(self.plan.pool.cool_down);
                self.books()
                    .cool_down(&self.plan.group, protocol, port, until);
                Ok(())
            }
        }
    }
}

fn next(port: Port) -> Option<Port> {
    port.get().checked_add(1).and_then(Port::new)
}

/// EMFILE or ENFILE (`socket(2)`).
fn out_of_descriptors(attempt: &Attempt) -> bool {
    use rustix::io::Errno;
    let errno = attempt.errno.map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

fn cools(eligible: &Eligible) -> bool {
    let mut excluded = eligible.excluded.iter();
    excluded.any(|excluded| excluded.reason == Reason::CoolingDown)
}

/// Adds to each refused attempt who was in the way, and keeps it.
fn noting<'n>(
    occupants: &'n mut Occupants,
    attempts: &'n mut Vec<Attempt>,
) -> impl FnMut(Attempt, &Span) + 'n {
    move |mut attempt, span| {
        if attempt.outcome == Outcome::InUse {
            attempt.occupant = occupants.of(&attempt);
        }
        let occupant = attempt.occupant.as_ref();
        span::attempted(span, attempt.outcome, attempt.errno, occupant);
        attempts.push(attempt);
    }
}

fn holder_text(lease: &Lease, uid: u32) -> String {
    if uid != 0 && uid != lease.uid {
        return format!("another user (uid {})", lease.uid);
    }
    match &lease.name {
        Some(name) => format!("{name} (lease {})", lease.id),
        None => format!("lease {}", lease.id),
    }
}
