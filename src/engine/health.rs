//! Health of the service: a list of checks, for `/readyz`, `portbook status`, pages and metrics.

use std::sync::atomic::Ordering;

use crate::domain::health::{Check, Condition};
use crate::domain::lease::{Guard, Handover, Lease, State};
use crate::domain::words::{counted, grouped};
use crate::engine::engine::Engine;
use crate::host::{bpf, kernel};
use std::sync::Arc;

/// Below this the record may not find room for what comes next.
const NO_ROOM: u64 = 8 << 20;

/// Free bytes below which an administrator should look.
const LITTLE_ROOM: u64 = 256 << 20;

/// Number of descriptors that the service needs to answer at all.
const NO_DESCRIPTORS: u64 = 16;

/// A snapshot is late after so many of its intervals.
const LATE: u32 = 3;

/// Looks at everything that granting and keeping ports depends on. The first check commits an
/// empty batch, so it takes as long as an allocation's commit.
pub(super) async fn health(engine: &Arc<Engine>) -> Vec<Check> {
    vec![
        check_record(engine).await,
        check_guards(engine),
        check_handovers().await,
        descriptors_left(engine),
        check_disk(engine),
        check_interfaces(engine),
        check_snapshot(engine),
    ]
}

async fn check_record(engine: &Arc<Engine>) -> Check {
    match engine.store.check().await {
        Ok(()) => match engine.store.damage() {
            None => Check::ok("record", "it takes commits"),
            Some(damage) => Check::new("record", Condition::Warn, damage),
        },
        Err(error) => {
            let owed = match engine.store.owed() {
                0 => String::new(),
                count => format!("; changes of {count} leases wait in memory"),
            };
            Check::new("record", Condition::Fail, format!("{error}{owed}"))
        }
    }
}

fn check_guards(engine: &Arc<Engine>) -> Check {
    let bare = engine.leases.unheld(needs_hold);
    let lost = engine
        .leases
        .filtered(|lease| lease.state == State::Lost)
        .len();
    if bare + lost == 0 {
        return Check::ok("guards", format!("all of {} leases", engine.leases.count()));
    }
    let mut wrong = Vec::new();
    if bare > 0 {
        wrong.push(format!("{} without a guard", counted(bare, "lease")));
    }
    if lost > 0 {
        wrong.push(format!("{} lost to outsiders", counted(lost, "lease")));
    }
    let detail = format!("{}; see `portbook list`", wrong.join(", "));
    Check::new("guards", Condition::Warn, detail)
}

/// Tells whether leases can be handed over by `bind`. That they cannot is the rule, so it is no warning.
async fn check_handovers() -> Check {
    let obstacle = tokio::task::spawn_blocking(bpf::obstacle).await;
    let detail = match obstacle.unwrap_or(Some("the service ends")) {
        None => "gate, fd, release and bind".to_owned(),
        Some(obstacle) => format!("gate, fd and release; bind falls back to gate: {obstacle}"),
    };
    Check::ok("hand-over", detail)
}

/// Whether a hold of the service must keep the lease: its owner's listener does not, and it is not one that the
/// books alone keep.
fn needs_hold(lease: &Lease) -> bool {
    let kept_by_books = lease.handover == Handover::Release || lease.state == State::Lost;
    !lease.state.is_ended() && !kept_by_books && lease.guard != Guard::Owner
}

fn descriptors_left(engine: &Arc<Engine>) -> Check {
    let open = kernel::open_descriptors().unwrap_or(0) as u64;
    let left = engine.descriptor_limit.saturating_sub(open);
    let (held, budget) = (engine.leases.descriptor_count(), engine.descriptor_budget());
    let detail = descriptors_told(held, budget, left);
    let condition = if left < NO_DESCRIPTORS {
        Condition::Fail
    } else if held.saturating_mul(10) >= budget.saturating_mul(9) {
        Condition::Warn
    } else {
        Condition::Ok
    };
    Check::new("descriptors", condition, detail)
}

fn check_disk(engine: &Arc<Engine>) -> Check {
    let folder = engine.settings().data_dir.clone();
    let free = match kernel::free_bytes(&folder) {
        Ok(free) => free,
        Err(error) => return Check::new("disk", Condition::Warn, error.to_string()),
    };
    let condition = match free {
        0..NO_ROOM => Condition::Fail,
        NO_ROOM..LITTLE_ROOM => Condition::Warn,
        _ => Condition::Ok,
    };
    let detail = format!("{} MiB free in {}", free >> 20, folder.display());
    Check::new("disk", condition, detail)
}

fn check_interfaces(engine: &Arc<Engine>) -> Check {
    match engine.interfaces.current() {
        Err(error) => Check::new("interfaces", Condition::Fail, error.to_string()),
        Ok(_) if engine.is_watching.load(Ordering::Relaxed) => {
            Check::ok("interfaces", "changes are told as they happen")
        }
        Ok(_) => {
            let detail = "changes are not told; each request looks for itself";
            Check::new("interfaces", Condition::Warn, detail)
        }
    }
}

fn check_snapshot(engine: &Arc<Engine>) -> Check {
    let Some(at) = engine.learning.last_snapshot_at() else {
        let detail = "there was none since the start";
        return Check::new("snapshot", Condition::Warn, detail);
    };
    let age = engine.clock.now().duration_since(at);
    let age: std::time::Duration = age.try_into().unwrap_or_default();
    let late = age > engine.settings().history.snapshot_interval * LATE;
    let condition = if late { Condition::Warn } else { Condition::Ok };
    let detail = format!("the last one was {} s ago", age.as_secs());
    Check::new("snapshot", condition, detail)
}

/// Describes the use of file descriptors. A hold takes one for each bind address, a watch one for
/// each owner.
fn descriptors_told(held: usize, budget: usize, left: u64) -> String {
    let [held, budget, left] = [grouped(held), grouped(budget), grouped(left)];
    format!(
        "holds and watched owners use {held} of the {budget} file descriptors set aside for them; \
         the service may open {left} more in all"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_understands_what_is_said_of_descriptors() {
        assert_eq!(
            descriptors_told(219, 19_744, 19_743),
            "holds and watched owners use 219 of the 19,744 file descriptors set aside for them; the \
             service may open 19,743 more in all"
        );
    }
}
