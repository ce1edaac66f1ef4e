//! One candidate: kept in the books, bound on every address, each attempt noted.

use tracing::Span;

use super::{Found, Search};
use crate::domain::address::BindAddress;
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::lease::Handover;
use crate::domain::port::{Port, Protocol};
use crate::engine::{
    leases::Reservation, leases::books::Refused, refusal::Refusal, retake::retake,
};
use crate::host::hold::{Hold, Shape, Take};
use crate::host::redirect::redirected_at;
use crate::telemetry::{propagation, span};

impl Search<'_> {
    pub(super) async fn try_candidate(&mut self, port: Port) -> Result<Option<Found>, Refusal> {
        self.candidate(port, Self::take).await
    }

    pub(super) fn take(&mut self, protocol: Protocol, port: Port) -> Result<Hold, Outcome> {
        let (group, clock) = (&self.plan.group, self.clock);
        let mut note = |attempt, span: &Span| self.note_attempt(attempt, span);
        Hold::take(Take::Strictly, group, protocol, port, clock, &mut note)
    }

    pub(super) fn retake(&mut self, protocol: Protocol, port: Port) -> Result<Hold, Outcome> {
        let (group, clock) = (&self.plan.group, self.clock);
        let mut note = |attempt, span: &Span| self.note_attempt(attempt, span);
        retake(group, protocol, port, clock, None, &mut note)
    }

    /// Keeps an attempt. A refused one waits, with those after it, until its occupant is looked up.
    fn note_attempt(&mut self, attempt: Attempt, span: &Span) {
        if attempt.outcome == Outcome::InUse || !self.refused.is_empty() {
            self.refused.push((attempt, span.clone()));
        } else {
            self.attempts.push(noted(attempt, span));
        }
    }

    /// Looks up the occupants of refused attempts.
    async fn note_occupants(&mut self) {
        for (mut attempt, span) in std::mem::take(&mut self.refused) {
            if attempt.outcome == Outcome::InUse {
                attempt.occupant = self.occupants.of(&attempt).await;
            }
            self.attempts.push(noted(attempt, &span));
        }
    }

    /// Tries one port on every address and protocol. `None`: busy, go on; an error: going on is
    /// pointless, because the kernel would say the same of every port.
    pub(super) async fn candidate(
        &mut self,
        port: Port,
        take: fn(&mut Self, Protocol, Port) -> Result<Hold, Outcome>,
    ) -> Result<Option<Found>, Refusal> {
        let (group, protocols) = (&self.plan.group, self.plan.protocols);
        let Some(reservation) = Reservation::of(self.leases, group, protocols, port) else {
            return Ok(None);
        };
        if self.explanation.tried.last() != Some(&port) {
            self.explanation.tried.push(port);
        }
        let mut holds = Vec::with_capacity(2);
        for protocol in protocols.each() {
            let taken = take(self, *protocol, port);
            let taken = match taken {
                Ok(hold) => self.unredirected(hold).await,
                refused => refused,
            };
            match taken.and_then(|hold| self.prepared(hold)) {
                Ok(hold) => holds.push(hold),
                Err(outcome) => {
                    // First the sockets, then the books: no other request meets a closing socket.
                    drop(holds);
                    self.note_occupants().await;
                    let refused = self.after_refusal(port, *protocol, outcome);
                    // Last, once the port cools down: no other request tries it meanwhile.
                    drop(reservation);
                    return refused.map(|()| None);
                }
            }
        }
        self.note_occupants().await;
        Ok(Some(Found {
            port,
            holds,
            reservation,
            claims: Vec::new(),
        }))
    }

    /// A hold on a port that no packet filter redirects. While it does not listen, a connection to it is
    /// refused; nothing is tried on hosts without containers.
    async fn unredirected(&mut self, hold: Hold) -> Result<Hold, Outcome> {
        if hold.protocol() != Protocol::Tcp || self.plan.tried_at.is_empty() {
            return Ok(hold);
        }
        let start = self.clock.boot();
        let Some(ip) = redirected_at(&self.plan.tried_at, hold.port()).await else {
            return Ok(hold);
        };
        let mut addresses = self.plan.group.addresses().iter();
        let is_on = |address: &&BindAddress| address.ip == ip || address.ip.is_unspecified();
        if let Some(address) = addresses.find(is_on) {
            let (protocol, port) = (hold.protocol(), hold.port());
            let span = span::attempt(address, port, protocol);
            let attempt = Attempt {
                at: self.clock.now(),
                address: address.clone(),
                protocol,
                port,
                outcome: Outcome::Redirected,
                errno: None,
                duration: self.clock.boot().since(start),
                occupant: None,
                span_id: None,
            };
            self.note_attempt(attempt, &span);
        }
        Err(Outcome::Redirected)
    }

    /// A hold with the listeners that its owner will be given, where that is how it is handed over.
    fn prepared(&mut self, hold: Hold) -> Result<Hold, Outcome> {
        if self.plan.handover == Handover::Fd && hold.stays_beneath() {
            hold.prepare_listeners(self.clock, Shape::default())
                .map_err(|attempt| {
                    let outcome = attempt.outcome;
                    let span = span::attempt(&attempt.address, attempt.port, attempt.protocol);
                    self.note_attempt(*attempt, &span);
                    outcome
                })?;
        }
        Ok(hold)
    }

    pub(super) fn after_refusal(
        &mut self,
        port: Port,
        protocol: Protocol,
        outcome: Outcome,
    ) -> Result<(), Refusal> {
        let refused = self.attempts.last();
        let address = refused.map_or_else(String::new, |attempt| attempt.address.to_string());
        let start = self.rules.unprivileged_start;
        match outcome {
            Outcome::NotPermitted if self.plan.explicit.is_none() && port.get() < start => {
                // It would say the same of every low port; others may be had.
                self.low_ports_refused = true;
                Ok(())
            }
            Outcome::NotPermitted => Err(Refusal::PrivilegedPort {
                port,
                start,
                pool: None,
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
            Outcome::InUse
            | Outcome::Redirected
            | Outcome::Claimed
            | Outcome::Bound
            | Outcome::Lingering => {
                if self.leaves_marks {
                    let until = self.clock.boot().after(self.plan.pool.cool_down);
                    let refused = Refused {
                        at: self.clock.now(),
                        occupant: refused.and_then(|attempt| attempt.occupant.clone()),
                    };
                    let group = &self.plan.group;
                    self.leases.cool_down(group, protocol, port, until, refused);
                }
                Ok(())
            }
        }
    }
}

/// EMFILE or ENFILE (`socket(2)`).
fn out_of_descriptors(attempt: &Attempt) -> bool {
    use rustix::io::Errno;
    let errno = attempt.errno.map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Tells the span and the log of an attempt, and adds the span's id to it.
fn noted(mut attempt: Attempt, span: &Span) -> Attempt {
    let occupant = attempt.occupant.as_ref();
    span::attempted(span, attempt.outcome, attempt.errno, occupant);
    tracing::debug!(
        port = %attempt.port,
        address = %attempt.address,
        outcome = attempt.outcome.as_str(),
        "tried"
    );
    attempt.span_id = propagation::ids(span).map(|ids| ids.span_id);
    attempt
}
