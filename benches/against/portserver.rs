//! The port server's protocol beside the reference program, which stores nothing.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::figure::median;
use crate::common::now;
use crate::common::place::Place;
use crate::common::service::Service;
use crate::table::{self, Aim};
use crate::{Arguments, Pair, reference, requests};

const CONNECTIONS: usize = 8;

/// Ports of each server; none is held between a grant and the bind of its owner.
const RANGES: &str = "15000-24999";

/// Address of the reference program.
const REFERENCE: &str = "against-reference";

/// Addresses of both builds.
const ADDRESSES: Pair<&str> = Pair {
    old: "against-old",
    new: "against-new",
};

/// Longest wait until a server answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A build that serves the protocol.
struct Subject {
    service: Service,
    address: &'static str,
    rates: Vec<f64>,
    _place: Place,
}

/// The reference program; killed when dropped.
struct Reference(Child);

/// Measures and prints.
pub fn measure(arguments: &Arguments, builds: &Pair<PathBuf>) -> Result<()> {
    let both = builds.map(Clone::clone).zip(ADDRESSES);
    let mut subjects = both.try_map(|(binary, address)| Subject::start(binary, address))?;
    let length = Duration::from_secs(arguments.seconds);
    let reference = Reference::start()?;
    let mut rates = Vec::new();
    // The first round warms up.
    for round in 0..=arguments.rounds {
        reference.signal(Signal::CONT)?;
        rates.push(requests::rate(REFERENCE, CONNECTIONS, length)?);
        reference.signal(Signal::STOP)?;
        for subject in subjects.turns(round) {
            subject.round(length)?;
        }
    }
    let rate = median(&mut rates[1..]);
    table::heading(&format!(
        "Port server's protocol, {CONNECTIONS} connections; the reference program: {rate:.0}/s"
    ));
    let rates = subjects.map(|subject| subject.rates[1..].to_vec());
    table::row("ports a second", &rates, "/s", Aim::Told);
    let times = rates.map(|rates| rates.iter().map(|own| own / rate).collect());
    table::row("times the reference program", &times, "", Aim::AtLeast(3.0));
    Ok(())
}

impl Subject {
    fn start(binary: &Path, address: &'static str) -> Result<Self> {
        let mut place = Place::of(binary, "30000-30999")?;
        place.set("PORTBOOK_PORTSERVER__ADDRESS", &format!("@{address}"));
        place.set("PORTBOOK_POOLS__PORTSERVER__RANGES", RANGES);
        let service = place.serve()?;
        wait_for(address)?;
        service.pause()?;
        Ok(Self {
            service,
            address,
            rates: Vec::new(),
            _place: place,
        })
    }

    fn round(&mut self, length: Duration) -> Result<()> {
        self.service.resume()?;
        let rate = requests::rate(self.address, CONNECTIONS, length)?;
        self.service.pause()?;
        self.rates.push(rate);
        Ok(())
    }
}

impl Reference {
    fn start() -> Result<Self> {
        let mut command = reference::command(RANGES, &format!("@{REFERENCE}"));
        let this = Self(command.spawn().context("python3")?);
        wait_for(REFERENCE)?;
        Ok(this)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.0), signal)?)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits until a server answers: none of them says when it listens here.
fn wait_for(address: &str) -> Result<()> {
    let begin = now();
    while requests::one(address).is_err() {
        ensure!(begin.elapsed() < PATIENCE, "{address} does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
