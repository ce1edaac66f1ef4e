//! Resident memory of the service: idle, with many leases, and after many pairs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::common::figure::median;
use crate::common::load::{self, Until};
use crate::common::place::Place;
use crate::common::service::Service;
use crate::table::{self, Aim};
use crate::{Arguments, POOLS, Pair};

const LEASES: usize = 5_000;

/// Number of leases in one request.
const GROUP: usize = 250;

const CONNECTIONS: usize = 8;
const FIRST_PAIRS: u64 = 10_000;

/// Until the start has settled, and the observer has looked around.
const SETTLED: Duration = Duration::from_millis(1_500);

/// Resident memory of one build in MB.
struct Figures {
    idle: f64,
    leases: f64,
    some_pairs: f64,
    many_pairs: f64,
}

/// Measures and prints.
pub fn measure(arguments: &Arguments, builds: &Pair<PathBuf>) -> Result<()> {
    let both = builds.map(Clone::clone).zip(POOLS);
    let figures = both.try_map(|(binary, ranges)| Figures::of(binary, ranges, arguments.pairs))?;
    let of = |value: fn(&Figures) -> f64| figures.map(|figures| vec![value(figures)]);
    table::heading("Resident memory of the service (VmRSS)");
    let idle = of(|figures| figures.idle);
    table::row("idle", &idle, "MB", Aim::AtMost(14.0));
    let leases = of(|figures| figures.leases);
    table::row("with 5,000 leases", &leases, "MB", Aim::AtMost(24.0));
    let mut some = of(|figures| figures.some_pairs);
    table::row("after 10,000 pairs", &some, "MB", Aim::Told);
    let many = of(|figures| figures.many_pairs);
    let name = format!("after {} pairs", arguments.pairs);
    table::row(&name, &many, "MB", Aim::AtMost(median(&mut some.new)));
    Ok(())
}

impl Figures {
    fn of(binary: &Path, ranges: &str, pairs: u64) -> Result<Self> {
        let place = Place::of(binary, ranges)?;
        let service = place.serve()?;
        let idle = settled(&service)?;
        load::run(&service, CONNECTIONS, Until::Pairs(FIRST_PAIRS))?;
        let some_pairs = settled(&service)?;
        let rest = pairs.saturating_sub(FIRST_PAIRS);
        load::run(&service, CONNECTIONS, Until::Pairs(rest))?;
        let many_pairs = settled(&service)?;
        Ok(Self {
            idle,
            leases: with_leases(&Place::of(binary, ranges)?)?,
            some_pairs,
            many_pairs,
        })
    }
}

fn with_leases(place: &Place) -> Result<f64> {
    let service = place.serve()?;
    let mut api = service.api()?;
    for _ in 0..LEASES / GROUP {
        api.lease(&json!({ "count": GROUP }))?;
    }
    settled(&service)
}

fn settled(service: &Service) -> Result<f64> {
    std::thread::sleep(SETTLED);
    service.memory("VmRSS:")
}
