use super::*;
use crate::api::document::OwnerDocument;
use crate::dashboard::part::badge::Badge;
use crate::domain::attempt::{Occupant, SocketState};
use crate::domain::lease::State;
use crate::domain::lease::tests_support::lease;
use crate::host::clock::Clock;

const HOSTILE: &str = "<script>alert(1)</script>\"'\u{1b}[31m";

fn page() -> Overview {
    let now = Timestamp::UNIX_EPOCH;
    Overview {
        frame: super::super::frame::Frame::default(),
        now: When::of(now, now),
        notices: Vec::new(),
        landing: Landing::default(),
        attention: Vec::new(),
        tiles: Vec::new(),
        pools: Vec::new(),
        rates: Rates::of(&Past::default(), &Params::default()),
        saved: None,
        leases: LeaseTable {
            rows: Vec::new(),
            trouble: 0,
            cut: None,
        },
        attempts: Vec::new(),
        interfaces: Vec::new(),
        events: Vec::new(),
    }
}

fn hostile_lease() -> LeaseDocument {
    let mut lost = lease(20_000);
    lost.state = State::Lost;
    let mut document = LeaseDocument::of(&lost, &Clock::manual());
    document.owner = Some(OwnerDocument {
        process: crate::api::document::ProcessDocument::default(),
        pid: 7,
        started_at: Timestamp::UNIX_EPOCH,
        uid: 1000,
        command: HOSTILE.into(),
    });
    document
}

fn hostile_attempt() -> AttemptRow {
    let occupant = Occupant {
        pid: Some(7),
        uid: None,
        command: Some(HOSTILE.into()),
        state: SocketState::Listening,
    };
    AttemptRow {
        at: page().now,
        port: 8888,
        protocol: "tcp".into(),
        address: "127.0.0.1".into(),
        interface: HOSTILE.into(),
        outcome: Badge::outcome("in_use"),
        errno: None,
        occupant: Some((&occupant).into()),
        pool: "console".into(),
        took: String::new(),
    }
}

#[test]
fn hostile_texts_are_inert() {
    let now = Timestamp::UNIX_EPOCH;
    let event = Event {
        seq: 1,
        at: now,
        kind: EventKind::Refused,
        uid: None,
        lease: None,
        allocation: None,
        protocol: None,
        port: None,
        outsider: None,
        detail: HOSTILE.into(),
    };
    let mut page = page();
    page.notices.push(HOSTILE.into());
    page.landing.moved = Some(HOSTILE.into());
    page.leases
        .rows
        .push(LeaseRow::of(hostile_lease(), true, Some(HOSTILE), now));
    page.attempts.push(hostile_attempt());
    page.events.push(EventRow::of(&event, now));
    let html = page.render().unwrap();
    assert!(!html.contains("<script>alert"), "{html}");
    assert!(!html.contains("\"'\u{1b}"), "{html}");
    assert_eq!(html.matches("&#60;script&#62;alert(1)").count(), 7);
}

#[test]
fn an_empty_page_says_what_to_do_next() {
    let html = page().render().unwrap();
    assert!(html.contains("python3 -m http.server {port}"));
    assert!(html.contains("portbook alloc"));
}

#[test]
fn others_leases_show_as_port_and_uid() {
    let hidden = hostile_lease().seen_by_others();
    let mut page = page();
    page.leases
        .rows
        .push(LeaseRow::of(hidden, false, None, Timestamp::UNIX_EPOCH));
    let html = page.render().unwrap();
    assert!(html.contains("20000") && html.contains("uid 1000"));
    assert!(!html.contains("alert(1)"));
}

#[test]
fn nothing_is_inline() {
    let mut page = page();
    let mut lost = lease(20_000);
    lost.state = State::Lost;
    let lost = LeaseDocument::of(&lost, &Clock::manual());
    page.leases
        .rows
        .push(LeaseRow::of(lost, true, None, Timestamp::UNIX_EPOCH));
    page.attempts.push(hostile_attempt());
    let html = page.render().unwrap();
    // What the content security policy would refuse.
    for inline in ["style=", "<style", "onclick", "javascript:"] {
        assert!(!html.contains(inline), "{inline}");
    }
    assert_eq!(html.matches("<script").count(), 1);
}
