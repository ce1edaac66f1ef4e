//! A kernel of its own, as far as ports go: a network namespace that is gone with the measurement,
//! with a loopback and an ephemeral range that no other process uses.

use std::ops::RangeInclusive;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

/// Set in the process that runs inside.
const INSIDE: &str = "PORTBOOK_BENCH_WORLD";

/// Whether this process runs inside already.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program once more, inside. Where that is not allowed it says so and measures nothing.
pub fn enter(ephemeral: &RangeInclusive<u16>) -> Result<ExitCode> {
    let allowed = Command::new("unshare").args(["--net", "true"]).output();
    if !allowed.is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: no network namespace can be made: it takes root and util-linux");
        return Ok(ExitCode::SUCCESS);
    }
    let set_up = format!(
        "ip link set lo up && echo '{} {}' > /proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"",
        ephemeral.start(),
        ephemeral.end()
    );
    let status = Command::new("unshare")
        .args(["--net", "sh", "-ec", &set_up, "sh"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "made")
        .status()
        .context("unshare")?;
    ensure!(status.success(), "the measurement ended with {status}");
    Ok(ExitCode::SUCCESS)
}
