//! The share of refused binds, `learned` beside `random`, while listeners come and go.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::common::api::Api;
use crate::common::now;
use crate::common::place::Place;
use crate::common::role::{self, Role};
use crate::common::service::Service;
use crate::squatter::LISTENERS;

/// Both pools and their visitors are alike but for where they lie.
const SEED: u64 = 1;

/// Interval of requests.
const PAUSE: Duration = Duration::from_millis(25);

/// Used until the first hour is over.
const WARM_UP: Duration = Duration::from_secs(10);

/// One strategy on ports of its own.
struct Subject {
    strategy: &'static str,
    api: Api,
    allocations: u64,
    refused: u64,
    _service: Service,
    _place: Place,
    _others: Role,
}

impl Subject {
    fn new(strategy: &'static str, first: u16) -> Result<Self> {
        let last = first + 2 * LISTENERS - 1;
        let mut place = Place::new(&format!("{first}-{last}"))?;
        // The time scale of the listeners: two minutes a second.
        place.set("PORTBOOK_HISTORY__SNAPSHOT_INTERVAL", "500ms");
        place.set("PORTBOOK_POOLS__DEFAULT__COOL_DOWN", "80ms");
        let seed = SEED.to_string();
        let others = Role::start(&mut role::command(&[
            "come-and-go",
            &first.to_string(),
            &seed,
        ]))?;
        let service = place.serve()?;
        Ok(Self {
            strategy,
            api: Api::connect(&place.socket())?,
            allocations: 0,
            refused: 0,
            _service: service,
            _place: place,
            _others: others,
        })
    }

    /// Gets a port and gives it back.
    fn ask(&mut self, counts: bool) -> Result<()> {
        let wanted = json!({ "strategy": self.strategy });
        let answer = self.api.ask("POST", "/api/v1/leases", Some(&wanted))?;
        ensure!(answer.status == 201, "{}", answer.body);
        let conflicts = answer.body["conflicts"].as_array().map_or(0, Vec::len);
        if counts {
            self.allocations += 1;
            self.refused += u64::try_from(conflicts)?;
        }
        let id = answer.body["leases"][0]["id"].as_str().context("no id")?;
        let gone = self
            .api
            .ask("DELETE", &format!("/api/v1/leases/{id}"), None::<&Value>)?;
        ensure!(gone.status == 204, "{}", gone.body);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
    fn share(&self) -> f64 {
        self.refused as f64 / (self.allocations + self.refused) as f64
    }
}

/// Measures and prints.
pub fn measure(seconds: u64) -> Result<()> {
    println!("\n{LISTENERS} listeners that come and go among 400 ports, two minutes a second\n");
    println!("| strategy | allocations | refused binds | share of all binds |");
    println!("| --- | --- | --- | --- |");
    let mut subjects = [
        Subject::new("random", 20_000)?,
        Subject::new("learned", 30_000)?,
    ];
    let begin = now();
    while begin.elapsed() < WARM_UP + Duration::from_secs(seconds) {
        let counts = begin.elapsed() >= WARM_UP;
        for subject in &mut subjects {
            subject.ask(counts)?;
        }
        std::thread::sleep(PAUSE);
    }
    for subject in &subjects {
        println!(
            "| {} | {} | {} | {:.2} % |",
            subject.strategy,
            subject.allocations,
            subject.refused,
            subject.share() * 100.0
        );
    }
    let [random, learned] = &subjects;
    println!(
        "\nlearned meets {:.3} of what random meets",
        learned.share() / random.share()
    );
    Ok(())
}
