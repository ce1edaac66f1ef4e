//! The life of leases after they were granted: gates, owners, endings, repairs, restarts.

pub(super) mod address;
pub(super) mod assist;
pub(super) mod conflict;
pub(super) mod container;
pub(super) mod deadline;
pub(super) mod descriptor;
pub(super) mod ending;
pub(super) mod folder;
pub(super) mod gate;
pub(super) mod gone;
pub(super) mod note;
pub(super) mod own;
pub(super) mod record;
pub(super) mod regain;
pub(super) mod repair;
pub(super) mod restart;
pub(super) mod resume;
pub(super) mod stock;
pub(super) mod survivor;
pub(super) mod suspects;
#[cfg(test)]
pub(super) mod tests;
pub(super) mod undoing;
pub(super) mod watch;
