//! JSON over HTTP: one file a resource, one table of errors. Nothing is decided here.

pub mod allocations;
pub mod attempts;
mod body;
pub mod configuration;
mod csv;
mod endpoint;
pub mod events;
pub mod exclusions;
pub mod export;
mod health;
mod history;
pub mod interfaces;
pub mod leases;
pub mod listeners;
pub mod logins;
mod metrics;
mod occupants;
pub mod openapi;
mod paging;
pub mod pools;
pub mod ports;
pub mod problem;
mod snapshots;
pub mod stats;
pub mod trace;

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, Resource, ResponseError};

pub use crate::answers::document;
use crate::config::Loaded;
use crate::engine::service::Service;
use endpoint::Endpoint;
use problem::{Code, Problem};

/// What every handler can reach.
#[derive(Debug)]
pub struct AppState {
    /// The engine.
    pub service: Service,
    /// The settings in force, with where they came from.
    pub loaded: Arc<std::sync::RwLock<Arc<Loaded>>>,
    /// Where the console listens; empty until it does, and where it is switched off.
    pub console: Arc<std::sync::OnceLock<String>>,
    /// The user that the service runs as.
    pub uid: u32,
}

impl AppState {
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
        .configure(|config| {
            for endpoint in endpoints() {
                config.service(endpoint.resource());
            }
        });
}

/// Every resource of the API; `openapi` describes each.
fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/livez").get(health::livez),
        Endpoint::at("/readyz").get(health::readyz),
        Endpoint::at("/metrics").get(metrics::show),
        Endpoint::at("/api/v1/leases")
            .get(leases::list)
            .post(leases::create),
        Endpoint::at("/api/v1/leases/{id}")
            .get(leases::show)
            .delete(leases::release),
        Endpoint::at("/api/v1/leases/{id}/renew").post(leases::renew),
        Endpoint::at("/api/v1/allocations/{id}").get(allocations::show),
        Endpoint::at("/api/v1/attempts").get(attempts::list),
        Endpoint::at("/api/v1/history/prune").post(history::prune),
        Endpoint::at("/api/v1/history/attempts").get(history::attempts),
        Endpoint::at("/api/v1/history/days").get(history::days),
        Endpoint::at("/api/v1/history/{kind}").get(history::export),
        Endpoint::at("/api/v1/stats").get(stats::show),
        Endpoint::at("/api/v1/ports/{protocol}/{port}").get(ports::show),
        Endpoint::at("/api/v1/ports/{protocol}/{port}/exclusion")
            .route(Method::PUT, exclusions::put)
            .delete(exclusions::delete),
        Endpoint::at("/api/v1/exclusions")
            .get(exclusions::list)
            .route(Method::PUT, exclusions::put_range)
            .delete(exclusions::delete_range),
        Endpoint::at("/api/v1/ports/{port}").get(ports::show_tcp),
        Endpoint::at("/api/v1/listeners").get(listeners::list),
        Endpoint::at("/api/v1/snapshots").post(snapshots::create),
        Endpoint::at("/api/v1/logins").post(logins::create),
        Endpoint::at("/api/v1/interfaces").get(interfaces::list),
        Endpoint::at("/api/v1/pools").get(pools::list),
        Endpoint::at("/api/v1/config").get(configuration::show),
        Endpoint::at("/api/v1/events").get(events::stream),
        Endpoint::at("/api/v1/status").get(health::status),
        Endpoint::at("/api/v1/openapi.json").get(openapi::show),
    ]
}

/// The methods of a resource that can only be read.
pub const READING: &str = "GET, HEAD";

/// A resource that answers other methods in the same form as every other error, and says which
/// there are (RFC 9110, 15.5.6).
pub fn resource(path: &str, allow: &str) -> Resource {
    let allow = allow.to_owned();
    let refuse = move |request: HttpRequest| {
        let detail = format!("{} is not for {}", request.method(), request.path());
        let mut answer = Problem::new(Code::MethodNotAllowed, detail).error_response();
        if let Ok(allow) = HeaderValue::from_str(&allow) {
            answer.headers_mut().insert(ALLOW, allow);
        }
        std::future::ready(answer)
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
