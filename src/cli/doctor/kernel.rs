//! The pools against what the kernel keeps: ephemeral, reserved and privileged ports, descriptors.

use std::sync::Arc;

use crate::answers::document::StatusDocument;
use crate::config::{Pool, shared_with_outgoing};
use crate::domain::port::PortSet;
use crate::domain::words::shell_word;
use crate::host::{hold, kernel, process};

/// Findings: a message each, and the command that mends it.
type Found = Vec<(String, String)>;

/// Minimum number of ports to leave to outgoing connections.
const ENOUGH_EPHEMERAL: usize = 1000;

/// Descriptors that a lease needs: a hold for each family, and its owner's pidfd.
const DESCRIPTORS_A_LEASE: u64 = 3;

/// Descriptors for clients, files and the runtime.
const OTHER_DESCRIPTORS: u64 = 256;

/// Number of leases to have descriptors for; a host for more is set up with care.
const MANY_LEASES: usize = 1000;

/// Pools in the range that the kernel gives to outgoing connections.
pub(super) fn ephemeral(pools: &[Arc<Pool>]) -> Found {
    let Some(range) = kernel::ephemeral_range() else {
        return Found::new();
    };
    in_ephemeral(pools, &range, &kernel::reserved_ports())
}

/// Pools whose open gates let `bind(0)` in, since the kernel reuses ports that are bound already.
pub(super) fn autobind(pools: &[Arc<Pool>]) -> Found {
    if !kernel::autobind_reuses() {
        return Found::new();
    }
    reused_by_autobind(pools, &kernel::outgoing_ports())
}

fn reused_by_autobind(pools: &[Arc<Pool>], outgoing: &PortSet) -> Found {
    let found = pools.iter().filter_map(|pool| {
        let shared = pool.ranges.intersection(outgoing);
        (!shared.is_empty()).then(|| {
            let message = format!(
                "net.ipv4.ip_autobind_reuse is on, so a program that binds port 0 with SO_REUSEADDR may get a leased port among {shared} of pool {} while its gate is open",
                pool.name
            );
            (message, "sudo sysctl -w net.ipv4.ip_autobind_reuse=0".to_owned())
        })
    });
    found.collect()
}

fn in_ephemeral(pools: &[Arc<Pool>], range: &PortSet, reserved: &PortSet) -> Found {
    let all = pools
        .iter()
        .fold(PortSet::EMPTY, |all, pool| all.union(&pool.ranges));
    let outgoing = range.without(reserved);
    let overlapping = pools.iter().filter_map(|pool| {
        let shared = shared_with_outgoing(pool, &outgoing)?;
        let message = format!("pool {}: {shared}", pool.name);
        Some((message, move_away(pool, range, &all)))
    });
    overlapping.collect()
}

/// Command that moves the ephemeral range into its longest part without a pool or, if that is too
/// short, the pool.
fn move_away(pool: &Pool, range: &PortSet, pools: &PortSet) -> String {
    let left = range.without(pools);
    let longest = left.ranges().max_by_key(ExactSizeIterator::len);
    match longest.filter(|run| run.len() >= ENOUGH_EPHEMERAL) {
        Some(run) => format!(
            "sudo sysctl -w net.ipv4.ip_local_port_range=\"{} {}\"",
            run.start(),
            run.end()
        ),
        None => format!(
            "PORTBOOK_POOLS__{}__RANGES=20000-29999 portbook serve",
            pool.name.to_uppercase()
        ),
    }
}

/// Ports of pools that the administrator has reserved: only requests by number get them.
pub(super) fn reserved(pools: &[Arc<Pool>]) -> Found {
    in_reserved(pools, &kernel::reserved_ports())
}

fn in_reserved(pools: &[Arc<Pool>], reserved: &PortSet) -> Found {
    let found = pools.iter().filter_map(|pool| {
        let shared = pool.ranges.intersection(reserved);
        (!shared.is_empty()).then(|| {
            let message = format!(
                "{shared} of pool {} are reserved by the administrator, so only requests by number get them",
                pool.name
            );
            let left = reserved.without(&shared);
            (message, format!("sudo sysctl -w net.ipv4.ip_local_reserved_ports=\"{left}\""))
        })
    });
    found.collect()
}

/// The reason for which ports for UDP are not held beneath their programs here.
pub(super) fn udp_holds() -> Found {
    hold::obstacle().map(not_beneath).into_iter().collect()
}

fn not_beneath(obstacle: &str) -> (String, String) {
    let message = format!(
        "UDP ports cannot be held beneath their programs here ({obstacle}), so only the books keep such a port until its program binds it, and no request for the gate is granted for UDP; a program that takes sockets, as from systemd, leaves no gap before it has the port"
    );
    let command = "portbook run --protocol udp --handover fd -- PROGRAM".to_owned();
    (message, command)
}

/// Pools below the first unprivileged port, if the service has no capability for them.
pub(super) fn low(pools: &[Arc<Pool>], running: Option<&StatusDocument>) -> Found {
    let pid = running.map_or_else(std::process::id, |service| service.pid);
    let program = std::env::current_exe().unwrap_or_else(|_| "portbook".into());
    let start = kernel::unprivileged_port_start();
    if process::may_bind_low_ports(pid).unwrap_or(true) {
        return Found::new();
    }
    below(pools, start, &shell_word(&program.to_string_lossy()))
}

fn below(pools: &[Arc<Pool>], start: u16, program: &str) -> Found {
    let lowest = |pool: &Arc<Pool>| pool.ranges.first().filter(|port| port.get() < start);
    let found = pools.iter().filter_map(|pool| {
        let port = lowest(pool)?;
        let message = format!(
            "pool {} grants {port}, and ports below {start} need a capability that the service does not have (it needs a restart with it)",
            pool.name
        );
        Some((message, format!("sudo setcap cap_net_bind_service=+ep {program}")))
    });
    found.collect()
}

/// Whether the limit on open descriptors has room for the holds.
pub(super) fn descriptors(pools: &[Arc<Pool>]) -> Found {
    let largest = pools
        .iter()
        .map(|pool| pool.ranges.len())
        .max()
        .unwrap_or(0);
    too_few_descriptors(largest.min(MANY_LEASES), kernel::hard_fd_limit())
}

fn too_few_descriptors(leases: usize, limit: u64) -> Found {
    let leases = u64::try_from(leases).unwrap_or(u64::MAX);
    let needed = leases
        .saturating_mul(DESCRIPTORS_A_LEASE)
        .saturating_add(OTHER_DESCRIPTORS);
    if limit >= needed {
        return Found::new();
    }
    let possible = limit.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS_A_LEASE;
    let message = format!(
        "a process started from here may open {limit} descriptors, which is enough for {possible} leases at once; {leases} need {needed}"
    );
    // For the shell that this is pasted into, and so for the programs that it starts.
    let command = format!("sudo prlimit --pid $$ --nofile={needed}:{needed}");
    vec![(message, command)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(ranges: &str) -> Vec<Arc<Pool>> {
        let loaded = crate::config::load(&crate::config::Sources {
            environment: vec![("PORTBOOK_POOLS__DEFAULT__RANGES".into(), ranges.into())],
            home: Some("/home/me".into()),
            ..Default::default()
        });
        vec![Arc::clone(&loaded.unwrap().settings.pools["default"])]
    }

    #[test]
    fn reused_ports_matter_in_pools_of_the_ephemeral_range() {
        let found = reused_by_autobind(&pools("32000-33000"), &ports("32768-60999"));
        assert!(
            found[0].0.contains("32768-33000 of pool default"),
            "{found:?}"
        );
        assert!(reused_by_autobind(&pools("20000-20009"), &ports("32768-60999")).is_empty());
    }

    fn ports(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    #[test]
    fn the_ephemeral_range_moves_away_from_the_pool() {
        let (range, none) = (ports("32768-60999"), PortSet::EMPTY);
        assert_eq!(in_ephemeral(&pools("20000-29999"), &range, &none), []);
        let found = in_ephemeral(&pools("30000-39999"), &range, &none);
        assert!(found[0].0.contains("32768-39999"), "{found:?}");
        assert_eq!(
            found[0].1,
            "sudo sysctl -w net.ipv4.ip_local_port_range=\"40000 60999\""
        );
        // With nothing left of the range, the pool moves.
        let found = in_ephemeral(&pools("30000-60500"), &range, &none);
        assert!(found[0].1.starts_with("PORTBOOK_POOLS__DEFAULT__RANGES="));
        // Reserved ports are not given to outgoing connections.
        assert_eq!(in_ephemeral(&pools("33000"), &range, &ports("33000")), []);
    }

    #[test]
    fn reserved_ports_are_freed_for_the_pool_alone() {
        assert_eq!(in_reserved(&pools("20000-29999"), &ports("8080")), []);
        let found = in_reserved(&pools("20000-29999"), &ports("8080,20005-20007"));
        assert_eq!(
            found[0].1,
            "sudo sysctl -w net.ipv4.ip_local_reserved_ports=\"8080\""
        );
    }

    #[test]
    fn low_ports_and_few_descriptors_come_with_a_remedy() {
        assert_eq!(below(&pools("1024-1030"), 1024, "p"), []);
        let found = below(&pools("443,8443"), 1024, "/usr/bin/portbook");
        assert!(found[0].0.contains("grants 443"));
        assert_eq!(
            found[0].1,
            "sudo setcap cap_net_bind_service=+ep /usr/bin/portbook"
        );
        assert_eq!(too_few_descriptors(1000, 3256), []);
        let found = too_few_descriptors(1000, 1024);
        assert!(found[0].0.contains("enough for 256 leases"), "{found:?}");
        assert_eq!(found[0].1, "sudo prlimit --pid $$ --nofile=3256:3256");
    }
}
