//! A past of a million attempts: the time of statistics, and the cost of deleting it for clients that
//! allocate meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;

use crate::common::load::{self, Until};
use crate::common::place::Place;
use crate::common::service::Service;
use crate::common::{figure, now};
use crate::record::Record;

const ATTEMPTS: u32 = 1_000_000;
const QUESTIONS: usize = 20;
/// Number of attempts that one request deletes, beside those made meanwhile.
const A_REQUEST: u64 = 10_000;

const CONNECTIONS: usize = 8;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);

/// Measures and prints.
pub fn measure() -> Result<()> {
    let place = Place::new("25000-29999")?;
    place.serve()?.stop()?;
    let record = Record::open(&place.database())?;
    record.add_history(ATTEMPTS)?;
    record.close()?;
    figure::heading("A past of a million attempts in twenty days, on 5,000 ports");
    let begin = now();
    let counted = place.command().arg("stats").output()?;
    ensure!(counted.status.success(), "stats failed");
    figure::plain("counting them, once", begin.elapsed().as_secs_f64(), "s");

    let service = place.serve()?;
    let mut week = questions(&service, "7d")?;
    figure::at_most(
        "statistics of seven days, median",
        figure::median(&mut week),
        50.0,
        "ms",
    );
    let mut all = questions(&service, "30d")?;
    figure::plain(
        "statistics of thirty days, median",
        figure::median(&mut all),
        "ms",
    );
    beside_deleting(&place, &service)
}

fn questions(service: &Service, since: &str) -> Result<Vec<f64>> {
    let mut api = service.api()?;
    let path = format!("/api/v1/stats?since={since}");
    let mut times = Vec::new();
    for _ in 0..QUESTIONS {
        let begin = now();
        let answer = api.ask("GET", &path, None)?;
        ensure!(answer.status == 200, "{path}: {}", answer.status);
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Runs the load alone and during a deletion, in turns.
fn beside_deleting(place: &Place, service: &Service) -> Result<()> {
    let record = Record::open(&place.database())?;
    let load = || load::run(service, CONNECTIONS, Until::Passed(ROUND));
    load()?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let before = record.attempts()?;
    let keep = AtomicU64::new(before);
    for _ in 0..ROUNDS {
        alone.extend(load()?.latencies);
        let is_over = AtomicBool::new(false);
        let round = thread::scope(|scope| {
            let deleting = scope.spawn(|| delete_until(service, &keep, &is_over));
            let round = load();
            is_over.store(true, Ordering::Relaxed);
            let deleted = deleting.join().map_err(|_| anyhow!("it panicked"));
            deleted.and_then(|deleted| deleted).and(round)
        })?;
        beside.extend(round.latencies);
    }
    let after = record.attempts()?;
    alone.sort_unstable();
    beside.sort_unstable();
    let p99 = |sorted: &[Duration]| figure::percentile_ms(sorted, 99);
    figure::plain("allocation, 99 of 100, alone", p99(&alone), "ms");
    figure::plain("... while the past is deleted", p99(&beside), "ms");
    figure::plain("... ratio", p99(&beside) / p99(&alone), "");
    let p50 = |sorted: &[Duration]| figure::percentile_ms(sorted, 50);
    figure::plain("... ratio of the medians", p50(&beside) / p50(&alone), "");
    let made = 2 * (alone.len() + beside.len()) as u64;
    let deleted = figure::approximately((before + made).saturating_sub(after));
    let seconds = ROUND.as_secs_f64() * figure::approximately(ROUNDS as u64);
    figure::plain("attempts deleted meanwhile", deleted / seconds, "/s");
    Ok(())
}

/// Deletes a little with each request, so that it ends soon after it is over.
fn delete_until(service: &Service, keep: &AtomicU64, is_over: &AtomicBool) -> Result<()> {
    let mut api = service.api()?;
    while !is_over.load(Ordering::Relaxed) {
        let keep = keep.fetch_sub(A_REQUEST, Ordering::Relaxed) - A_REQUEST;
        let answer = api.ask(
            "POST",
            "/api/v1/history/prune",
            Some(&json!({ "keep": keep })),
        )?;
        ensure!(answer.status == 200, "{}", answer.body);
    }
    Ok(())
}
