//! What each operation is for, in the order of the tags.

mod history;
mod leases;
mod ports;
mod service;

use super::operation::Operation;

/// Every operation of the API.
pub(super) fn operations() -> Vec<Operation> {
    let tags = [
        leases::operations(),
        ports::operations(),
        history::operations(),
        service::operations(),
    ];
    tags.into_iter().flatten().collect()
}
