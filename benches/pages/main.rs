//! Time and size of each page of the console on a host with a long history:
//! 100,000 attempts on record, 5,000 leases, ports of others, and every port of the host in the
//! pool: `cargo bench --bench pages`.
//!
//! Each page is asked for in turns: over the API socket, as the user who sees all, and of the console
//! without a login, as one who sees what is the service's own. The first paint is what Chromium says of it, with an empty cache; it needs the packages that
//! the browser test installs (`cargo test browser`).

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "this measurement needs a part of it")]
mod common;
mod paint;
#[path = "../speed/record.rs"]
#[expect(dead_code, reason = "this measurement needs a part of it")]
mod record;
mod world;

use std::time::Duration;

use anyhow::{Result, ensure};

use common::api::Api;
use common::{figure, now};
use world::World;

/// Number of requests for each page.
const ROUNDS: usize = 200;

/// Longest 99th percentile of an answer, in milliseconds.
const WITHIN: f64 = 50.0;

/// Largest HTML of a page, in bytes.
const AT_MOST: usize = 300_000;

/// Measurements of one page.
struct Seen {
    path: String,
    bytes: usize,
    /// As the user who sees all.
    times: Vec<Duration>,
    /// Without a login.
    visits: Vec<Duration>,
}

fn main() -> Result<()> {
    // `cargo test --all-targets` starts this too; a measurement is no test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let world = World::new()?;
    let mut pages: Vec<Seen> = world.pages()?.into_iter().map(Seen::new).collect();
    let mut user = Api::connect(world.service.socket())?;
    let mut visitor = Api::visit(world.service.url())?;
    for _ in 0..ROUNDS {
        for page in &mut pages {
            page.ask(&mut user, &mut visitor)?;
        }
    }
    println!("{:>26} {:>17}", "as a user", "without a login");
    println!(
        "{:>8} {:>8} {:>8} {:>8} {:>8}  page",
        "KB", "p50 ms", "p99 ms", "p50 ms", "p99 ms"
    );
    for page in &mut pages {
        page.print();
    }
    paint::measure(world.service.url(), &world.pages()?)
}

impl Seen {
    const fn new(path: String) -> Self {
        Self {
            path,
            bytes: 0,
            times: Vec::new(),
            visits: Vec::new(),
        }
    }

    fn ask(&mut self, user: &mut Api, visitor: &mut Api) -> Result<()> {
        for (api, times) in [(user, &mut self.times), (visitor, &mut self.visits)] {
            let begin = now();
            let answer = api.ask("GET", &self.path, None)?;
            times.push(begin.elapsed());
            ensure!(answer.status == 200, "{}: {}", self.path, answer.status);
            self.bytes = self.bytes.max(answer.bytes);
        }
        Ok(())
    }

    fn print(&mut self) {
        self.times.sort_unstable();
        self.visits.sort_unstable();
        let user = |percent| figure::percentile_ms(&self.times, percent);
        let visitor = |percent| figure::percentile_ms(&self.visits, percent);
        let mut verdict = String::new();
        if user(99).max(visitor(99)) > WITHIN {
            verdict.push_str("  MISSED the time");
        }
        if self.bytes > AT_MOST {
            verdict.push_str("  MISSED the size");
        }
        println!(
            "{:>8.0} {:>8.1} {:>8.1} {:>8.1} {:>8.1}  {}{verdict}",
            figure::approximately(self.bytes as u64) / 1e3,
            user(50),
            user(99),
            visitor(50),
            visitor(99),
            self.path
        );
    }
}
