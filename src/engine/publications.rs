//! The state of the questions to container engines.

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::lease::{BootTime, LeaseId};
use crate::host::containers::Publication;

/// The containers of the last answers.
#[derive(Debug, Default)]
pub(super) struct Containers {
    pub(super) published: Arc<Vec<Publication>>,
    pub(super) read_at: Option<BootTime>,
    /// Proxies on leases at that time.
    pub(super) proxies: HashSet<(LeaseId, u32)>,
    pub(super) is_reading: bool,
    /// Time since which these proxies are on leases.
    pub(super) changed_at: Option<BootTime>,
}
