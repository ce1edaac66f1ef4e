//! JSON over HTTP: one file a resource, one table of errors. Nothing is decided here.

pub mod allocations;
pub mod attempts;
mod body;
pub mod configuration;
mod csv;
pub mod document;
mod events;
pub mod exclusions;
pub mod export;
mod health;
mod history;
pub mod interfaces;
pub mod leases;
pub mod logins;
mod metrics;
pub mod pools;
pub mod ports;
pub mod problem;
mod snapshots;
pub mod stats;
pub mod trace;

use std::sync::Arc;

use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{
    FromRequest, Handler, HttpRequest, Resource, Responder, ResponseError, Route, guard,
};

use crate::config::Loaded;
use crate::engine::service::Service;
use problem::{Code, Problem};

/// What every handler can reach.
#[derive(Debug)]
pub struct Face {
    /// The engine.
    pub service: Service,
    /// The settings in force, with where they came from.
    pub loaded: Arc<std::sync::RwLock<Arc<Loaded>>>,
    /// Where the console listens; empty until it does, and where it is switched off.
    pub console: Arc<std::sync::OnceLock<String>>,
    /// The user that the service runs as.
    pub uid: u32,
}

impl Face {
    /// The settings in force, with where they came from.
    pub fn loaded(&self) -> Arc<Loaded> {
        let loaded = self.loaded.read();
        Arc::clone(&loaded.unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// Adds every route of the API.
pub fn routes(config: &mut ServiceConfig) {
    config
        .app_data(web::QueryConfig::default().error_handler(|error, _| {
            Problem::new(Code::InvalidRequest, format!("the query: {error}")).into()
        }))
        .service(resource("/livez", READING).route(read(health::livez)))
        .service(resource("/readyz", READING).route(read(health::readyz)))
        .service(resource("/metrics", READING).route(read(metrics::show)))
        .service(
            web::scope("/api/v1")
                .service(
                    resource("/leases", "GET, HEAD, POST")
                        .route(read(leases::list))
                        .route(web::post().to(leases::create)),
                )
                .service(
                    resource("/leases/{id}", "GET, HEAD, DELETE")
                        .route(read(leases::show))
                        .route(web::delete().to(leases::release)),
                )
                .service(
                    resource("/leases/{id}/renew", "POST").route(web::post().to(leases::renew)),
                )
                .service(resource("/allocations/{id}", READING).route(read(allocations::show)))
                .service(resource("/attempts", READING).route(read(attempts::list)))
                .service(resource("/history/prune", "POST").route(web::post().to(history::prune)))
                .service(resource("/history/{kind}", READING).route(read(history::export)))
                .service(resource("/stats", READING).route(read(stats::show)))
                .service(resource("/ports/{protocol}/{port}", READING).route(read(ports::show)))
                .service(
                    resource("/ports/{protocol}/{port}/exclusion", "DELETE, PUT")
                        .route(web::put().to(exclusions::put))
                        .route(web::delete().to(exclusions::delete)),
                )
                .service(resource("/exclusions", READING).route(read(exclusions::list)))
                .service(resource("/ports/{port}", READING).route(read(ports::show_tcp)))
                .service(resource("/snapshots", "POST").route(web::post().to(snapshots::create)))
                .service(resource("/logins", "POST").route(web::post().to(logins::create)))
                .service(resource("/interfaces", READING).route(read(interfaces::list)))
                .service(resource("/pools", READING).route(read(pools::list)))
                .service(resource("/config", READING).route(read(configuration::show)))
                .service(resource("/events", "GET").route(web::get().to(events::stream)))
                .service(resource("/status", READING).route(read(health::status))),
        );
}

/// A handler for GET, and for HEAD, which is GET without the body (RFC 9110, 9.3.2).
fn read<F, Args>(handler: F) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let reading = guard::Any(guard::Get()).or(guard::Head());
    web::route().guard(reading).to(handler)
}

/// The methods of a resource that can only be read.
pub const READING: &str = "GET, HEAD";

/// A resource that answers other methods in the same form as every other error, and says which
/// there are (RFC 9110, 15.5.6).
pub fn resource(path: &str, allow: &'static str) -> Resource {
    let refuse = move |request: HttpRequest| async move {
        let detail = format!("{} is not for {}", request.method(), request.path());
        let mut answer = Problem::new(Code::MethodNotAllowed, detail).error_response();
        let headers = answer.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static(allow));
        answer
    };
    web::resource(path).default_service(web::to(refuse))
}

/// The answer where no route matches.
pub async fn not_found(request: HttpRequest) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("there is nothing at {}", request.path()),
    )
}
