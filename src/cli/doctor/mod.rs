//! `portbook doctor`: obstacles to portbook on this host, each with the command that mends it.

mod containers;
mod files;
#[cfg(feature = "fleet")]
mod fleet;
mod folders;
mod handover;
mod kernel;
mod opened;
mod record;
mod redirected;
mod services;

use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::{Failure, Global, print, print_json};
use crate::answers::document::VERSION;
use crate::domain::attempt::printable;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    message: String,
    /// Command that mends it, to be pasted into a shell.
    command: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// Names of all checks.
    checks: Vec<&'static str>,
    findings: Vec<Finding>,
    /// Checks that could not be done, with the reason.
    unknown: Vec<String>,
    /// Ways in which ports are handed over, and why not by the best one.
    hand_over: String,
    /// Fence of unique numbers. `None` if no pool has any.
    fence: Option<String>,
}

impl Report {
    fn add(&mut self, check: &'static str, found: Vec<(String, String)>) {
        self.checks.push(check);
        let found = found.into_iter().map(|(message, command)| Finding {
            check,
            message,
            command,
        });
        self.findings.extend(found);
    }
}

/// Arguments of `portbook doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 nothing is in the way, 1 something is.
With --record: 0 the record is whole; 1 it was damaged, and what could be read is in a new file;
4 it was not checked or not repaired, since a service has it or the folder cannot be used.")]
pub(super) struct DoctorArgs {
    /// Check the record, without a service. A damaged one is repaired into a new file; the old file stays.
    #[arg(long)]
    record: bool,
}

/// Does all checks; exit code 1 if one of them finds something.
pub(super) async fn run(global: &Global, args: &DoctorArgs) -> Result<ExitCode, Failure> {
    if args.record {
        return record::run(global).await;
    }
    let loaded = global.load()?;
    let mut report = Report::default();
    let services::Services {
        running,
        socket_modes,
        mut silent,
    } = services::ask(&loaded).await;
    let pools: Vec<_> = loaded.settings.pools.values().cloned().collect();
    report.add("ephemeral ports", kernel::ephemeral(&pools));
    report.add("automatic ports", kernel::autobind(&pools));
    report.add("reserved ports", kernel::reserved(&pools));
    report.add("udp holds", kernel::udp_holds());
    report.hand_over = handover::ways(running.first());
    report.add("hand-over", handover::unmet(&pools, &report.hand_over));
    report.add("low ports", kernel::low(&pools, running.first()));
    report.add("descriptors", kernel::descriptors(&pools));
    report.add(
        "permissions",
        files::permissions(&loaded.settings, &socket_modes),
    );
    silent.extend(services::several(&running));
    let is_served = !running.is_empty();
    report.add("record", opened::obstacles(&loaded, is_served).await);
    report.add("services", silent);
    #[cfg(feature = "fleet")]
    if !loaded.settings.fleet.engine.is_empty() {
        report.add("fleet", fleet::absent(&loaded).await);
        report.add("numbers of every host", fleet::objections(&loaded).await);
    }
    let leases = services::leases(&loaded).await;
    let me = rustix::process::geteuid().as_raw();
    report.add("folders", folders::gone(&leases, me));
    #[cfg(feature = "fleet")]
    if pools.iter().any(|pool| pool.is_unique()) {
        let mut numbers = fleet::lost(&loaded, &leases).await;
        numbers.extend(fleet::unreadable(&loaded).await);
        report.add("unique numbers", numbers);
        report.fence = Some(fleet::fence(&loaded).await);
    }
    let published = containers::published(&mut report.unknown).await;
    report.add(
        "containers",
        containers::clashes(&published, &pools, &leases),
    );
    let redirected = redirected::ports(&pools, &leases, &mut report.unknown).await;
    report.add("packet filter", redirected);
    if global.json {
        print_json(&json!({ "version": VERSION, "checks": report.checks,
            "findings": report.findings, "unknown": report.unknown,
            "hand_over": report.hand_over, "fence": report.fence }))?;
    } else {
        print(&text(&report))?;
    }
    Ok(ExitCode::from(u8::from(!report.findings.is_empty())))
}

fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for check in &report.checks {
        let found = report.findings.iter().filter(|it| it.check == *check);
        let before = lines.len();
        lines.extend(found.map(|finding| {
            let (message, command) = (printable(&finding.message), printable(&finding.command));
            format!("{check}: {message}\n    {command}\n")
        }));
        if lines.len() == before {
            lines.push(format!("{check}: nothing in the way\n"));
        }
    }
    lines.push(format!("hand-over: {}\n", printable(&report.hand_over)));
    lines.extend(report.fence.iter().map(|fence| format!("fence: {fence}\n")));
    let unknown = report.unknown.iter();
    lines.extend(unknown.map(|unknown| format!("not looked at: {}\n", printable(unknown))));
    lines.concat()
}
