//! Allocations a second: an empty pool, a nearly full one, and bare binds, in turns.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::common::figure;
use crate::common::load::{self, Round, Until};
use crate::common::place::Place;
use crate::common::service::Service;

const CONNECTIONS: usize = 8;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const BARE_ROUND: Duration = Duration::from_millis(500);

/// Two pools of 5,000 ports each, so that both services can live side by side.
const EMPTY: &str = "20000-24999";
const FULL: &str = "25000-29999";

/// Number of ports of the full pool that are leased beforehand: 95 of 100.
const LEASED: usize = 4_750;

/// Largest number of ports in one request.
const REQUEST: usize = 250;

/// A service under load, with what its rounds brought.
struct Subject {
    service: Service,
    rounds: Vec<Round>,
}

impl Subject {
    fn new(place: &Place, leased: usize) -> Result<Self> {
        let service = place.serve()?;
        fill(&service, leased)?;
        let mut subject = Self {
            service,
            rounds: Vec::new(),
        };
        // The first round warms up; it is counted in the record, but not in the figures.
        subject.round()?;
        subject.service.pause()?;
        Ok(subject)
    }

    fn round(&mut self) -> Result<()> {
        self.service.resume()?;
        let round = load::run(&self.service, CONNECTIONS, Until::Passed(ROUND))?;
        self.service.pause()?;
        self.rounds.push(round);
        Ok(())
    }

    /// Every pair must be on record: granted and ended.
    fn check(self, leased: u64) -> Result<()> {
        self.service.resume()?;
        let pairs: u64 = self.rounds.iter().map(|round| round.pairs).sum();
        let stats = self.service.api()?.ask("GET", "/api/v1/stats", None)?;
        let pool = stats.body["pools"]
            .as_array()
            .and_then(|pools| pools.iter().find(|pool| pool["pool"] == "default"));
        let pool = pool.context("no statistics of the pool")?;
        let granted = pool["granted"].as_u64().context("no count of grants")?;
        let requests = leased.div_ceil(REQUEST as u64);
        ensure!(
            granted == pairs + requests,
            "{pairs} pairs and {requests} requests were answered, {granted} grants are on record"
        );
        Ok(())
    }

    fn report(&self, bare: f64) -> f64 {
        let rounds = &self.rounds[1..];
        let of = |value: fn(&Round) -> f64| {
            figure::median(&mut rounds.iter().map(value).collect::<Vec<_>>())
        };
        let rate = of(|round| round.rate);
        let mut latencies: Vec<Duration> = rounds
            .iter()
            .flat_map(|round| round.latencies.iter().copied())
            .collect();
        latencies.sort_unstable();
        figure::at_least("pairs a second", rate, 8_000.0, "/s");
        figure::plain(
            "allocation, median",
            figure::percentile_ms(&latencies, 50),
            "ms",
        );
        figure::at_most(
            "allocation, 99 of 100",
            figure::percentile_ms(&latencies, 99),
            3.0,
            "ms",
        );
        figure::plain(
            "processor time of the service a pair",
            of(|r| r.processor_us),
            "µs",
        );
        figure::plain("ratio to bare binds", rate / bare, "");
        rate
    }
}

/// Measures and prints.
pub fn measure() -> Result<()> {
    let (empty_place, full_place) = (Place::new(EMPTY)?, Place::new(FULL)?);
    let mut empty = Subject::new(&empty_place, 0)?;
    let mut full = Subject::new(&full_place, LEASED)?;
    let mut bare = Vec::new();
    for _ in 0..ROUNDS {
        bare.push(crate::bare::rate(20_000..25_000, BARE_ROUND));
        empty.round()?;
        full.round()?;
    }
    let bare = figure::median(&mut bare);
    figure::heading("Socket, bind, close on two families, one thread");
    figure::plain("pairs a second", bare, "/s");
    figure::heading("Allocate and release, 8 connections, each step committed: empty pool");
    let rate = empty.report(bare);
    figure::heading("The same with 95 of 100 ports leased");
    let full_rate = full.report(bare);
    figure::at_least("ratio to the empty pool", full_rate / rate, 0.95, "");
    empty.check(0)?;
    full.check(LEASED as u64)
}

/// Leases this number of ports.
pub fn fill(service: &Service, leases: usize) -> Result<()> {
    let mut api = service.api()?;
    let mut left = leases;
    while left > 0 {
        let count = left.min(REQUEST);
        api.lease(&json!({ "count": count }))?;
        left -= count;
    }
    Ok(())
}
