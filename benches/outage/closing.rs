//! The listeners close one by one; their owners live on.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use portbook::domain::attempt::SocketState;
use portbook::domain::port::{Port, Protocol};
use portbook::host::occupancy::Occupancy;

use crate::common::now;
use crate::figure;
use crate::owner::Owner;

/// The hold on IPv4 and the one on IPv6.
const HOLDS: usize = 2;

/// How long to wait for a hold at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures and prints.
pub fn measure(listening: &mut [Owner]) -> Result<()> {
    let mut gaps = Vec::new();
    for owner in listening {
        gaps.push(gap(owner)?);
    }
    figure::heading("Listeners close one by one: how long their ports are without a hold");
    figure::times("from the last sight of the listener to the hold", &mut gaps);
    let late = gaps.iter().filter(|gap| **gap > Duration::from_millis(50));
    figure::line(
        "longer than 50 ms",
        format!("{} of {}", late.count(), gaps.len()),
    );
    Ok(())
}

/// Lets one close, and watches the kernel's table until the hold is there.
fn gap(owner: &mut Owner) -> Result<Duration> {
    let stdin = owner.role.child.stdin.as_mut().context("no stdin")?;
    let mut last_sight = now();
    writeln!(stdin, "close")?;
    while last_sight.elapsed() < PATIENCE {
        let looked = now();
        match look(owner.port)? {
            Sight::Listener => last_sight = looked,
            Sight::Nothing => {}
            Sight::Hold => return Ok(looked.duration_since(last_sight)),
        }
        pause_since(looked);
    }
    bail!("port {} got no hold in {PATIENCE:?}", owner.port);
}

enum Sight {
    Listener,
    Nothing,
    Hold,
}

fn look(port: u16) -> Result<Sight> {
    let port = Port::new(port).context("port 0")?;
    let entries = Occupancy::on_port(Protocol::Tcp, port)?;
    let count = |state| entries.iter().filter(|entry| entry.state == state).count();
    Ok(
        match (count(SocketState::Listening), count(SocketState::Bound)) {
            (0, bound) if bound >= HOLDS => Sight::Hold,
            (0, _) => Sight::Nothing,
            _ => Sight::Listener,
        },
    )
}

/// A look must not keep the service from its work.
fn pause_since(looked: Instant) {
    std::thread::sleep(looked.elapsed().max(Duration::from_micros(100)));
}
