//! The overview page: its numbers equal those of the linked lists.

use serde_json::{Value, json};

use crate::support::{Place, Server, occupant};

fn page(server: &Server, path: &str) -> String {
    let answer = server.web("GET", path, &[]);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

fn grant(server: &Server, wanted: &Value) -> Value {
    let answer = server.allocate(wanted);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

/// The value of a tile and its link.
fn tile(page: &str, label: &str) -> (String, String) {
    let tiles = page.split("<li class=\"tile").skip(1);
    let mut tiles = tiles.filter(|tile| tile.contains(&format!(">{label}<")));
    let tile = tiles
        .next()
        .unwrap_or_else(|| panic!("no tile {label}: {page}"));
    let between = |begin: &str, end: &str| {
        let rest = tile.split(begin).nth(1).unwrap();
        rest.split(end).next().unwrap().replace("&#38;", "&")
    };
    (between("tile-value\">", "<"), between("href=\"", "\""))
}

#[test]
fn tiles_lead_to_lists_that_count_the_same() {
    let place = Place::with_ports(12);
    let taken = occupant(place.ports[0]);
    let server = place.serve();
    grant(&server, &json!({"name": "web", "ttl": "5m"}));
    grant(
        &server,
        &json!({"prefer": place.ports[0], "ttl": "2h", "claim_within": "1h"}),
    );
    grant(&server, &json!({"count": 2}));
    let overview = page(&server, "/");

    let (soon, list) = tile(&overview, "Expiring soon");
    assert_eq!(list, "/leases?ends=10m");
    assert_eq!(soon, "3", "claims within ten minutes and short lives");
    assert_eq!(page(&server, &list).matches("<tr id=\"lease-").count(), 3);

    let (met, list) = tile(&overview, "Conflicts in 24 hours");
    let rows = page(&server, &list)
        .matches("<span class=\"badge bad\">in use")
        .count();
    assert_eq!(met, rows.to_string());
    assert_ne!(met, "0", "the occupant was not met");
    drop(taken);

    // The console's own lease has an owner that listens.
    let (active, list) = tile(&overview, "Active leases");
    assert_eq!((&*active, &*list), ("1", "/leases?state=active"));
    assert_eq!(page(&server, &list).matches("<tr id=\"lease-").count(), 1);
    assert_eq!(tile(&overview, "Health").1, "/status");
}

#[test]
fn a_bar_tells_what_became_of_each_port() {
    let mut place = Place::with_ports(10);
    place.set(
        "PORTBOOK_POOLS__DEFAULT__EXCLUDE",
        &place.ports[9].to_string(),
    );
    let _taken = occupant(place.ports[8]);
    let server = place.serve();
    let looked = server.api("POST", "/api/v1/snapshots", Some(&json!({})));
    assert_eq!(looked.status, 201, "{looked:?}");
    grant(&server, &json!({"count": 3}));
    let overview = page(&server, "/");
    let says = "aria-label=\"Pool default: 3 held, 1 taken by others, 1 excluded, 5 free\"";
    assert!(overview.contains(says), "{overview}");
    assert_eq!(tile(&overview, "Free in pool default").0, "55.6 %");

    grant(&server, &json!({"count": 5}));
    let overview = page(&server, "/");
    assert!(
        overview.contains("Pool default is full: none of the 9 ports that it may grant is free.")
    );
    assert!(overview.contains("Allocations by hour over 24 hours: 3 granted, 0 refused"));
}

#[test]
fn the_page_stays_small_however_much_there_is() {
    let place = Place::with_ports(120);
    let server = place.serve();
    let names: Vec<String> = (0..60).map(|number| format!("name-{number}")).collect();
    grant(&server, &json!({"names": names}));
    let overview = page(&server, "/");
    assert!(overview.contains("7 of 61"), "the table is not cut");
    assert!(overview.len() < 150_000, "{} bytes", overview.len());
}
