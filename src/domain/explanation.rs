//! Explanations: the record of a choice with the excluded ports, the weighed candidates and the tries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::port::{Port, PortSet};
use super::precedence::{Skipped, Step};
use super::reason::Reason;

/// Ports of the pool that one reason excluded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Excluded {
    /// Reason that excluded them.
    pub reason: Reason,
    /// Number of ports.
    pub ports: u32,
    /// Port numbers, ascending, if there are at most 16; empty if there are more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub which: Vec<Port>,
}

impl Excluded {
    /// Maximum number of ports that are listed; more would make each record long.
    pub const NAMED: u32 = 16;

    /// Adds a number of ports, with their numbers if there are few. Either all are listed or none.
    pub fn add(&mut self, ports: u32, which: impl IntoIterator<Item = Port>) {
        self.ports += ports;
        if self.ports > Self::NAMED {
            self.which.clear();
            return;
        }
        self.which.extend(which);
        self.which.sort_unstable();
    }

    /// Listed ports, as `20412, 20416-20417`. `None` if they are not listed.
    pub fn named(&self) -> Option<String> {
        let which: PortSet = self.which.iter().copied().collect();
        (!which.is_empty()).then(|| which.in_words())
    }
}

/// Word in place of a strategy, for a port asked for by number.
pub const EXPLICIT: &str = "explicit";

/// Stored reasons of one allocation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Order of candidates: the strategy, or `explicit` for a port asked for by number.
    pub strategy: String,
    /// Selectors of the request, or of its pool.
    pub interfaces: Vec<String>,
    /// Bind addresses that they selected at that moment.
    pub addresses: Vec<String>,
    /// Ranges that were searched.
    pub ranges: String,
    /// Number of ports in the ranges.
    pub ports: u32,
    /// Ports excluded before any try, by reason.
    pub excluded: Vec<Excluded>,
    /// Candidates weighed at each choice, in the order of the choices. The cheapest comes first and is
    /// the one tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Vec<Candidate>>,
    /// Share of the eligible ports that the latest snapshot saw busy: the chance that a random port
    /// would have been refused. `None` before the first snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_would_meet: Option<f64>,
    /// Tried ports, in order.
    pub tried: Vec<Port>,
    /// Granted ports.
    pub granted: Vec<Port>,
    /// Step of the precedence that yielded each granted port, in the order of `granted`. Empty in
    /// records of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Ports that came before the granted ones in the precedence, with their reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// Further remarks, such as a lifted cool-down.
    pub notes: Vec<String>,
}

/// Note in place of the entries that do not fit.
const MORE_SKIPPED: &str = "more ports above the preferred one were passed over than are listed";

/// Maximum number of entries in [`Explanation::skipped`]; more ports are told in one note.
const SKIPPED_KEPT: usize = 256;

impl Explanation {
    /// Notes that a port was passed over; a run of ports with one reason becomes one entry.
    pub fn skip(&mut self, skipped: Skipped) {
        let is_known = |known: &Skipped| {
            known.is_continued_by(&skipped) && skipped.ports.without(&known.ports).is_empty()
        };
        if self.skipped.iter().any(is_known) {
            return;
        }
        let full = self.skipped.len() == SKIPPED_KEPT;
        match self.skipped.last_mut() {
            Some(last) if last.is_continued_by(&skipped) => {
                last.ports = last.ports.union(&skipped.ports);
            }
            _ if full => self.note_once(MORE_SKIPPED),
            _ => self.skipped.push(skipped),
        }
    }

    /// Removes a port that was tried after all.
    pub fn unskip(&mut self, port: Port) {
        let single = PortSet::single(port);
        for skipped in self.skipped.iter_mut().filter(|it| it.ports.contains(port)) {
            skipped.ports = skipped.ports.without(&single);
        }
        self.skipped.retain(|skipped| !skipped.ports.is_empty());
    }

    fn note_once(&mut self, note: &str) {
        if self.notes.last().map(String::as_str) != Some(note) {
            self.notes.push(note.to_owned());
        }
    }

    /// Entry of a port that was passed over. `None` if it was not, or stands in a note.
    pub fn why_skipped(&self, port: Port) -> Option<&Skipped> {
        let mut skipped = self.skipped.iter().rev();
        skipped.find(|skipped| skipped.ports.contains(port))
    }

    /// Whether the ranges were searched: a port may come from a step before the pool, and then no
    /// port of the ranges was counted or ruled out.
    pub const fn is_pool_searched(&self) -> bool {
        self.ports > 0
    }

    /// Number of ports that could be chosen. `None` if the record contradicts itself.
    pub fn eligible(&self) -> Option<u32> {
        let excluded = self.excluded.iter().map(|excluded| excluded.ports);
        self.ports.checked_sub(excluded.sum())
    }

    /// Hides leases and programs of users that the viewer does not see.
    pub fn veil_skipped(&mut self, sees: impl Fn(u32) -> bool + Copy) {
        self.skipped
            .iter_mut()
            .for_each(|skipped| skipped.veil(sees));
    }

    /// Removes the names of processes: history keeps them without their users, so no viewer may see
    /// them.
    pub fn veil(&mut self) {
        let candidates = self.choices.iter_mut().flatten();
        for weighed in candidates.flat_map(|candidate| &mut candidate.weighed) {
            weighed.evidence.occupant = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(numbers: std::ops::RangeInclusive<u16>) -> impl Iterator<Item = Port> {
        numbers.filter_map(Port::new)
    }

    #[test]
    fn excluded_ports_are_listed_up_to_sixteen() {
        let mut leased = Excluded {
            reason: Reason::Leased,
            ports: 0,
            which: Vec::new(),
        };
        leased.add(2, ports(30..=31));
        leased.add(1, ports(20..=20));
        assert_eq!(leased.named().unwrap(), "20, 30-31");
        leased.add(13, ports(1..=13));
        assert_eq!(leased.which.len(), 16);
        leased.add(1, ports(40..=40));
        assert_eq!((leased.ports, leased.named()), (17, None));
        leased.add(1, ports(41..=41));
        assert_eq!((leased.ports, leased.named()), (18, None), "all or none");
    }

    #[test]
    fn record_without_listed_ports_is_read() {
        let old: Excluded = serde_json::from_str(r#"{"reason":"leased","ports":3}"#).unwrap();
        assert_eq!((old.ports, old.named()), (3, None));
        let written = serde_json::to_string(&old).unwrap();
        assert_eq!(written, r#"{"reason":"leased","ports":3}"#);
    }
}
