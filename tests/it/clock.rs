//! The administrator sets the clock. Leases end by the time that passes, not by the time of day.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::host::skipped;
use crate::support::{Place, Server};
use crate::tools::eventually;

const LEASES: &str = "/api/v1/leases";

/// A service whose wall clock alone can be set.
struct Shifted {
    place: Place,
    server: Server,
}

impl Shifted {
    /// `None`, reported on stderr, if libfaketime is not installed.
    fn start(test: &str) -> Option<Self> {
        let library = ["x86_64", "aarch64"].map(|machine| {
            PathBuf::from(format!(
                "/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"
            ))
        });
        let Some(library) = library.into_iter().find(|library| library.exists()) else {
            skipped(test, "libfaketime is not installed (Debian: faketime)");
            return None;
        };
        let place = Place::with_ports(4);
        let shift = place.folder().join("shift");
        std::fs::write(&shift, "+0").unwrap();
        let mut command = place.command();
        command
            .arg("serve")
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", shift)
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        let server = Server::start(command, &place.data_dir());
        Some(Self { place, server })
    }

    /// Moves the wall clock by this number of hours from the real time.
    fn set(&self, hours: &str) {
        std::fs::write(self.place.folder().join("shift"), hours).unwrap();
    }

    fn lease(&self, ttl: &str) -> Value {
        let granted = self.server.allocate(&json!({ "ttl": ttl }));
        assert_eq!(granted.status, 201, "{granted:?}");
        granted.json()["leases"][0].clone()
    }

    fn state(&self, lease: &Value) -> Value {
        let path = format!("{LEASES}/{}", lease["id"].as_str().unwrap());
        self.server.get(&path).json()["state"].clone()
    }

    fn until_expired(&self, lease: &Value) {
        eventually("expired", || (self.state(lease) == "expired").then_some(()));
    }
}

fn granted_at(lease: &Value) -> jiff::Timestamp {
    lease["granted_at"].as_str().unwrap().parse().unwrap()
}

#[test]
fn clock_change_ends_no_lease_early_or_late() {
    let test = "a wall clock that is set";
    for (hours, apart) in [("+1h", 1), ("-1h", -1)] {
        let Some(service) = Shifted::start(test) else {
            return;
        };
        let (short, long) = (service.lease("2s"), service.lease("30m"));
        service.set(hours);
        let after = service.lease("1s");
        let moved = granted_at(&long).until(granted_at(&after)).unwrap();
        let moved = moved.total(jiff::Unit::Hour).unwrap();
        assert!(
            (moved - f64::from(apart)).abs() < 0.5,
            "the clock was not set: {moved} hours"
        );
        // It ends within half a minute, not an hour late; the lease with half an hour left stays.
        service.until_expired(&short);
        service.until_expired(&after);
        assert_eq!(service.state(&long), "handed");
    }
}
