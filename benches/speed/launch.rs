//! Cost of `portbook run -- true` over `true` itself, with and without a service.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::common::place::Place;
use crate::common::{figure, now};

const ROUNDS: usize = 200;
const WARM_UP: usize = 10;

/// Measures and prints.
pub fn measure() -> Result<()> {
    let served = Place::new("20000-24999")?;
    let embedded = Place::new("25000-29999")?;
    let _service = served.serve()?;
    let mut bare = Command::new("true");
    bare.stdin(Stdio::null());
    let mut commands = [bare, run(&served), run(&embedded)];
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..WARM_UP + ROUNDS {
        for (command, times) in commands.iter_mut().zip(&mut times) {
            let begin = now();
            ensure!(command.status()?.success(), "{command:?} failed");
            if round >= WARM_UP {
                times.push(begin.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let [bare, served, embedded] = times.map(|mut times| figure::median(&mut times));
    figure::heading("Launch: fork, exec and wait, median");
    figure::plain("true", bare, "ms");
    figure::plain("portbook run -- true, with a service", served, "ms");
    figure::at_most("more than true alone", served - bare, 1.0, "ms");
    figure::plain("portbook run -- true, without a service", embedded, "ms");
    figure::at_most("more than true alone", embedded - bare, 1.5, "ms");
    Ok(())
}

fn run(place: &Place) -> Command {
    let mut command = place.command();
    command.args(["run", "--", "true"]);
    command
}
