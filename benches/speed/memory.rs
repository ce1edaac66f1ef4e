//! Resident memory of the service, idle and with many leases.

use std::time::Duration;

use anyhow::Result;

use crate::common::figure;
use crate::common::place::Place;

const LEASES: usize = 5_000;

/// Until what was used for the start has settled, and the observer has looked around.
const SETTLED: Duration = Duration::from_millis(1_500);

/// Measures and prints.
pub fn measure() -> Result<()> {
    figure::heading("Resident memory of the service (VmRSS)");
    let place = Place::new("20000-29999")?;
    let service = place.serve()?;
    std::thread::sleep(SETTLED);
    figure::at_most("idle", service.memory("VmRSS:")?, 14.0, "MB");
    figure::plain(
        "  of it not files (RssAnon)",
        service.memory("RssAnon:")?,
        "MB",
    );
    crate::rate::fill(&service, LEASES)?;
    std::thread::sleep(SETTLED);
    figure::at_most("with 5,000 leases", service.memory("VmRSS:")?, 24.0, "MB");
    figure::plain(
        "  of it not files (RssAnon)",
        service.memory("RssAnon:")?,
        "MB",
    );
    Ok(())
}
