//! Slots: one for each port of an answer, from the wish to what was found.

use crate::domain::attempt::Attempt;
use crate::domain::explanation::Explanation;
use crate::domain::mapped::Map;
use crate::domain::precedence::Moved;
use crate::domain::request::Request;
use crate::engine::{
    allocator::Found, allocator::Wish, context::RequestContext, fate::Fate, fate::Known,
    leases::SPARES,
};

/// A search that found what was asked for.
pub(super) struct Findings {
    /// One for each name, or for each port where there are no names.
    pub(super) slots: Vec<Slot>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) explanation: Explanation,
}

/// One port of an answer: what was known under its name, and what was found for it. Nothing was
/// found for a name that keeps its leases.
pub(super) struct Slot {
    pub(super) known: Option<Known>,
    pub(super) found: Option<Found>,
    /// Whether it is the first of the answer, which alone has the preference.
    is_first: bool,
}

impl Slot {
    /// The way to the port from the one that was preferred or that the name had.
    pub(super) fn moved(
        &self,
        asked: &RequestContext<'_>,
        explanation: &Explanation,
    ) -> Option<Moved> {
        let why = |port| explanation.why_skipped(port).cloned();
        match (&self.known, &self.found) {
            (Some(known), Some(found)) => known.moved(asked, why, found.port),
            (Some(known), None) => {
                let (port, wanted) = (known.leases.first()?.port, asked.request.prefer?);
                match known.fate {
                    Fate::Seeks { .. } => Some(Moved::past(&why(wanted)?, wanted, port)),
                    Fate::Stays(_) => known.moved(asked, why, port),
                }
            }
            (None, Some(found)) => {
                let wanted = asked.request.prefer.filter(|_| self.is_first);
                let wanted = wanted.filter(|wanted| *wanted != found.port)?;
                Some(Moved::past(&why(wanted)?, wanted, found.port))
            }
            (None, None) => None,
        }
    }
}

/// Number of spares that a request is for.
fn spares(request: &Request) -> usize {
    match request.map {
        Some(Map::All) => SPARES,
        Some(Map::More(count)) => count.get() as usize,
        Some(Map::From(_)) | None => 0,
    }
}

/// The ports to search for, in the order of the names that seek one.
pub(super) fn wishes(request: &Request, known: &[Known]) -> Vec<Wish> {
    if known.is_empty() && request.maps_all() {
        return vec![Wish::default(); spares(request)];
    }
    if known.is_empty() {
        let first = Wish {
            preferred: request.prefer,
            ..Wish::default()
        };
        let others = std::iter::repeat_n(Wish::default(), request.port_count() - 1);
        return std::iter::once(first).chain(others).collect();
    }
    let wish = |known: &Known| match known.fate {
        Fate::Seeks { wish, .. } => Some(wish),
        Fate::Stays(_) => None,
    };
    let wishes = known.iter().filter_map(wish);
    wishes
        .chain(std::iter::repeat_n(Wish::default(), spares(request)))
        .collect()
}

/// The number of leases of the pool that end when what is sought is found. Those of another pool make
/// no room in this one.
pub(super) fn count_ending(asked: &RequestContext<'_>, known: &[Known]) -> usize {
    let seeking = known
        .iter()
        .filter(|known| matches!(known.fate, Fate::Seeks { .. }));
    let ending = seeking.flat_map(|known| &known.leases);
    ending
        .filter(|lease| lease.pool == asked.plan.pool.name)
        .count()
}

/// Joins the found ports with the names that sought them.
pub(super) fn slots(known: Vec<Known>, found: Vec<Option<Found>>) -> Vec<Slot> {
    let mut found = found.into_iter();
    if known.is_empty() {
        let slot = |(index, found)| Slot {
            known: None,
            found,
            is_first: index == 0,
        };
        return found.enumerate().map(slot).collect();
    }
    let slot = |(index, known): (usize, Known)| Slot {
        found: match known.fate {
            Fate::Seeks { .. } => found.next().flatten(),
            Fate::Stays(_) => None,
        },
        known: Some(known),
        is_first: index == 0,
    };
    let mut slots: Vec<Slot> = known.into_iter().enumerate().map(slot).collect();
    // Of a program all of whose ports are mapped.
    slots.extend(found.map(|found| Slot {
        known: None,
        found,
        is_first: false,
    }));
    slots
}
