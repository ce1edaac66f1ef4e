//! An allocation where one port is free, beside one where all are.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::common::api::Api;
use crate::common::now;
use crate::common::place::Place;
use crate::common::role::{self, Role};
use crate::common::service::Service;

/// First of the busy ports, and first port of the empty pool.
const FIRST: u16 = 10_000;
const EMPTY: &str = "1100-1199";

/// Number of processes that listen.
const PROCESSES: u16 = 4;

/// Number of timed allocations of each kind, in turns.
const ROUNDS: usize = 200;

/// One pool.
struct Pool {
    api: Api,
    times: Vec<Duration>,
    _service: Service,
    _place: Place,
}

impl Pool {
    fn new(ranges: &str) -> Result<Self> {
        let place = Place::new(ranges)?;
        let service = place.serve()?;
        Ok(Self {
            api: Api::connect(&place.socket())?,
            times: Vec::new(),
            _service: service,
            _place: place,
        })
    }

    fn time(&mut self, strategy: &str) -> Result<()> {
        let wanted = json!({ "strategy": strategy });
        let begin = now();
        let answer = self.api.ask("POST", "/api/v1/leases", Some(&wanted))?;
        self.times.push(begin.elapsed());
        ensure!(answer.status == 201, "{}", answer.body);
        let id = answer.body["leases"][0]["id"].as_str().context("no id")?;
        let path = format!("/api/v1/leases/{id}");
        let gone = self.api.ask("DELETE", &path, None::<&Value>)?;
        ensure!(gone.status == 204, "{}", gone.body);
        Ok(())
    }

    /// The first, the median and the 99th of 100, and then forgets them.
    fn report(&mut self) -> (Duration, Duration, Duration) {
        let first = self.times[0];
        let mut times = std::mem::take(&mut self.times);
        times.sort_unstable();
        let nth = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        (first, nth(50), nth(99))
    }
}

/// Measures and prints.
pub fn measure(busy: u16) -> Result<()> {
    let last = FIRST + busy;
    // The free one lies in the middle.
    let free = FIRST + busy / 2;
    let _others = squatters(busy, free)?;
    println!(
        "\n{busy} of {} ports busy, held by {PROCESSES} processes\n",
        busy + 1
    );
    println!("| strategy | pool | first | median | 99 of 100 |");
    println!("| --- | --- | --- | --- | --- |");
    let mut full = Pool::new(&format!("{FIRST}-{last}"))?;
    let mut empty = Pool::new(EMPTY)?;
    for strategy in ["ordered", "learned"] {
        for _ in 0..ROUNDS {
            full.time(strategy)?;
            empty.time(strategy)?;
        }
        let (of_full, of_empty) = (full.report(), empty.report());
        for (pool, (first, median, late)) in [("one free", of_full), ("empty", of_empty)] {
            let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
            println!(
                "| {strategy} | {pool} | {} | {} | {} |",
                ms(first),
                ms(median),
                ms(late)
            );
        }
        let ratio = of_full.1.as_secs_f64() / of_empty.1.as_secs_f64();
        println!("| {strategy} | ratio of the medians (aim: 3) | | {ratio:.2} | |");
    }
    Ok(())
}

/// Processes that listen on every port but the free one.
fn squatters(busy: u16, free: u16) -> Result<Vec<Role>> {
    let each = busy / PROCESSES;
    let part = |number: u16| {
        let first = FIRST + number * each;
        let last = if number == PROCESSES - 1 {
            FIRST + busy
        } else {
            first + each - 1
        };
        [(first, last.min(free - 1)), (first.max(free + 1), last)]
    };
    let parts = (0..PROCESSES).flat_map(part);
    let parts = parts.filter(|(first, last)| first <= last);
    parts
        .map(|(first, last)| {
            Role::start(&mut role::command(&[
                "squat",
                &first.to_string(),
                &last.to_string(),
            ]))
        })
        .collect()
}
