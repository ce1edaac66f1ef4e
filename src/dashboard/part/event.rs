//! An event as a row.

use jiff::Timestamp;

use super::badge::Badge;
use crate::dashboard::format::When;
use crate::domain::attempt::printable;
use crate::domain::event::{Event, EventKind};
use crate::domain::lease::State;

/// One row of a list of events.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// When.
    pub at: When,
    /// What.
    pub kind: Badge,
    /// The port it is about, such as "20001/tcp".
    pub port: Option<String>,
    /// The rest in words, some of them perhaps from outside.
    pub detail: String,
}

impl EventRow {
    /// The row of an event.
    pub fn of(event: &Event, now: Timestamp) -> Self {
        let protocol = event.protocol.map(|protocol| format!("/{protocol}"));
        let protocol = protocol.unwrap_or_default();
        Self {
            at: When::of(event.at, now),
            kind: Badge::event(event.kind),
            port: event.port.map(|port| format!("{port}{protocol}")),
            detail: detail(event),
        }
    }
}

fn detail(event: &Event) -> String {
    let detail = printable(&event.detail);
    match event.kind {
        EventKind::Granted => format!("from pool {detail}"),
        EventKind::LateConflict => format!("taken by {detail}"),
        // It tells the state that the lease ended in.
        EventKind::Ended => match detail.parse::<State>() {
            Ok(state) => state.describe().to_owned(),
            Err(_) => detail,
        },
        _ => detail,
    }
}
