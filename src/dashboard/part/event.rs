//! Events in words.

use crate::domain::attempt::printable;
use crate::domain::event::{Event, EventKind};
use crate::domain::lease::State;

/// The detail of an event as a phrase that follows its kind.
pub fn detail(event: &Event) -> String {
    let detail = printable(&event.detail);
    match event.kind {
        EventKind::Granted => format!("from pool {detail}"),
        EventKind::LateConflict => format!("taken by {detail}"),
        // The detail is the state that the lease ended in.
        EventKind::Ended => match detail.parse::<State>() {
            Ok(state) => state.describe().to_owned(),
            Err(_) => detail,
        },
        _ => detail,
    }
}
