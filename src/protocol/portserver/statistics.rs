//! What a port server counts, under the names of the reference program.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one port server since its start.
#[derive(Debug, Default)]
pub struct Statistics {
    client_request_errors: AtomicU64,
    denied_allocations: AtomicU64,
    ports_checked_for_last_request: AtomicU64,
    total_allocations: AtomicU64,
}

impl Statistics {
    /// Something was sent that is no request.
    pub(super) fn client_error(&self) {
        self.client_request_errors.fetch_add(1, Relaxed);
    }

    /// A request was refused, after so many ports were looked at in vain if any were.
    pub(super) fn denied(&self, checked: Option<usize>) {
        self.denied_allocations.fetch_add(1, Relaxed);
        if let Some(checked) = checked {
            self.checked(checked);
        }
    }

    /// A port was granted, the last of so many that were looked at.
    pub(super) fn allocated(&self, checked: usize) {
        self.total_allocations.fetch_add(1, Relaxed);
        self.checked(checked);
    }

    fn checked(&self, ports: usize) {
        let ports = u64::try_from(ports).unwrap_or(u64::MAX);
        self.ports_checked_for_last_request.store(ports, Relaxed);
    }

    /// One line each, in the reference program's order; `managed` is how many ports the pool has.
    pub(super) fn lines(&self, managed: usize) -> Vec<String> {
        let value = |counter: &AtomicU64| counter.load(Relaxed);
        vec![
            format!(
                "client-request-errors {}",
                value(&self.client_request_errors)
            ),
            format!("denied-allocations {}", value(&self.denied_allocations)),
            format!("num-ports-managed {managed}"),
            format!(
                "num-ports-checked-for-last-request {}",
                value(&self.ports_checked_for_last_request)
            ),
            format!("total-allocations {}", value(&self.total_allocations)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::Statistics;

    #[test]
    fn the_order_is_the_reference_programs() {
        let statistics = Statistics::default();
        statistics.client_error();
        statistics.denied(None);
        statistics.allocated(3);
        statistics.allocated(1);
        statistics.denied(Some(7));
        assert_eq!(
            statistics.lines(10_000),
            [
                "client-request-errors 1",
                "denied-allocations 2",
                "num-ports-managed 10000",
                "num-ports-checked-for-last-request 7",
                "total-allocations 2",
            ]
        );
    }
}
