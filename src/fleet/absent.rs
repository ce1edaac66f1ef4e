//! Stands in for the fleet in builds without the feature `fleet`. Settings that name an engine are
//! refused there, so nothing has to run.

use std::future::{Ready, ready};

use crate::engine::fleet::FleetCounters;
use crate::engine::service::Service;

/// Does nothing.
pub fn run(_: Service, _: FleetCounters) -> Ready<()> {
    ready(())
}
