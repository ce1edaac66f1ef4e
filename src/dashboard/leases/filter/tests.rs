use std::sync::Arc;
use std::time::Duration;

use strum::VariantArray;

use super::*;
use crate::access::Viewer;
use crate::domain::lease::Lease;
use crate::domain::lease::tests_support::lease;
use crate::host::clock::Clock;

fn leases() -> [Lease; 3] {
    let mut leases = [20_002, 20_000, 20_001].map(lease);
    leases[2].state = State::Lost;
    leases[1].name = Some("web".parse().unwrap());
    let clock = Clock::manual();
    let after = |seconds| Some(clock.boot().after(Duration::from_secs(seconds)));
    (leases[0].claim_by, leases[0].expires) = (after(600), after(3600));
    leases[2].expires = after(3600);
    leases
}

fn seen(leases: [Lease; 3]) -> Vec<Seen> {
    let seen = |lease: Lease| {
        let viewer = Viewer::Reader { of: lease.uid };
        Seen::new(Arc::new(lease), &viewer)
    };
    leases.map(seen).into()
}

fn ports(query: &str) -> Vec<u16> {
    let filter = Filter::of(&Params::parse(query)).unwrap();
    let mut found = seen(leases());
    found.retain(|seen| filter.matches(seen, Clock::manual().boot()));
    filter.sort(&mut found);
    let ports = found.iter().map(|seen| seen.lease().port.get());
    ports.collect()
}

#[test]
fn trouble_comes_first_by_default() {
    assert_eq!(ports("")[0], 20_001);
    assert_eq!(ports("sort=port"), [20_000, 20_001, 20_002]);
    assert_eq!(ports("sort=-port"), [20_002, 20_001, 20_000]);
    assert_eq!(ports("sort=name")[0], 20_000);
}

#[test]
fn each_condition_filters_rows() {
    assert_eq!(ports("name=web"), [20_000]);
    assert_eq!(ports("q=WEB"), [20_000]);
    assert_eq!(ports("state=lost"), [20_001]);
    assert_eq!(ports("q=20002"), [20_002]);
    assert_eq!(ports("q=2000"), [20_001, 20_002, 20_000]);
    assert_eq!(ports("q=web"), [20_000]);
    assert_eq!(ports("pid=1"), [0; 0]);
    assert_eq!(ports("ends=10m"), [20_002]);
    assert_eq!(ports("ends=1h"), [20_001, 20_002]);
    assert_eq!(ports("ends=9m"), [0; 0]);
}

#[test]
fn lease_that_is_meant_comes_before_those_that_say_so() {
    let filter = Filter::of(&Params::parse("q=Web")).unwrap();
    let mut leases = leases();
    let other = leases.iter_mut().find(|lease| lease.name.is_none());
    other.unwrap().name = Some("web-old".parse().unwrap());
    let mut found = seen(leases);
    found.retain(|seen| filter.matches(seen, Clock::manual().boot()));
    filter.sort(&mut found);
    let names: Vec<&str> = found
        .iter()
        .map(|seen| seen.name().unwrap().as_str())
        .collect();
    assert_eq!(names, ["web", "web-old"]);
}

#[test]
fn page_begins_behind_the_last_row() {
    let all = seen(leases());
    let params = Params::parse("").with("after", &all[1].lease().id.to_string());
    assert_eq!(Filter::of(&params).unwrap().begin(&all), 2);
    assert_eq!(Filter::default().begin(&all), 0);
}

#[test]
fn page_by_its_number_ends_within_the_list() {
    let all = seen(leases());
    let begin = |query: &str| {
        let filter = Filter {
            rows: 2,
            ..Filter::of(&Params::parse(query)).unwrap()
        };
        filter.begin(&all)
    };
    assert_eq!(
        (begin("page=2"), begin("page=9"), begin("page=0")),
        (2, 2, 0)
    );
}

#[test]
fn words_above_the_list_are_true_of_it() {
    let says = |query: &str, total| Filter::of(&Params::parse(query)).unwrap().says(total, 203);
    assert_eq!(says("", 203), "203 living, those in trouble first");
    assert_eq!(
        says("pool=web", 0),
        "0 of 203 living, those in trouble first"
    );
    assert_eq!(
        says("q=a&sort=-port", 20),
        "20 of 203 living, by port, descending"
    );
    assert_eq!(says("state=ended", 7), "7 ended on this page, newest first");
}

#[test]
fn page_after_an_ended_lease_begins_near_it() {
    let all = seen(leases());
    let gone = LeaseId(uuid::Uuid::from_u128(7)).to_string();
    let params = Params::parse("").with("after", &gone).with("row", "2");
    assert_eq!(Filter::of(&params).unwrap().begin(&all), 1);
}

#[test]
fn every_state_is_a_choice_with_its_meaning() {
    let states = states(&Params::parse("state=reserved"));
    for state in State::VARIANTS {
        let is = |choice: &&Choice| choice.value == state.as_str();
        assert!(states.iter().any(|choice| is(&choice)), "no {state:?}");
    }
    let chosen = states.iter().find(|choice| choice.chosen).unwrap();
    let said = "reserved: its owner is away, and the name keeps the port";
    assert_eq!(chosen.label, said);
}

#[test]
fn unreadable_conditions_are_refused() {
    assert!(Filter::of(&Params::parse("ends=soon")).is_err());
    assert!(Filter::of(&Params::parse("state=gone")).is_err());
}
