//! JSON over HTTP: one file a resource, one table of errors. Nothing is decided here.

pub mod attempts;
mod csv;
pub mod events;
pub mod export;
mod health;
mod history;
mod logins;
mod metrics;
pub mod openapi;
mod operations;
mod paging;
pub mod problem;
pub mod trace;

use std::sync::Arc;

use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, Resource, ResponseError};

pub use crate::answers::{
    allocations, configuration, document, exclusions, interfaces, leases, ports, stats,
};
use crate::config::Loaded;
use crate::engine::service::Service;
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
            for resource in operations::resources() {
                config.service(resource);
            }
        });
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
