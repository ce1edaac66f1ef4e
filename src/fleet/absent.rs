//! Stands in for the fleet in builds without the feature `fleet`. Settings that name an engine are
//! refused there, so nothing has to run.

use std::future::{Ready, ready};

use crate::engine::fleet::FleetCounters;
use crate::engine::service::Service;

/// Does nothing: this build loads no fence.
pub fn unload_fence(_: Service) -> Ready<()> {
    ready(())
}

/// Does nothing.
pub fn run(_: Service, _: FleetCounters) -> Ready<()> {
    ready(())
}
