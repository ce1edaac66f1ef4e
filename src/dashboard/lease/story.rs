//! The history of a lease: events from the grant to the end, the newest first. The journal has all
//! events since the service started; the record has grants, outsiders and endings of earlier times.

use crate::access::Viewer;
use crate::answers::document::LeaseDocument;
use crate::answers::veil::veil_words;
use crate::api::AppState;
use crate::dashboard::format::moment;
use crate::domain::event::{Event, EventKind};
use crate::domain::lease::State;
use crate::domain::words::counted;
use crate::store::LateRecord;

/// Maximum number of events on the page.
const ROWS: usize = 40;

/// Maximum distance, in milliseconds, between the times that journal and record note for one event.
const SAME_MS: i64 = 2000;

/// The history of a lease.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// The newest first.
    pub(super) events: Vec<Event>,
    /// "12 earlier events" if there are more.
    pub(super) cut: Option<String>,
    /// Whether the lease is older than the journal, which begins with the service.
    pub(super) is_older: bool,
}

impl Story {
    /// Reads the history of a lease, as far as the viewer may see it. Events that cannot be read are left
    /// out.
    pub(super) async fn read(face: &AppState, viewer: &Viewer, lease: &LeaseDocument) -> Self {
        let events = face.service.journal().latest(usize::MAX).into_iter();
        let own = events.filter(|event| event.lease == Some(lease.id));
        let shown = own.filter_map(|event| event.shown(|uid| viewer.sees(uid)));
        let late = if viewer.sees(lease.uid) {
            late(face, viewer, lease).await
        } else {
            Vec::new()
        };
        Self {
            is_older: lease.granted_at.as_millisecond() < face.service.journal().run(),
            ..Self::of(lease, shown.collect(), late)
        }
    }

    fn of(lease: &LeaseDocument, mut events: Vec<Event>, late: Vec<LateRecord>) -> Self {
        let conflicts = late.into_iter().map(|late| {
            let at = moment(late.at_ms);
            Event::of_nothing(EventKind::LateConflict, at, late.occupant)
        });
        let conflicts: Vec<Event> = conflicts.filter(|late| is_new(late, &events)).collect();
        events.extend(conflicts);
        for known in of_record(lease) {
            if events.iter().all(|event| event.kind != known.kind) {
                events.push(known);
            }
        }
        // Events of one moment keep the order in which they were noted.
        events.sort_by_key(|event| std::cmp::Reverse((event.at, event.seq)));
        let cut = events.len().saturating_sub(ROWS);
        if cut > 0 {
            // The grant is the last one, and stays.
            events.drain(ROWS - 1..events.len() - 1);
        }
        Self {
            events,
            cut: (cut > 0).then(|| counted(cut, "earlier event")),
            is_older: false,
        }
    }

    /// The latest report of an outsider.
    pub(super) fn last_conflict(&self) -> Option<&Event> {
        let mut events = self.events.iter();
        events.find(|event| event.kind == EventKind::LateConflict)
    }
}

/// Whether an outsider on record is not among the events of the journal.
fn is_new(late: &Event, events: &[Event]) -> bool {
    let ms = late.at.as_millisecond();
    let mut told = events.iter().filter(|event| event.kind == late.kind);
    told.all(|event| event.at.as_millisecond().abs_diff(ms) > SAME_MS.unsigned_abs())
}

/// The outsiders on record, as the viewer may see them.
async fn late(face: &AppState, viewer: &Viewer, lease: &LeaseDocument) -> Vec<LateRecord> {
    let found = face.service.store().reader().late_on(lease.id).await;
    let mut found = found.unwrap_or_else(|error| {
        tracing::warn!(%error, lease = %lease.id, "could not read the late conflicts of a lease; its history lacks them");
        Vec::new()
    });
    for late in &mut found {
        veil_words(&mut late.occupant, late.occupant_uid, viewer);
    }
    found
}

/// The events that the lease itself tells.
fn of_record(lease: &LeaseDocument) -> Vec<Event> {
    let granted = Event::of_nothing(EventKind::Granted, lease.granted_at, lease.pool.clone());
    let away = lease.idle_since.filter(|_| lease.state == State::Reserved);
    let away =
        away.map(|at| Event::of_nothing(EventKind::Reserved, at, "its owner is away".to_owned()));
    let ended = lease.ended_at.map(|at| {
        let state = lease.state.as_str();
        Event::of_nothing(EventKind::Ended, at, state.to_owned())
    });
    let known = [Some(granted), away, ended];
    known.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::tests_support::lease;
    use crate::host::clock::Clock;

    fn document() -> LeaseDocument {
        LeaseDocument::of(&lease(20_000), &Clock::manual())
    }

    fn late(at_ms: i64) -> LateRecord {
        LateRecord {
            seq: 1,
            at_ms,
            lease: uuid::Uuid::from_u128(20_000),
            protocol: "tcp".to_owned(),
            port: 20_000,
            occupant: "nc (pid 7)".to_owned(),
            occupant_uid: None,
            name: None,
            uid: Some(1000),
        }
    }

    fn kinds(story: &Story) -> Vec<EventKind> {
        story.events.iter().map(|event| event.kind).collect()
    }

    #[test]
    fn record_fills_the_gaps_of_the_journal() {
        let mut document = document();
        document.ended_at = Some(moment(9_000_000));
        document.state = State::Released;
        let story = Story::of(&document, Vec::new(), vec![late(5_000_000)]);
        let expected = [
            EventKind::Ended,
            EventKind::LateConflict,
            EventKind::Granted,
        ];
        assert_eq!(kinds(&story), expected);
        assert_eq!(story.last_conflict().unwrap().detail, "nc (pid 7)");
    }

    #[test]
    fn conflict_in_journal_and_record_is_told_once() {
        let told = Event::of_nothing(EventKind::LateConflict, moment(5_000_900), "nc".into());
        let story = Story::of(&document(), vec![told], vec![late(5_000_000)]);
        assert_eq!(kinds(&story), [EventKind::LateConflict, EventKind::Granted]);
    }

    #[test]
    fn long_history_keeps_its_grant() {
        let renewed = |at| Event::of_nothing(EventKind::Renewed, moment(at), "60s".into());
        let story = Story::of(&document(), (1..=100).map(renewed).collect(), Vec::new());
        assert_eq!(story.events.len(), ROWS);
        assert_eq!(story.events.last().unwrap().kind, EventKind::Granted);
        assert_eq!(story.events[0].at, moment(100));
        assert_eq!(story.cut.unwrap(), "61 earlier events");
    }
}
