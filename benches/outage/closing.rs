//! The listeners close one by one; their owners live on.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use portbook::domain::attempt::SocketState;
use portbook::domain::port::{Port, Protocol};
use portbook::internals::Occupancy;

use crate::common::{monotonic, now};
use crate::figure;
use crate::owner::Owner;

/// The hold on IPv4 and the one on IPv6.
const HOLDS: usize = 2;

/// Longest wait for a hold.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures and prints.
pub fn measure(listening: &mut [Owner]) -> Result<()> {
    let mut gaps = Vec::new();
    for owner in listening {
        gaps.push(gap(owner)?);
    }
    figure::heading("Listeners close one by one: how long their ports are without a hold");
    figure::times("from the end of the listener to the hold", &mut gaps);
    let late = gaps.iter().filter(|gap| **gap > Duration::from_millis(50));
    figure::line(
        "longer than 50 ms",
        format!("{} of {}", late.count(), gaps.len()),
    );
    Ok(())
}

/// Lets one close, and watches the kernel's table until the hold is there. The owner tells when it
/// closed; that the hold is there is known at the end of the look that shows it, so the time that a
/// look takes is counted as part of the gap.
fn gap(owner: &mut Owner) -> Result<Duration> {
    let stdin = owner.role.child.stdin.as_mut().context("no stdin")?;
    writeln!(stdin, "close")?;
    let closed = Duration::from_nanos(owner.role.hear()?.parse().context("no time")?);
    let begin = now();
    while begin.elapsed() < PATIENCE {
        if is_held(owner.port)? {
            return Ok(monotonic().saturating_sub(closed));
        }
        // A look must not keep the service from its work.
        std::thread::sleep(Duration::from_micros(200));
    }
    bail!("port {} got no hold in {PATIENCE:?}", owner.port);
}

fn is_held(port: u16) -> Result<bool> {
    let port = Port::new(port).context("port 0")?;
    let entries = Occupancy::on_port(Protocol::Tcp, port)?;
    let bound = entries
        .iter()
        .filter(|entry| entry.state == SocketState::Bound);
    Ok(bound.count() >= HOLDS)
}
