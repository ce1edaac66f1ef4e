//! The plain record of a choice: what was ruled out and why, what was tried in which order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::port::{Port, PortSet};
use super::precedence::{Skipped, Step};
use super::reason::Reason;

/// How many ports of the pool one reason ruled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Excluded {
    /// Why.
    pub reason: Reason,
    /// How many ports.
    pub ports: u32,
    /// Which ports, ascending, where they are few: 16 at most. Left out where they are more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub which: Vec<Port>,
}

impl Excluded {
    /// How many ports are told by their numbers; of more the record of each choice would grow.
    pub const NAMED: u32 = 16;

    /// So many ports more, and which they are if they are few; all or none are named.
    pub fn add(&mut self, ports: u32, which: impl IntoIterator<Item = Port>) {
        self.ports += ports;
        if self.ports > Self::NAMED {
            self.which.clear();
            return;
        }
        self.which.extend(which);
        self.which.sort_unstable();
    }

    /// Which ports, as `20412, 20416-20417`; none where the record does not tell.
    pub fn named(&self) -> Option<String> {
        let which: PortSet = self.which.iter().copied().collect();
        (!which.is_empty()).then(|| which.in_words())
    }
}

/// The stored reasons of one allocation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The order of candidates: the strategy, or `explicit` for a port asked for by number.
    pub strategy: String,
    /// The selectors that were asked for.
    pub interfaces: Vec<String>,
    /// The bind addresses they meant at that moment.
    pub addresses: Vec<String>,
    /// The ranges that were searched.
    pub ranges: String,
    /// How many ports these have.
    pub ports: u32,
    /// What ruled ports out before anything was tried.
    pub excluded: Vec<Excluded>,
    /// The candidates weighed at each choice, in the order of the choices; of each the cheapest
    /// comes first and is the one tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Vec<Candidate>>,
    /// The share of the eligible ports that the latest snapshot saw busy: how often a port drawn
    /// at random would have been refused. None before the first snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_would_meet: Option<f64>,
    /// The candidates in the order tried.
    pub tried: Vec<Port>,
    /// Those of them that were granted.
    pub granted: Vec<Port>,
    /// The step of the precedence that yielded each granted port, in the same order. Empty in
    /// records of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// The ports that came before the granted ones in the precedence, each with its reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// What else a reader should know, such as a lifted cool-down.
    pub notes: Vec<String>,
}

/// Stands for the entries that do not fit.
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

    /// Forgets that a port was passed over: it was tried after all.
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

    /// The reason why a port was passed over; `None` if it was not, or was told in a note.
    pub fn why_skipped(&self, port: Port) -> Option<&Skipped> {
        let mut skipped = self.skipped.iter().rev();
        skipped.find(|skipped| skipped.ports.contains(port))
    }

    /// Whether the ranges were searched: a port may come from a step before the pool, and then no
    /// port of the ranges was counted or ruled out.
    pub const fn is_pool_searched(&self) -> bool {
        self.ports > 0
    }

    /// How many ports could be chosen; none where the record contradicts itself.
    pub fn eligible(&self) -> Option<u32> {
        let excluded = self.excluded.iter().map(|excluded| excluded.ports);
        self.ports.checked_sub(excluded.sum())
    }

    /// Hides the leases and programs of users that the readers of the record may not see.
    pub fn veil_skipped(&mut self, sees: impl Fn(u32) -> bool + Copy) {
        self.skipped
            .iter_mut()
            .for_each(|skipped| skipped.veil(sees));
    }

    /// Forgets the names of processes. History remembers a name without its user.
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
    fn few_ports_are_named_and_of_many_none() {
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
    fn a_record_without_names_is_read() {
        let old: Excluded = serde_json::from_str(r#"{"reason":"leased","ports":3}"#).unwrap();
        assert_eq!((old.ports, old.named()), (3, None));
        let written = serde_json::to_string(&old).unwrap();
        assert_eq!(written, r#"{"reason":"leased","ports":3}"#);
    }
}
