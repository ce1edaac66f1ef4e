use super::*;
use crate::answers::document::LeaseDocument;
use crate::answers::document::{OwnerDocument, ProcessDocument};
use crate::dashboard::tests_support::{HOSTILE, rendered};
use crate::domain::attempt::{Occupant, SocketState};
use crate::domain::lease::State;
use crate::domain::lease::tests_support::lease;
use crate::host::clock::Clock;

fn page() -> Overview {
    Overview {
        frame: Frame::default(),
        now: Timestamp::UNIX_EPOCH,
        notices: Vec::new(),
        landing: Landing::default(),
        attention: Vec::new(),
        tiles: Vec::new(),
        pools: Vec::new(),
        rates: Rates::of(0, &[], &[], false),
        saved: None,
        leases: LeaseTable::default(),
        attempts: Vec::new(),
        interfaces: Vec::new(),
        events: Vec::new(),
    }
}

/// A lost lease of an owner with a hostile name, as this user sees it.
fn hostile_lease(uid: u32) -> LeaseRow {
    let mut lost = lease(20_000);
    lost.state = State::Lost;
    let mut document = LeaseDocument::of(&lost, &Clock::manual());
    document.owner = Some(OwnerDocument {
        process: ProcessDocument::default(),
        pid: 7,
        started_at: Timestamp::UNIX_EPOCH,
        uid: 1000,
        command: HOSTILE.into(),
        engine: false,
    });
    LeaseRow::of(document, &Viewer::Reader { of: uid })
}

fn hostile_attempt() -> AttemptDocument {
    AttemptDocument {
        pool: Some("console".into()),
        interface: HOSTILE.into(),
        address: "127.0.0.1".into(),
        protocol: "tcp".into(),
        port: 8888,
        outcome: "in_use".into(),
        occupant: Some(Occupant {
            pid: Some(7),
            uid: None,
            command: Some(HOSTILE.into()),
            state: SocketState::Listening,
        }),
        ..AttemptDocument::default()
    }
}

#[test]
fn hostile_texts_are_inert() {
    let mut page = page();
    page.notices.push(HOSTILE.into());
    page.landing.moved = Some(HOSTILE.into());
    page.leases.rows.push(LeaseRow {
        taken_by: Some(HOSTILE.into()),
        ..hostile_lease(1000)
    });
    page.attempts.push(hostile_attempt());
    let at = Timestamp::UNIX_EPOCH;
    page.events
        .push(Event::of_nothing(EventKind::Refused, at, HOSTILE.into()));
    let html = rendered(&page);
    assert_eq!(html.matches("&#60;script&#62;alert(1)").count(), 7);
}

#[test]
fn empty_page_tells_the_next_step() {
    let html = page().render().unwrap();
    assert!(html.contains("python3 -m http.server {port}"));
    assert!(html.contains("portbook alloc"));
}

#[test]
fn other_users_leases_show_port_and_uid_only() {
    let mut page = page();
    page.leases.rows.push(hostile_lease(7));
    let html = page.render().unwrap();
    assert!(html.contains("20000") && html.contains("uid 1000"));
    assert!(!html.contains("alert(1)"));
}
