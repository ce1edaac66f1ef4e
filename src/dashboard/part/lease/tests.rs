use super::tests_support::row;
use super::*;
use crate::domain::lease::tests_support::lease;
use crate::domain::precedence::Moved;
use crate::domain::reason::Reason;
use crate::host::clock::Clock;

#[test]
fn addresses_have_no_port() {
    assert_eq!(bare("0.0.0.0:20000"), "0.0.0.0");
    assert_eq!(bare("[::]:20000"), "::");
    assert_eq!(bare("[fe80::1%eth0]:1"), "fe80::1%eth0");
}

#[test]
fn only_addresses_of_hosts_are_links() {
    for safe in ["http://127.0.0.1:80", "https://[fe80::1%25eth0]:443"] {
        assert!(is_web_address(safe), "{safe}");
    }
    for unsafe_one in [
        "javascript:alert(1)",
        "http://",
        "http://a@b/",
        "//a",
        "http://a\"b",
    ] {
        assert!(!is_web_address(unsafe_one), "{unsafe_one}");
    }
}

#[test]
fn lost_leases_are_not_said_to_be_kept() {
    let mut lease = lease(20_000);
    lease.state = State::Lost;
    let hold = row(&lease).guard_means();
    assert!(hold.contains("another program listens"), "{hold}");
    lease.guard = Guard::Owner;
    assert!(row(&lease).guard_means().contains("another program has it"));
}

#[test]
fn owner_is_away_while_its_lease_lives() {
    let told = |state| {
        let mut lease = lease(20_000);
        lease.state = state;
        row(&lease).no_owner()
    };
    assert_eq!(told(State::Reserved), "away");
    assert_eq!(told(State::Handed), "none yet");
    assert_eq!(told(State::Unclaimed), "–");
}

#[test]
fn other_users_do_not_see_the_reason_of_a_move() {
    let mut moved = lease(20_001);
    moved.moved = Some(Moved {
        from: lease(20_000).port,
        to: moved.port,
        reason: Reason::InUse,
        by: Some("node (pid 7)".into()),
        since: None,
        whose: None,
    });
    let why = row(&moved).instead_of().unwrap().why;
    assert_eq!(why, "in use by node (pid 7)");
    let document = LeaseDocument::of(&moved, &Clock::manual());
    let others = LeaseRow::of(document, &Viewer::Reader { of: 7 });
    assert_eq!(others.moved(), None);
}

#[test]
fn first_deadline_is_the_end() {
    let clock = Clock::manual();
    let after = |seconds| std::time::Duration::from_secs(seconds);
    let mut lease = lease(20_000);
    assert_eq!(row(&lease).ends(), Ends::Otherwise("when released"));
    lease.claim_by = Some(clock.boot().after(after(600)));
    lease.expires = Some(clock.boot().after(after(60)));
    assert_eq!(row(&lease).ends(), Ends::At(clock.now() + after(60)));
    lease.expires = None;
    assert_eq!(row(&lease).ends(), Ends::ClaimBy(clock.now() + after(600)));
}
