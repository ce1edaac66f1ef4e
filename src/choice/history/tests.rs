//! History against the closed forms it stands for.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::choice::cost;
use crate::domain::attempt::{Occupant, Outcome, SocketState};
use crate::domain::prior::{PortReport, Prior, Table, kinds_of};

const TCP: Protocol = Protocol::Tcp;
const HOUR: i64 = 3_600_000;

fn on(ip: &str) -> BindAddress {
    BindAddress {
        interface: "any".into(),
        ip: ip.parse().unwrap(),
        scope: 0,
    }
}

fn group(ips: &[&str]) -> AddressGroup {
    AddressGroup::new(ips.iter().map(|ip| on(ip)))
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn sighting(ip: &str, number: u16) -> Sighting {
    Sighting {
        protocol: TCP,
        port: port(number),
        local: ip.parse::<IpAddr>().unwrap(),
        scope: 0,
        dual: false,
    }
}

fn attempt(ip: &str, number: u16, outcome: Outcome, at_ms: i64) -> Attempt {
    Attempt {
        at: jiff::Timestamp::from_millisecond(at_ms).unwrap(),
        address: on(ip),
        protocol: TCP,
        port: port(number),
        outcome,
        errno: None,
        duration: Duration::ZERO,
        occupant: (outcome == Outcome::InUse).then(|| Occupant {
            command: Some("node".into()),
            state: SocketState::Listening,
            ..Occupant::default()
        }),
        span_id: None,
    }
}

fn known(
    history: &History,
    ips: &[&str],
    number: u16,
    now_ms: i64,
) -> crate::domain::candidate::Evidence {
    let page = history.page(&group(ips), TCP).unwrap();
    page.evidence(port(number), now_ms)
}

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-6 * other.abs().max(1.0)
}

#[test]
fn evidence_is_shared_by_what_it_proves() {
    let mut history = History::new(HALF_LIFE);
    let (any, lo, lan): (&[&str], &[&str], &[&str]) = (&["0.0.0.0"], &["127.0.0.1"], &["10.0.0.7"]);
    for ips in [any, lo, lan] {
        history.open(&group(ips), TCP, 0);
    }
    // A bind on the wildcard proves 127.0.0.1 free, but not the other way round.
    history.bound(&group(any), TCP, port(80), 0);
    history.bound(&group(lo), TCP, port(81), 0);
    let good = |ips: &[&str], number| known(&history, ips, number, 0).totals.good;
    assert_eq!((good(any, 80), good(lo, 80), good(lan, 80)), (1, 1, 1));
    assert_eq!((good(any, 81), good(lo, 81), good(lan, 81)), (0, 1, 0));
    // A refusal on 127.0.0.1 proves the wildcard busy, but not the other way round.
    history.refused(&on("127.0.0.1"), TCP, port(80), None, 0);
    history.refused(&on("0.0.0.0"), TCP, port(81), None, 0);
    let failed = |ips: &[&str], number| known(&history, ips, number, 0).totals.failed;
    assert_eq!(
        (failed(any, 80), failed(lo, 80), failed(lan, 80)),
        (1, 1, 0)
    );
    assert_eq!((failed(any, 81), failed(lo, 81)), (1, 0));
    // An occupant blocks every address that it overlaps.
    history.snapshot(&[sighting("127.0.0.1", 82), sighting("0.0.0.0", 83)], 0);
    let seen = |ips: &[&str], number| known(&history, ips, number, 0).seen_now;
    assert_eq!(
        (seen(any, 82), seen(lo, 82), seen(lan, 82)),
        (true, true, false)
    );
    assert!(seen(any, 83) && seen(lo, 83) && seen(lan, 83));
}

#[test]
fn lingering_connections_are_no_failure() {
    let mut history = History::new(HALF_LIFE);
    let (ip, any) = ("0.0.0.0", &["0.0.0.0"]);
    history.learn(&[
        attempt(ip, 80, Outcome::InUse, 1),
        attempt(ip, 80, Outcome::Lingering, 2),
    ]);
    let found = known(&history, any, 80, 2);
    assert_eq!((found.totals.good, found.totals.failed), (1, 0));
    history.learn(&[attempt(ip, 81, Outcome::InUse, 3)]);
    let found = known(&history, any, 81, 3);
    assert_eq!((found.totals.good, found.totals.failed), (0, 1));
    assert_eq!(found.occupant.as_deref(), Some("node"));
    history.learn(&[attempt(ip, 82, Outcome::AddressNotAvailable, 4)]);
    let found = known(&history, any, 82, 4);
    assert_eq!((found.totals.good, found.totals.failed), (0, 0));
}

#[test]
fn port_refused_on_one_address_counts_as_refused() {
    let mut history = History::new(HALF_LIFE);
    let both = group(&["0.0.0.0", "::"]);
    history.open(&both, TCP, 0);
    history.learn(&[
        attempt("0.0.0.0", 80, Outcome::Bound, 1),
        attempt("::", 80, Outcome::InUse, 1),
    ]);
    let found = known(&history, &["0.0.0.0", "::"], 80, 1);
    assert_eq!((found.totals.good, found.totals.failed), (0, 1));
}

#[test]
fn releases_and_late_conflicts_count_for_overlapping_groups() {
    let mut history = History::new(HALF_LIFE);
    history.open(&group(&["0.0.0.0"]), TCP, 0);
    history.open(&group(&["10.0.0.7"]), TCP, 0);
    history.late(&group(&["127.0.0.1"]), TCP, port(80), 5);
    history.released(&group(&["127.0.0.1"]), TCP, port(80), 5);
    let found = known(&history, &["0.0.0.0"], 80, 1005);
    assert_eq!((found.totals.late, found.released_ago_ms), (1, Some(1000)));
    let other = known(&history, &["10.0.0.7"], 80, 1005);
    assert_eq!((other.totals.late, other.released_ago_ms), (0, None));
}

#[test]
fn neighbours_in_a_block_make_each_other_dearer() {
    let mut history = History::new(HALF_LIFE);
    let any = group(&["0.0.0.0"]);
    history.open(&any, TCP, 0);
    for number in 6400..6420 {
        history.refused(&on("0.0.0.0"), TCP, port(number), None, 0);
    }
    let prior = |number| cost::of(&known(&history, &["0.0.0.0"], number, 0), 0).prior_free;
    assert!(near(prior(6463), 9.0 / 30.0), "{}", prior(6463));
    assert!(near(prior(6464), 0.9) && near(prior(6399), 0.9));
}

#[test]
fn prior_of_the_fleet_reaches_pages_of_its_kind_before_and_after_they_open() {
    let table = |ports: &[u16]| Table {
        hosts: 50,
        busy: ports.iter().map(|number| (port(*number), 17)).collect(),
    };
    let loopback = (kinds_of(&group(&["127.0.0.9"])), TCP);
    let any = (kinds_of(&group(&["0.0.0.0"])), TCP);
    let prior = Prior {
        tables: [(loopback, table(&[80])), (any, table(&[81]))].into(),
    };
    let mut history = History::new(HALF_LIFE);
    history.open(&group(&["127.0.0.1"]), TCP, 0);
    history.set_prior(&prior);
    history.open(&group(&["0.0.0.0"]), TCP, 0);
    history.open(&group(&["10.0.0.7"]), TCP, 0);
    let said = |ip: &str, number| {
        let evidence = known(&history, &[ip], number, 0);
        (evidence.fleet_busy, evidence.fleet_hosts)
    };
    assert_eq!(
        (said("127.0.0.1", 80), said("127.0.0.1", 81)),
        ((17, 50), (0, 50))
    );
    assert_eq!(
        (said("0.0.0.0", 80), said("0.0.0.0", 81)),
        ((0, 50), (17, 50))
    );
    assert_eq!(said("10.0.0.7", 80), (0, 0));
    let page = history.page(&group(&["0.0.0.0"]), TCP).unwrap();
    assert_eq!(page.known().collect::<Vec<_>>(), [(port(81), None)]);
    history.set_prior(&Prior::default());
    assert_eq!(known(&history, &["0.0.0.0"], 81, 0).fleet_hosts, 0);
}

#[test]
fn report_has_ports_that_are_not_always_free() {
    let mut history = History::new(HALF_LIFE);
    let any = group(&["0.0.0.0"]);
    history.open(&any, TCP, 0);
    for at_ms in 0..20 {
        assert!(history.report(0).is_empty(), "few snapshots");
        let seen = if at_ms < 4 {
            vec![sighting("10.0.0.7", 80)]
        } else {
            Vec::new()
        };
        history.snapshot(&seen, at_ms);
    }
    history.refused(&on("0.0.0.0"), TCP, port(90), Some("node"), 10);
    history.late(&any, TCP, port(85), 10);
    history.bound(&any, TCP, port(70), 10);
    let report = history.report(10);
    let ports = [(80, 0, 4, 0), (85, 0, 0, 1), (90, 1, 0, 0)];
    let ports =
        ports.map(|(number, refused, busy, late)| PortReport(port(number), refused, busy, late));
    assert_eq!((report.len(), report[0].snapshots), (1, 20));
    assert_eq!(report[0].ports, ports);
    assert_eq!(history.occupants().collect::<Vec<_>>(), ["node"]);
    // Four days later less than half of a refusal is left.
    assert!(history.report(96 * HOUR).is_empty());
    for at_ms in 0..30 {
        history.snapshot(&[], 96 * HOUR + at_ms);
    }
    assert_eq!(
        history.report(96 * HOUR)[0].ports,
        [PortReport(port(80), 0, 2, 0)]
    );
}

#[test]
fn stalest_page_makes_room() {
    let mut history = History::new(HALF_LIFE);
    for number in 0..=PAGES {
        let ip = format!("10.0.0.{number}");
        history.open(&group(&[&ip]), TCP, i64::try_from(number).unwrap());
    }
    assert_eq!(history.pages().len(), PAGES);
    assert!(history.page(&group(&["10.0.0.0"]), TCP).is_none());
    assert_eq!(history.take_changes(0, 100).dropped, [1]);
}

#[test]
fn replay_skips_known_attempts() {
    let mut history = History::new(HALF_LIFE);
    let tries = [
        attempt("0.0.0.0", 80, Outcome::Bound, 10),
        attempt("0.0.0.0", 81, Outcome::InUse, 20),
        attempt("0.0.0.0", 80, Outcome::Bound, 30),
    ];
    history.learn(&tries[..2]);
    let changes = history.take_changes(25, 100);
    let mut again = History::new(HALF_LIFE);
    again.load(changes.pages, changes.ports);
    again.replay(&tries);
    let total = |number| known(&again, &["0.0.0.0"], number, 30).totals;
    assert_eq!((total(80).good, total(81).failed), (2, 1));
}

#[test]
fn attempts_learned_after_a_write_are_news() {
    let mut history = History::new(HALF_LIFE);
    history.open(&group(&["0.0.0.0"]), TCP, 0);
    history.snapshot(&[sighting("0.0.0.0", 81)], 10);
    let changes = history.take_changes(25, 100);
    let mut again = History::new(HALF_LIFE);
    again.load(changes.pages, changes.ports);
    // One was made before the snapshot.
    again.replay(&[
        attempt("0.0.0.0", 81, Outcome::InUse, 5),
        attempt("0.0.0.0", 80, Outcome::InUse, 15),
        attempt("0.0.0.0", 81, Outcome::InUse, 20),
    ]);
    let totals = known(&again, &["0.0.0.0"], 81, 30).totals;
    assert_eq!((totals.failed, totals.busy), (2, 1));
}

#[test]
fn changes_are_told_once_unless_they_come_back() {
    let mut history = History::new(HALF_LIFE);
    history.bound(&group(&["0.0.0.0"]), TCP, port(80), 0);
    history.bound(&group(&["0.0.0.0"]), TCP, port(81), 0);
    let first = history.take_changes(0, 1);
    assert_eq!((first.pages.len(), first.ports.len()), (1, 1));
    let second = history.take_changes(0, 10);
    assert_eq!(second.ports.len(), 1);
    assert!(history.take_changes(0, 10).is_empty());
    history.put_back(&first);
    assert_eq!(history.take_changes(0, 10).ports, first.ports);
}

/// One thing that can happen to a port.
#[derive(Debug, Clone)]
enum Step {
    Bound(u16),
    Refused(u16),
    Late(u16),
    Snapshot(Vec<u16>),
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let number = 1000u16..1010;
    let step = prop_oneof![
        1 => number.clone().prop_map(Step::Bound),
        1 => number.clone().prop_map(Step::Refused),
        1 => number.clone().prop_map(Step::Late),
        3 => proptest::collection::vec(number, 0..8).prop_map(Step::Snapshot),
    ];
    proptest::collection::vec((0..30 * HOUR, step), 1..60)
}

fn happen(history: &mut History, step: &Step, now_ms: i64) {
    let any = group(&["0.0.0.0"]);
    match step {
        Step::Bound(number) => history.bound(&any, TCP, port(*number), now_ms),
        Step::Refused(number) => history.refused(&on("0.0.0.0"), TCP, port(*number), None, now_ms),
        Step::Late(number) => history.late(&any, TCP, port(*number), now_ms),
        Step::Snapshot(numbers) => {
            let seen: Vec<_> = numbers.iter().map(|n| sighting("127.0.0.1", *n)).collect();
            history.snapshot(&seen, now_ms);
        }
    }
}

/// The sum that a decayed count stands for.
fn sum(
    events: &[(i64, Step)],
    now_ms: i64,
    half_life_ms: f64,
    which: impl Fn(&Step) -> bool,
) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few days in milliseconds")]
    let worth = |at_ms: i64| (-((now_ms - at_ms) as f64) / half_life_ms).exp2();
    let counted = events.iter().filter(|(_, step)| which(step));
    counted.map(|(at_ms, _)| worth(*at_ms)).sum()
}

proptest! {
    /// Counts are sums of decayed events, in any order of events and across a reload.
    #[test]
    fn counts_are_sums_of_decayed_events(
        steps in steps(), number in 1000u16..1010, later in 0..50 * HOUR,
        reload in proptest::option::of(0usize..60), half_life_hours in 1u64..100,
    ) {
        let half_life = Duration::from_hours(half_life_hours);
        let half_life_ms = half_life.as_secs_f64() * 1e3;
        let mut history = History::new(half_life);
        history.open(&group(&["0.0.0.0"]), TCP, 0);
        let mut now_ms = 0;
        let mut events = Vec::new();
        for (index, (wait, step)) in steps.into_iter().enumerate() {
            now_ms += wait;
            if reload == Some(index) {
                history.mark_running();
                let changes = history.take_changes(now_ms, usize::MAX);
                history = History::new(half_life);
                history.load(changes.pages, changes.ports);
            }
            happen(&mut history, &step, now_ms);
            events.push((now_ms, step));
        }
        now_ms += later;
        let found = known(&history, &["0.0.0.0"], number, now_ms);
        let sum = |which: &dyn Fn(&Step) -> bool| sum(&events, now_ms, half_life_ms, which);
        let block = number / 64;
        prop_assert!(near(found.good, sum(&|s| matches!(s, Step::Bound(n) if *n == number))));
        prop_assert!(near(found.failed, sum(&|s| matches!(s, Step::Refused(n) if *n == number))));
        prop_assert!(near(found.late, sum(&|s| matches!(s, Step::Late(n) if *n == number))));
        prop_assert!(near(found.busy, sum(&|s| matches!(s, Step::Snapshot(n) if n.contains(&number)))));
        prop_assert!(near(found.checks, sum(&|s| matches!(s, Step::Snapshot(_)))));
        prop_assert!(near(found.block_good, sum(&|s| matches!(s, Step::Bound(n) if n / 64 == block))));
        prop_assert!(near(found.block_failed, sum(&|s| matches!(s, Step::Refused(n) if n / 64 == block))));
        let checks = events.iter().filter(|(_, s)| matches!(s, Step::Snapshot(_))).count();
        prop_assert_eq!(found.totals.checks, checks as u64);
        let busy = events.iter().filter(|(_, s)| matches!(s, Step::Snapshot(n) if n.contains(&number)));
        prop_assert_eq!(found.totals.busy, busy.count() as u64);
    }

    /// Evidence weighs the same after it was written and loaded.
    #[test]
    fn loaded_evidence_weighs_the_same(steps in steps(), later in 0..50 * HOUR) {
        let mut history = History::new(HALF_LIFE);
        history.open(&group(&["0.0.0.0"]), TCP, 0);
        let mut now_ms = 0;
        for (wait, step) in steps {
            now_ms += wait;
            happen(&mut history, &step, now_ms);
        }
        history.snapshot(&[], now_ms);
        let changes = history.take_changes(now_ms, usize::MAX);
        let mut again = History::new(HALF_LIFE);
        again.load(changes.pages, changes.ports);
        for number in 1000..1010 {
            let cost = |history: &History| {
                cost::of(&known(history, &["0.0.0.0"], number, now_ms + later), 60_000).total()
            };
            prop_assert!(near(cost(&again), cost(&history)));
        }
    }

    /// A change of the half-life forgets nothing that is known at that moment.
    #[test]
    fn another_half_life_counts_from_now_on(steps in steps(), number in 1000u16..1010) {
        let mut history = History::new(HALF_LIFE);
        history.open(&group(&["0.0.0.0"]), TCP, 0);
        let mut now_ms = 0;
        for (wait, step) in steps {
            now_ms += wait;
            happen(&mut history, &step, now_ms);
        }
        let before = known(&history, &["0.0.0.0"], number, now_ms);
        history.set_half_life(Duration::from_hours(1), now_ms);
        let after = known(&history, &["0.0.0.0"], number, now_ms);
        prop_assert!(near(after.busy, before.busy) && near(after.good, before.good));
        let faded = known(&history, &["0.0.0.0"], number, now_ms + HOUR);
        prop_assert!(near(faded.failed, before.failed / 2.0));
        prop_assert!(near(faded.busy, before.busy / 2.0), "{} {}", faded.busy, before.busy);
    }
}
