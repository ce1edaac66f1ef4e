//! The service stands still for longer than a lease lasts, as on a machine that is out of memory
//! or was suspended. Renewals sent meanwhile count.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Place, ask};
use crate::tools::eventually;

const LEASES: &str = "/api/v1/leases";

/// Number of leases: too many for all renewals to be answered at once.
const LEASE_COUNT: usize = 200;

/// Longer than the leases here last.
const STALL: Duration = Duration::from_secs(3);

#[test]
fn renewals_sent_during_a_stall_precede_expiry() {
    let place = Place::with_ports(LEASE_COUNT);
    let server = place.serve();
    let wanted = json!({ "ttl": "2s", "count": LEASE_COUNT });
    let granted = server.allocate(&wanted);
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
    // Leases that were not renewed end.
    eventually("expired", || {
        let lease = server.get(&format!("{LEASES}/{forgotten}"));
        (lease.json()["state"] == "expired").then_some(())
    });
}
