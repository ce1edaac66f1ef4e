//! One service under load, with its collector.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::backend::Backend;
use crate::common::api::Api;
use crate::common::now;
use crate::common::place::Place;

/// Number of concurrent clients, and requests of each in a round.
const CLIENTS: u32 = 4;
const PAIRS: u32 = 250;

/// A service and its collector.
pub struct Subject {
    /// Difference from the other subjects.
    pub name: &'static str,
    place: Place,
    child: Child,
    backend: Option<Backend>,
}

/// Result of one round.
pub struct Figures {
    /// Allocations with their releases, a second.
    pub rate: f64,
    /// Time of the median allocation.
    pub median_us: f64,
}

impl Subject {
    /// Starts the service, sending so large a share of traces to its collector.
    pub fn start(name: &'static str, backend: Option<Backend>, ratio: f64) -> Result<Self> {
        let mut place = Place::new("20000-29999")?;
        if let Some(backend) = &backend {
            place.set("PORTBOOK_TELEMETRY__ENDPOINT", &backend.url);
            place.set("PORTBOOK_TELEMETRY__SAMPLE_RATIO", &ratio.to_string());
        }
        let mut command = place.command();
        let mut child = command.arg("serve").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.as_mut().context("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.starts_with("http://"), "the service did not start");
        Ok(Self {
            name,
            place,
            child,
            backend,
        })
    }

    /// Whether its collector does not work.
    pub fn is_broken(&self) -> bool {
        self.backend
            .as_ref()
            .is_some_and(|backend| backend.is_broken)
    }

    /// One round of load.
    pub fn load(&self) -> Result<Figures> {
        let begin = now();
        let mut latencies = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(|| self.client()))
                .collect();
            let answers = clients.into_iter().map(|client| {
                let answer = client.join().map_err(|_| anyhow!("a client panicked"));
                answer.and_then(|latencies| latencies)
            });
            answers.collect::<Result<Vec<_>>>()
        })?
        .concat();
        let pairs = f64::from(PAIRS * CLIENTS);
        let rate = pairs / begin.elapsed().as_secs_f64();
        latencies.sort_by(f64::total_cmp);
        let median_us = latencies[latencies.len() / 2];
        Ok(Figures { rate, median_us })
    }

    fn client(&self) -> Result<Vec<f64>> {
        let mut api = Api::connect(&self.place.socket())?;
        let mut latencies = Vec::new();
        for _ in 0..PAIRS {
            let asked = now();
            let leases = api.lease(&json!({}))?;
            latencies.push(asked.elapsed().as_secs_f64() * 1e6);
            let id = leases[0]["id"].as_str().context("no lease")?;
            let answer = api.ask("DELETE", &format!("/api/v1/leases/{id}"), None)?;
            ensure!(answer.status == 204, "not released: {}", answer.status);
        }
        Ok(latencies)
    }

    /// Number of spans that it reports as lost.
    pub fn dropped(&self) -> Result<u64> {
        let mut stream = UnixStream::connect(self.place.socket())?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let lines = text.lines();
        let values = lines.filter_map(|line| {
            let rest = line.strip_prefix("portbook_spans_dropped_total{")?;
            rest.split_once("} ")?.1.parse::<u64>().ok()
        });
        Ok(values.sum())
    }

    /// Stops it, and says how many seconds that took.
    pub fn stop(mut self) -> Result<f64> {
        let begin = now();
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        ensure!(self.child.wait()?.success(), "the service did not end well");
        Ok(begin.elapsed().as_secs_f64())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
