//! The console's pages: rendered here, complete without a script, live with one. They show the
//! service and decide nothing.
//!
//! A page is one file with the struct that its template reads. Templates read documents and domain
//! values; `part` has the words for them that several pages share, `chart` the pictures, `format` and
//! `filters` the way times and numbers are written.

mod allocation;
mod api;
pub mod assets;
mod attempts;
mod chart;
mod configuration;
mod conflicts;
mod errors;
mod filters;
#[cfg(feature = "fleet")]
mod fleet;
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
#[cfg(test)]
mod tests_support;
mod trying;
mod undoing;

use actix_web::middleware::Compress;
use actix_web::web::{FormConfig, ServiceConfig, get, head, post};
use actix_web::{FromRequest, Handler, Resource, Responder};

pub use self::refused::as_page;

use self::errors::PageError;
use crate::api::problem::{Code, Problem};
use crate::api::{READING, resource};
use crate::domain::event::EventKind;
use crate::domain::words::words_of;

/// The methods of a page that is the target of its own form.
const READING_AND_FORM: &str = "GET, HEAD, POST";

/// Adds every page and the static files.
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
        .service(page("/", READING, overview::show))
        .service(page("/interfaces", READING, interfaces::show))
        .service(page("/search", READING, search::find))
        .service(page("/status", READING, status::show))
        .service(page("/config", READING, configuration::show))
        .service(page("/attempts", READING, attempts::show))
        .service(page("/conflicts", READING, conflicts::show))
        .service(page("/allocations/{id}", READING, allocation::show))
        // These are long, and hold no text of a user: with one, its compressed length could tell of the rest.
        .service(page("/map", READING, map::show).wrap(Compress::default()))
        .service(page("/api", READING, api::show).wrap(Compress::default()))
        .service(page("/static/{file}", READING, assets::serve).wrap(Compress::default()))
        .service(page("/errors/{code}", READING, errors::show))
        .configure(ports)
        .configure(leases_and_logins);
    #[cfg(feature = "fleet")]
    config.service(page("/fleet", READING, fleet::show));
}

fn ports(config: &mut ServiceConfig) {
    config
        .service(page("/ports/{protocol}/{port}", READING, port::show))
        .service(form("/ports/{protocol}/{port}/exclude").route(post().to(port::exclude)))
        .service(form("/ports/{protocol}/{port}/include").route(post().to(port::include)))
        .service(form("/ports/{protocol}/{port}/keep").route(post().to(port::keep)));
}

fn leases_and_logins(config: &mut ServiceConfig) {
    config
        .service(page("/leases", READING, leases::show))
        .service(form("/leases/release").route(post().to(leases::release)))
        .service(form("/leases/undo").route(post().to(undoing::several)))
        .service(page("/leases/{id}", READING, lease::show))
        .service(form("/leases/{id}/undo").route(post().to(undoing::one)))
        .service(form("/leases/{id}/release").route(post().to(lease::release)))
        .service(form("/leases/{id}/renew").route(post().to(lease::renew)))
        .service(form("/leases/{id}/note").route(post().to(lease::note)))
        .service(page("/try", READING_AND_FORM, trying::show).route(post().to(trying::grant)))
        .service(page("/login", READING_AND_FORM, login::show).route(post().to(login::enter)))
        .service(form("/logout").route(post().to(login::leave)));
}

/// A page, with the methods that its address allows.
fn page<F, Args>(path: &str, allow: &str, handler: F) -> Resource
where
    F: Handler<Args> + Clone,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource(path, allow)
        .route(get().to(handler.clone()))
        .route(head().to(handler))
}

/// The target of a form.
fn form(path: &str) -> Resource {
    resource(path, "POST")
}

/// The kinds of events that the script listens to: an `EventSource` has to name each of them.
fn event_kinds() -> String {
    words_of::<EventKind>().collect::<Vec<_>>().join(" ")
}
