//! The page of a lost lease: the program that took the port, since when, and what to do.

use serde_json::json;

use crate::pages::cookie;
use crate::support::{Place, occupant};
use crate::tools::eventually;

#[test]
fn lost_lease_names_the_outsider_and_the_ways_out() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let owner = occupant(crate::support::ports(1)[0]);
    let wanted = json!({"name": "web", "owner_pid": owner.0.id()});
    let lease = server.allocate(&wanted).json()["leases"][0].clone();
    let port = u16::try_from(lease["port"].as_u64().unwrap()).unwrap();
    let path = format!("/leases/{}", lease["id"].as_str().unwrap());
    let outsider = occupant(port);
    eventually("the lease is lost", || {
        let lease = server.get(&format!("/api/v1{path}")).json();
        (lease["state"] == "lost").then_some(())
    });
    let cookie = cookie(&server);
    let page = |cookie: &str| server.web("GET", &path, &[("Cookie", cookie)]).body;
    let pid = outsider.0.id();
    let shown = page(&cookie);
    for said in [
        format!("<strong>{port} is taken</strong>"),
        format!("(pid {pid})"),
        format!("<code>kill {pid}</code>"),
        "Or start web again: the name gets another port.".to_owned(),
        format!("portbook release {}", lease["id"].as_str().unwrap()),
        "another program listens on the port".to_owned(),
        ">late conflict<".to_owned(),
        ">granted<".to_owned(),
    ] {
        assert!(shown.contains(&said), "no {said}: {shown}");
    }
    assert!(shown.contains(", found <time"), "since when: {shown}");

    drop(outsider);
    let healed = eventually("the lease is kept again", || {
        Some(page(&cookie)).filter(|page| page.contains(">healed<"))
    });
    assert!(!healed.contains("is taken</strong>"), "{healed}");
    assert!(healed.contains(">late conflict<"), "{healed}");
}

#[test]
fn history_of_a_lease_outlives_a_restart() {
    let place = Place::with_ports(2);
    let server = place.serve();
    let lease = server.allocate(&json!({"name": "web"})).json()["leases"][0].clone();
    let path = format!("/leases/{}", lease["id"].as_str().unwrap());
    let released = server.api("DELETE", &format!("/api/v1{path}"), None);
    assert_eq!(released.status, 204, "{released:?}");
    assert!(server.stop().success());
    let server = place.serve();
    let page = server.web("GET", &path, &[]).body;
    let story = page.split("History of this lease").nth(1).unwrap();
    let ended = story.find(">ended<").unwrap_or_else(|| panic!("{story}"));
    let granted = story.find(">granted<").unwrap_or_else(|| panic!("{story}"));
    assert!(ended < granted, "newest first: {story}");
}

#[test]
fn outsider_of_before_a_restart_is_told_once() {
    let place = Place::with_ports(2);
    let mut server = place.serve();
    let owner = occupant(crate::support::ports(1)[0]);
    let outside = crate::support::ports(1)[0];
    let wanted = json!({"name": "web", "owner_pid": owner.0.id(), "prefer": outside});
    let lease = server.allocate(&wanted).json()["leases"][0].clone();
    let port = u16::try_from(lease["port"].as_u64().unwrap()).unwrap();
    let path = format!("/leases/{}", lease["id"].as_str().unwrap());
    let outsider = occupant(port);
    let words = format!("(pid {})", outsider.0.id());
    for _ in 0..3 {
        eventually("the page names the outsider and since when", || {
            let cookie = cookie(&server);
            let page = server.web("GET", &path, &[("Cookie", &cookie)]).body;
            (page.contains(&words) && page.contains(", found <time")).then_some(())
        });
        assert!(server.stop().success());
        server = place.serve();
    }
    let cookie = cookie(&server);
    let page = server.web("GET", "/conflicts", &[("Cookie", &cookie)]).body;
    assert_eq!(page.matches(&words).count(), 1, "{page}");
    let map = server.web("GET", "/map", &[]).body;
    let contested = "leased and taken</span> <span class=\"faint\">1 block, 1 port<";
    assert!(map.contains(contested), "{map}");
}
