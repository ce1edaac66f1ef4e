//! The state of the looks for programs that listen elsewhere.

use std::collections::HashSet;

use crate::domain::lease::LeaseId;

/// Listeners and leases of the last walk: without a change another one finds nothing new.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) listeners: HashSet<u64>,
    pub(super) leases: HashSet<(LeaseId, u64)>,
}
