//! Counters of a port server, under the names of the reference program.

use crate::telemetry::metrics::PortserverMetrics;

/// Counters of the port server since its start.
#[derive(Debug)]
pub struct Statistics(PortserverMetrics);

impl Statistics {
    /// Statistics over these metrics.
    pub const fn new(metrics: PortserverMetrics) -> Self {
        Self(metrics)
    }

    /// Counts a malformed request.
    pub(super) fn client_error(&self) {
        self.0.malformed.inc();
    }

    /// Counts a refusal, with the number of ports that were tried in vain.
    pub(super) fn denied(&self, checked: Option<usize>) {
        self.0.denied.inc();
        if let Some(checked) = checked {
            self.0.checked(checked);
        }
    }

    /// Counts a grant, with the number of ports that were tried.
    pub(super) fn allocated(&self, checked: usize) {
        self.0.granted.inc();
        self.0.checked(checked);
    }

    /// One line each, in the order of the reference program. `managed` is the number of ports in the pool.
    pub(super) fn lines(&self, managed: usize) -> Vec<String> {
        let Self(counted) = self;
        vec![
            format!("client-request-errors {}", counted.malformed.get()),
            format!("denied-allocations {}", counted.denied.get()),
            format!("num-ports-managed {managed}"),
            format!(
                "num-ports-checked-for-last-request {}",
                counted.last_checked()
            ),
            format!("total-allocations {}", counted.granted.get()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_reference_programs() {
        let statistics = Statistics::new(PortserverMetrics::default());
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
