//! The service is killed and started again while every listener is visited.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Arguments;
use crate::common::now;
use crate::common::place::Place;
use crate::common::role::{self, Role};
use crate::common::service::Service;
use crate::figure;
use crate::owner::Owner;
use crate::visitor::Visits;

/// Times of observation: before the outage, during it, and after it.
const WHILE: Duration = Duration::from_secs(3);

/// Measures and prints; gives the new service.
pub fn measure(
    arguments: &Arguments,
    place: &Place,
    service: Service,
    listening: &[Owner],
) -> Result<Service> {
    let mut command = role::command(&["visitor", &arguments.every_ms.to_string()]);
    command.args(listening.iter().map(|owner| owner.port.to_string()));
    let mut visitor = Role::start(&mut command)?;
    std::thread::sleep(WHILE);
    figure::heading(&format!(
        "Visits to {} listeners, each every {} ms if the machine can",
        listening.len(),
        arguments.every_ms
    ));
    report("while the service runs", &told(&mut visitor)?);
    // By SIGKILL.
    drop(service);
    std::thread::sleep(WHILE);
    report("while it is dead", &told(&mut visitor)?);
    let begin = now();
    let service = place.serve()?;
    let ready = begin.elapsed();
    std::thread::sleep(WHILE);
    report("from its start on", &told(&mut visitor)?);
    visitor.end()?;
    figure::line(
        "from the start until it says that it is ready",
        figure::ms(ready),
    );
    Ok(service)
}

fn told(visitor: &mut Role) -> Result<Visits> {
    let stdin = visitor.child.stdin.as_mut().context("no stdin")?;
    writeln!(stdin, "and now?")?;
    Ok(serde_json::from_str(&visitor.hear()?)?)
}

fn report(when: &str, visits: &Visits) {
    let slowest: Vec<String> = visits
        .slowest_us
        .iter()
        .map(|us| figure::ms(Duration::from_micros(*us)))
        .collect();
    let all = visits.answered + visits.refused + visits.broken;
    figure::line(
        when,
        format!(
            "{all} visits in {:.1} s, {} refused, {} reset, slowest {}",
            visits.seconds,
            visits.refused,
            visits.broken,
            slowest.join(", ")
        ),
    );
}
