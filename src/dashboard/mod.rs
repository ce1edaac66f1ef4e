//! The console's pages: server-rendered, complete without a script, live with one. They show what
//! is and decide nothing.
//!
//! A page is one file here with the structs that its template reads; `part` holds the rows that
//! several pages show, `format` the way times and numbers are written.

mod allocation;
mod api;
pub mod assets;
mod attempts;
mod configuration;
mod conflicts;
mod errors;
mod format;
mod frame;
mod interfaces;
mod lease;
mod leases;
mod login;
mod map;
mod overview;
mod page;
mod part;
mod port;
mod refused;
mod releasing;
mod search;
mod status;
mod trying;

use actix_web::dev::HttpServiceFactory;
use actix_web::web::{FormConfig, ServiceConfig, get, head, post};
use actix_web::{FromRequest, Handler, Responder};

pub use self::refused::as_page;

use self::errors::PageError;
use crate::api::problem::{Code, Problem};
use crate::api::{READING, resource};
use crate::domain::event::EventKind;
use crate::domain::words::words_of;

/// Adds every page, and what the pages load.
pub fn routes(config: &mut ServiceConfig) {
    config
        .app_data(
            FormConfig::default()
                .limit(64 * 1024)
                .error_handler(|error, _| {
                    let problem = Problem::new(Code::InvalidRequest, format!("the form: {error}"));
                    PageError::from(problem).into()
                }),
        )
        .service(page("/", overview::show))
        .service(page("/map", map::show))
        .service(page("/ports/{protocol}/{port}", port::show))
        .service(
            resource("/ports/{protocol}/{port}/exclude", "POST").route(post().to(port::exclude)),
        )
        .service(
            resource("/ports/{protocol}/{port}/include", "POST").route(post().to(port::include)),
        )
        .service(resource("/ports/{protocol}/{port}/keep", "POST").route(post().to(port::keep)))
        .service(page("/interfaces", interfaces::show))
        .service(page("/search", search::find))
        .service(page("/leases", leases::show))
        .service(resource("/leases/release", "POST").route(post().to(leases::release)))
        .service(page("/leases/{id}", lease::show))
        .service(resource("/leases/{id}/release", "POST").route(post().to(lease::release)))
        .service(resource("/leases/{id}/renew", "POST").route(post().to(lease::renew)))
        .service(page("/status", status::show))
        .service(page("/config", configuration::show))
        .service(
            resource("/login", "GET, HEAD, POST")
                .route(get().to(login::show))
                .route(head().to(login::show))
                .route(post().to(login::enter)),
        )
        .service(resource("/logout", "POST").route(post().to(login::leave)))
        .service(page("/attempts", attempts::show))
        .service(page("/conflicts", conflicts::show))
        .service(page("/allocations/{id}", allocation::show))
        .service(
            resource("/try", "GET, HEAD, POST")
                .route(get().to(trying::show))
                .route(head().to(trying::show))
                .route(post().to(trying::grant)),
        )
        .service(page("/api", api::show))
        .service(page("/errors/{code}", errors::show))
        .service(page("/static/{file}", assets::serve));
}

/// A page that can only be read.
fn page<F, Args>(path: &str, handler: F) -> impl HttpServiceFactory + 'static
where
    F: Handler<Args> + Clone,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource(path, READING)
        .route(get().to(handler.clone()))
        .route(head().to(handler))
}

/// The kinds of event that the script listens to; an `EventSource` must name each.
fn event_kinds() -> String {
    words_of::<EventKind>().collect::<Vec<_>>().join(" ")
}
