//! The book of the fence: ports that the kernel of this host shuts, and the permits that open some of them.
//!
//! The permits (`src/fleet/permit.rs`) write it; status, leases and metrics read it at the time of the question,
//! so that a number is told as shut from the moment on at which its permit has run out.

use std::collections::BTreeMap;

use super::lock::Guarded;
use crate::domain::claim::Number;
use crate::domain::fleet::FenceSummary;
use crate::domain::hint::Hint;
use crate::domain::lease::{BootTime, Lease};
use crate::domain::port::{PortSet, Protocol};
use crate::host::clock::Clock;

/// Knowledge of the permit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The kernel has it, until its end.
    Written,
    /// The kernel had it at some time, and may not have it any more: its end was read or a change failed.
    Doubtful,
    /// The kernel does not have it since its end.
    Gone,
}

/// Permit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// End by this host's clock: the kernel shuts the number then.
    pub end: BootTime,
    /// Knowledge of it.
    pub known: Known,
}

impl Permit {
    /// Whether the kernel has it, as far as is known for sure.
    pub fn is_open(self, now: BootTime) -> bool {
        self.known == Known::Written && self.end > now
    }

    fn go(&mut self, now: BootTime) {
        self.end = self.end.min(now);
        self.known = Known::Gone;
    }
}

/// The book. It takes its own lock alone.
#[derive(Debug, Default)]
pub struct FenceBook(Guarded<State>);

#[derive(Debug, Default)]
struct State {
    /// Ports that the kernel shuts unless there is a permit.
    guarded: BTreeMap<Protocol, PortSet>,
    permits: BTreeMap<Number, Permit>,
}

impl FenceBook {
    /// Sets the ports that the kernel shuts unless there is a permit.
    pub fn guard(&self, guarded: BTreeMap<Protocol, PortSet>) {
        self.0.with(|state| state.guarded = guarded);
    }

    /// Forgets all: the kernel shuts nothing, or it is not known any more what it has open.
    pub fn clear(&self) {
        self.0.with(|state| *state = State::default());
    }

    /// Writes permits.
    pub fn put(&self, permits: impl IntoIterator<Item = (Number, Permit)>) {
        let permits: Vec<_> = permits.into_iter().collect();
        self.0.with(|state| state.permits.extend(permits));
    }

    /// Notes numbers that the kernel has shut by now.
    pub fn gone(&self, numbers: &[Number], now: BootTime) {
        self.0.with(|state| {
            for number in numbers {
                if let Some(permit) = state.permits.get_mut(number) {
                    permit.go(now);
                }
            }
        });
    }

    /// Notes that the kernel has shut all of them by now.
    pub fn all_gone(&self, now: BootTime) {
        self.0
            .with(|state| state.permits.values_mut().for_each(|permit| permit.go(now)));
    }

    /// Notes that it is not known whether the kernel has these numbers open.
    pub fn doubt(&self, numbers: &[Number], now: BootTime) {
        let doubtful = Permit {
            end: now,
            known: Known::Doubtful,
        };
        self.0.with(|state| {
            for number in numbers {
                let permit = state.permits.entry(*number).or_insert(doubtful);
                permit.known = Known::Doubtful;
            }
        });
    }

    /// Forgets numbers that are claimed no more.
    pub fn forget(&self, numbers: &[Number]) {
        self.0.with(|state| {
            for number in numbers {
                state.permits.remove(number);
            }
        });
    }

    /// Returns the permit of a number. `None` if nothing is known of one.
    pub fn of(&self, number: Number) -> Option<Permit> {
        self.0.with(|state| state.permits.get(&number).copied())
    }

    /// Returns the numbers whose permits are over and were not found gone yet.
    pub fn late(&self, now: BootTime) -> Vec<Number> {
        let is_late = |permit: &Permit| permit.known != Known::Gone && permit.end <= now;
        self.0.with(|state| {
            let late = state.permits.iter().filter(|(_, permit)| is_late(permit));
            late.map(|(number, _)| *number).collect()
        })
    }

    /// Returns the numbers that are shut, ascending.
    pub fn shut(&self, now: BootTime) -> Vec<Number> {
        self.0.with(|state| {
            let shut = state.permits.iter().filter(|(_, permit)| permit.end <= now);
            shut.map(|(number, _)| *number).collect()
        })
    }

    /// Returns all numbers in short.
    pub fn summary(&self, now: BootTime) -> FenceSummary {
        self.0.with(|state| {
            let mut summary = FenceSummary::default();
            for Permit { end, .. } in state.permits.values().copied() {
                if end > now {
                    summary.first_end = Some(summary.first_end.map_or(end, |first| first.min(end)));
                } else {
                    summary.shut += 1;
                    let since = summary.shut_since.map_or(end, |first| first.min(end));
                    summary.shut_since = Some(since);
                }
            }
            summary
        })
    }

    /// Returns the advice on a lease whose port the kernel shuts. `None` if it is open.
    pub fn hint(&self, lease: &Lease, clock: &Clock) -> Option<Hint> {
        if lease.ended_at.is_some() {
            return None;
        }
        let now = clock.boot();
        let number = Number {
            protocol: lease.protocol,
            port: lease.port,
        };
        self.0.with(|state| {
            let guarded = state.guarded.get(&number.protocol)?;
            if !guarded.contains(number.port) {
                return None;
            }
            let has_claim = lease.claim.is_some_and(|claim| !claim.is_lost);
            match state.permits.get(&number) {
                Some(permit) if permit.end > now => None,
                Some(permit) => {
                    let since = clock.wall_time_of(permit.end);
                    Some(Hint::shut_by_fence(number.port, since))
                }
                None if has_claim => Some(Hint::shut_until_joined(number.port)),
                None => Some(Hint::without_claim(number.port)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::claim::LeaseClaim;
    use crate::domain::hint::HintKind;
    use crate::domain::lease::tests_support::lease;

    fn number(port: u16) -> Number {
        let lease = lease(port);
        Number {
            protocol: lease.protocol,
            port: lease.port,
        }
    }

    fn book(clock: &Clock) -> FenceBook {
        let book = FenceBook::default();
        let ports: PortSet = "30000-30009".parse().unwrap();
        book.guard(BTreeMap::from([(Protocol::Tcp, ports)]));
        let permit = |after_s| Permit {
            end: clock.boot().after(Duration::from_secs(after_s)),
            known: Known::Written,
        };
        book.put([(number(30_000), permit(60)), (number(30_001), permit(10))]);
        book
    }

    #[test]
    fn number_is_shut_from_the_end_of_its_permit_on() {
        let clock = Clock::manual();
        let book = book(&clock);
        let first = book.summary(clock.boot());
        assert_eq!((first.shut, first.shut_since), (0, None));
        clock.advance(Duration::from_secs(10));
        let now = clock.boot();
        let later = book.summary(now);
        assert_eq!((later.shut, later.shut_since), (1, Some(now)));
        assert_eq!(later.first_end, Some(now.after(Duration::from_secs(50))));
        assert_eq!(book.late(now), [number(30_001)]);
        book.gone(&[number(30_001)], now);
        assert_eq!(book.late(now), []);
        assert_eq!(book.shut(now), [number(30_001)]);
        book.forget(&[number(30_001)]);
        assert_eq!(book.summary(now).shut, 0);
    }

    #[test]
    fn leases_are_told_why_nothing_reaches_them() {
        let clock = Clock::manual();
        let book = book(&clock);
        clock.advance(Duration::from_secs(30));
        let says = |port, claim| {
            let mut lease = lease(port);
            lease.claim = claim;
            let hint = book.hint(&lease, &clock)?;
            assert_eq!(hint.kind, HintKind::ShutByFence);
            Some(hint.says)
        };
        let claimed = Some(LeaseClaim::default());
        assert_eq!(says(30_000, claimed), None);
        assert!(says(30_001, claimed).unwrap().contains("since "));
        assert!(says(30_002, claimed).unwrap().contains("until this host"));
        assert!(says(30_002, None).unwrap().contains("no claim"));
        assert_eq!(says(30_010, None), None);
    }
}
