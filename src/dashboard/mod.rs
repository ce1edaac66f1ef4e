//! The console's pages: server-rendered, complete without a script, live with one. They show what
//! is and decide nothing.
//!
//! A page is one file here with the structs that its template reads; `part` holds the rows that
//! several pages show, `format` the way times and numbers are written.

pub mod assets;
mod errors;
mod format;
mod overview;
mod part;

use actix_web::web::{ServiceConfig, get, head};

use crate::api::{READING, resource};
use crate::domain::event::EventKind;

/// Adds every page, and what the pages load.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            resource("/", READING)
                .route(get().to(overview::show))
                .route(head().to(overview::show)),
        )
        .service(
            resource("/errors/{code}", READING)
                .route(get().to(errors::show))
                .route(head().to(errors::show)),
        )
        .service(
            resource("/static/{file}", READING)
                .route(get().to(assets::serve))
                .route(head().to(assets::serve)),
        );
}

/// The kinds of event that the script listens to; an `EventSource` must name each.
fn event_kinds() -> String {
    EventKind::ALL.map(EventKind::as_str).join(" ")
}
