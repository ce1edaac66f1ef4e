//! A local `portbook run` while etcd fails.

use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use rustix::process::Signal;

use crate::common::place::Place;
use crate::common::{figure, now};
use crate::engine::Engine;

const ROUNDS: usize = 600;
const WARM_UP: usize = 10;

/// Time of each state of etcd.
const STEP: Duration = Duration::from_millis(1500);

/// Measures and prints.
pub fn measure(engine: &mut Engine) -> Result<()> {
    let mut inside = crate::member("20000-21999", "two")?;
    inside.set("PORTBOOK_FLEET__SESSION", "3s");
    let outside = Place::new("22000-23999")?;
    let _services = (inside.serve()?, outside.serve()?);
    crate::join(&inside)?;
    let (over, is_over) = channel::<()>();
    let times = thread::scope(|scope| {
        let failing = scope.spawn(move || fail(engine, &is_over));
        let times = time([run(&inside), run(&outside)]);
        drop(over);
        failing
            .join()
            .map_err(|_| anyhow!("etcd could not be handled"))??;
        times
    })?;
    let [mut inside, mut outside] = times;
    inside.sort_unstable();
    outside.sort_unstable();
    figure::heading("portbook run -- true, in turns, while etcd stands still, ends and comes back");
    for (percent, aim) in [(50, 1.05), (99, 1.2)] {
        let with = figure::percentile_ms(&inside, percent);
        let without = figure::percentile_ms(&outside, percent);
        figure::plain(&format!("in no fleet, {percent} %"), without, "ms");
        figure::plain(&format!("in a fleet, {percent} %"), with, "ms");
        figure::at_most("ratio", with / without, aim, "");
    }
    Ok(())
}

fn time(mut commands: [Command; 2]) -> Result<[Vec<Duration>; 2]> {
    let mut times: [Vec<Duration>; 2] = Default::default();
    for round in 0..WARM_UP + ROUNDS {
        for (command, times) in commands.iter_mut().zip(&mut times) {
            let begin = now();
            ensure!(command.status()?.success(), "{command:?} failed");
            if round >= WARM_UP {
                times.push(begin.elapsed());
            }
        }
        // Each is first in half of the rounds.
        commands.swap(0, 1);
        times.swap(0, 1);
    }
    Ok(times)
}

fn run(place: &Place) -> Command {
    let mut command = place.command();
    command.args(["run", "--", "true"]);
    command
}

/// Has etcd fail in turns, until the other end is dropped.
fn fail(engine: &mut Engine, is_over: &Receiver<()>) -> Result<()> {
    let lasts = || is_over.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout);
    while lasts() {
        engine.signal(Signal::STOP)?;
        let goes_on = lasts();
        engine.signal(Signal::CONT)?;
        if !goes_on || !lasts() {
            break;
        }
        engine.kill();
        let goes_on = lasts();
        engine.begin()?;
        if !goes_on {
            break;
        }
    }
    Ok(())
}
