//! What a port server counts, under the names of the reference program.

use crate::telemetry::metrics::PortserverMetrics;

/// Counters of the port server since its start.
#[derive(Debug)]
pub struct Statistics(PortserverMetrics);

impl Statistics {
    /// Statistics that count there.
    pub const fn new(metrics: PortserverMetrics) -> Self {
        Self(metrics)
    }

    /// Something was sent that is no request.
    pub(super) fn client_error(&self) {
        self.0.malformed.inc();
    }

    /// A request was refused, after so many ports were looked at in vain if any were.
    pub(super) fn denied(&self, checked: Option<usize>) {
        self.0.denied.inc();
        if let Some(checked) = checked {
            self.0.checked(checked);
        }
    }

    /// A port was granted, the last of so many that were looked at.
    pub(super) fn allocated(&self, checked: usize) {
        self.0.granted.inc();
        self.0.checked(checked);
    }

    /// One line each, in the reference program's order; `managed` is how many ports the pool has.
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
