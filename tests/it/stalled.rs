//! The service stands still for longer than a lease lasts, as on a machine that is out of memory
//! or was suspended. Whoever asked for more time meanwhile gets it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Place, ask};
use crate::tools::eventually;

const LEASES: &str = "/api/v1/leases";

/// So many that not all renewals are answered in the first moment.
const LEASE_COUNT: usize = 200;

/// Longer than the leases here last.
const STALL: Duration = Duration::from_secs(3);

#[test]
fn renewals_that_came_during_a_stall_are_served_before_leases_expire() {
    let place = Place::with_ports(LEASE_COUNT);
    let server = place.serve();
    let wanted = json!({ "ttl": "2s", "count": LEASE_COUNT });
    let granted = server.api("POST", LEASES, Some(&wanted));
    let granted = granted.json();
    let leases = granted["leases"].as_array().unwrap().iter();
    let ids: Vec<&str> = leases.map(|lease| lease["id"].as_str().unwrap()).collect();
    let (forgotten, wanted) = ids.split_first().unwrap();
    server.signal(Signal::STOP);
    let renewals: Vec<_> = wanted
        .iter()
        .map(|id| {
            let (socket, path) = (server.socket(), format!("{LEASES}/{id}/renew"));
            let body = json!({ "ttl": "30m" });
            std::thread::spawn(move || ask(&socket, "POST", &path, Some(&body)))
        })
        .collect();
    std::thread::sleep(STALL);
    server.signal(Signal::CONT);
    let answers = renewals.into_iter().map(|renewal| renewal.join().unwrap());
    let late: Vec<_> = answers
        .filter(|answer| answer.as_ref().is_none_or(|answer| answer.status != 200))
        .collect();
    let count = late.len();
    assert_eq!(count, 0, "of {}: {:?}", wanted.len(), late.first());
    // And what nobody renewed ends all the same.
    eventually("expired", || {
        let lease = server.api("GET", &format!("{LEASES}/{forgotten}"), None);
        (lease.json()["state"] == "expired").then_some(())
    });
}
