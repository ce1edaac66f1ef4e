//! Cost of `portbook run -- true` over `true` itself, with and without a service.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::common::figure::median;
use crate::common::now;
use crate::common::place::Place;
use crate::table::{self, Aim};
use crate::{POOLS, Pair};

const ROUNDS: usize = 200;
const WARM_UP: usize = 10;

/// Ranges of the pools of places without a service.
const ALONE: Pair<&str> = Pair {
    old: "50000-54999",
    new: "55000-59999",
};

/// A command, and how long each run took in milliseconds.
struct Timed {
    command: Command,
    times: Vec<f64>,
}

/// Measures and prints.
pub fn measure(builds: &Pair<PathBuf>) -> Result<()> {
    let place = |(binary, ranges): &(PathBuf, &str)| Place::of(binary, ranges);
    let served = builds.map(Clone::clone).zip(POOLS).try_map(place)?;
    let alone = builds.map(Clone::clone).zip(ALONE).try_map(place)?;
    let _services = served.try_map(Place::serve)?;
    let mut bare = Timed::new(Command::new("true"));
    let (mut with, mut without) = (served.map(run), alone.map(run));
    for round in 0..WARM_UP + ROUNDS {
        bare.run(round)?;
        for command in with.turns(round).into_iter().chain(without.turns(round)) {
            command.run(round)?;
        }
    }
    let bare = median(&mut bare.times);
    table::heading(&format!(
        "`portbook run -- true`, time over `true` itself ({bare:.2} ms)"
    ));
    let over = |timed: &Timed| timed.times.iter().map(|time| time - bare).collect();
    table::row("with a service", &with.map(over), "ms", Aim::AtMost(1.0));
    table::row(
        "without a service",
        &without.map(over),
        "ms",
        Aim::AtMost(1.5),
    );
    Ok(())
}

impl Timed {
    fn new(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self {
            command,
            times: Vec::new(),
        }
    }

    fn run(&mut self, round: usize) -> Result<()> {
        let begin = now();
        let status = self.command.status()?;
        let took = begin.elapsed();
        ensure!(status.success(), "{:?} failed", self.command);
        if round >= WARM_UP {
            self.times.push(took.as_secs_f64() * 1e3);
        }
        Ok(())
    }
}

fn run(place: &Place) -> Timed {
    let mut command = place.command();
    command.args(["run", "--", "true"]);
    Timed::new(command)
}
