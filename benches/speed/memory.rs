//! Resident memory of the service, idle and with many leases.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::figure;
use crate::place::{Place, Service};

const LEASES: usize = 5_000;

/// Until what was used for the start has settled, and the observer has looked around.
const SETTLED: Duration = Duration::from_millis(1_500);

/// Measures and prints.
pub fn measure() -> Result<()> {
    figure::heading("Resident memory of the service (VmRSS)");
    let place = Place::new("20000-29999")?;
    let service = place.serve()?;
    std::thread::sleep(SETTLED);
    figure::at_most("idle", megabytes(&service, "VmRSS:")?, 20.0, "MB");
    figure::plain(
        "  of it not files (RssAnon)",
        megabytes(&service, "RssAnon:")?,
        "MB",
    );
    crate::rate::fill(&service, LEASES)?;
    std::thread::sleep(SETTLED);
    figure::at_most(
        "with 5,000 leases",
        megabytes(&service, "VmRSS:")?,
        30.0,
        "MB",
    );
    figure::plain(
        "  of it not files (RssAnon)",
        megabytes(&service, "RssAnon:")?,
        "MB",
    );
    Ok(())
}

fn megabytes(service: &Service, key: &str) -> Result<f64> {
    let status = service.proc("status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kibibytes: u64 = line
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .with_context(|| format!("no {key}"))?
        .parse()?;
    Ok(figure::approximately(kibibytes) * 1024.0 / 1e6)
}
