//! The plain record of a choice: what was ruled out and why, what was tried in which order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::port::{Port, PortSet};

/// Why a port was not even considered.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The pool's `exclude`, or an interface's.
    Configured,
    /// Somebody excluded it by hand.
    ByHand,
    /// `net.ipv4.ip_local_reserved_ports`: set aside by the administrator. An explicit request
    /// is honoured all the same (`ip-sysctl`).
    KernelReserved,
    /// A lease of portbook's is on it.
    Leased,
    /// A bind on it was refused a moment ago.
    CoolingDown,
    /// The socket tables list it as occupied; only asked after many busy candidates.
    Listed,
    /// It lies in the ephemeral range, of which portbook holds as much as it may.
    EphemeralBudget,
    /// Browsers refuse to open it, and the pool serves browsers.
    BrowserBlocked,
    /// The pool keeps it for requests by number.
    StaticBand,
}

impl Reason {
    /// The word for it in JSON and on pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::ByHand => "by_hand",
            Self::KernelReserved => "kernel_reserved",
            Self::Leased => "leased",
            Self::CoolingDown => "cooling_down",
            Self::Listed => "listed",
            Self::EphemeralBudget => "ephemeral_budget",
            Self::BrowserBlocked => "browser_blocked",
            Self::StaticBand => "static_band",
        }
    }

    /// The same in words for a sentence: "12 ports were …".
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Configured => "excluded by configuration",
            Self::ByHand => "excluded by hand",
            Self::KernelReserved => "reserved by the kernel (ip_local_reserved_ports)",
            Self::Leased => "leased",
            Self::CoolingDown => "cooling down after a refused bind",
            Self::Listed => "occupied according to the socket tables",
            Self::EphemeralBudget => "beyond what may be held of the ephemeral range",
            Self::BrowserBlocked => "refused by browsers",
            Self::StaticBand => "kept for requests by number (static_band)",
        }
    }
}

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
    /// What else a reader should know, such as a lifted cool-down.
    pub notes: Vec<String>,
}

impl Explanation {
    /// How many ports could be chosen; none where the record contradicts itself.
    pub fn eligible(&self) -> Option<u32> {
        let excluded = self.excluded.iter().map(|excluded| excluded.ports);
        self.ports.checked_sub(excluded.sum())
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
