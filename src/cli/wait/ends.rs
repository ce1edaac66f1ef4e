//! Ends of programs that a wait has heard of: those that began before it are not told.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::events::Heard;
use crate::answers::document::LeaseDocument;
use crate::domain::event::EventKind;
use crate::domain::lease::{LeaseId, State};

/// Leases whose programs have ended, and those whose programs were away before.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Leases whose program ended while they were followed.
    parked: HashSet<LeaseId>,
    /// Leases whose program had ended before the first look; the service has yet to report that.
    leaving: HashSet<LeaseId>,
    /// Leases that had no program at the first look, with the time since when. A service shows a lease as
    /// reserved before it sends the event of that.
    before: HashMap<LeaseId, Option<Timestamp>>,
}

impl Ends {
    /// Takes a lease as the first look sees it. The program of one that `is_dead` has ended.
    pub(super) fn begin(&mut self, lease: &LeaseDocument, is_dead: bool) {
        if is_dead {
            self.leaving.insert(lease.id);
        } else if lease.state == State::Reserved {
            self.before.insert(lease.id, lease.idle_since);
        }
    }

    /// Takes in an event.
    pub(super) fn hear(&mut self, heard: &Heard) {
        if heard.kind == EventKind::Reserved.as_str() {
            let lease = heard.lease.filter(|id| !self.leaving.remove(id));
            self.parked.extend(lease.filter(|_| !heard.is_old));
        }
    }

    /// Whether the program of a reserved lease ended while it was followed, even if it was never seen.
    pub(super) fn has(&self, lease: &LeaseDocument) -> bool {
        // Not shown of the leases of other users.
        let since = lease.idle_since.is_some();
        let is_from_before = since && self.before.get(&lease.id) == Some(&lease.idle_since);
        self.parked.contains(&lease.id) && !is_from_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support;
    use crate::host::clock::Clock;

    fn reserved(since: i64) -> LeaseDocument {
        let mut lease = tests_support::lease(3000);
        lease.state = State::Reserved;
        lease.idle_since = Timestamp::from_millisecond(since).ok();
        LeaseDocument::as_recorded(&lease, &Clock::manual())
    }

    fn heard(lease: &LeaseDocument, is_old: bool) -> Heard {
        let mut heard = Heard::default();
        heard.is_old = is_old;
        heard.kind = EventKind::Reserved.as_str().to_owned();
        heard.lease = Some(lease.id);
        heard
    }

    #[test]
    fn end_whose_event_is_sent_after_the_first_look_is_not_told() {
        let (lease, mut ends) = (reserved(1), Ends::default());
        ends.begin(&lease, false);
        ends.hear(&heard(&lease, false));
        assert!(!ends.has(&lease));
        assert!(ends.has(&reserved(2)), "another program has ended");
    }

    #[test]
    fn end_of_a_successor_is_told_although_it_was_not_seen() {
        let (lease, mut ends) = (reserved(1), Ends::default());
        ends.begin(&lease, false);
        ends.hear(&heard(&lease, false));
        ends.hear(&heard(&lease, false));
        assert!(ends.has(&reserved(2)));
    }

    #[test]
    fn end_that_the_service_has_yet_to_report_is_not_told() {
        let (lease, mut ends) = (reserved(2), Ends::default());
        ends.begin(&lease, true);
        ends.hear(&heard(&lease, false));
        assert!(!ends.has(&lease));
        ends.hear(&heard(&lease, false));
        assert!(ends.has(&lease));
    }

    #[test]
    fn old_event_is_not_told() {
        let (lease, mut ends) = (reserved(1), Ends::default());
        ends.hear(&heard(&lease, true));
        assert!(!ends.has(&lease));
        ends.hear(&heard(&lease, false));
        assert!(ends.has(&lease));
    }
}
