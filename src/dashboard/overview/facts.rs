//! The state of the service that numbers and items of the overview are made from.

use std::sync::Arc;

use super::past::Past;
use crate::config::Finding;
use crate::domain::health::Check;
use crate::domain::lease::{BootTime, Lease};
use crate::engine::capacity::Capacity;

/// The state of the service.
pub(super) struct Facts<'a> {
    /// The health checks; empty if the service did not answer.
    pub(super) checks: &'a [Check],
    /// The living leases.
    pub(super) leases: &'a [Arc<Lease>],
    pub(super) capacities: &'a [Capacity],
    pub(super) past: &'a Past,
    /// Warnings about the configuration.
    pub(super) warnings: &'a [Finding],
    /// Now, on the clock of deadlines.
    pub(super) boot: BootTime,
}
