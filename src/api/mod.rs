//! JSON over HTTP. Decides nothing: operations stand in `answers`, and `operations` makes them routes.

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
mod respond;
pub mod trace;

use std::sync::Arc;

use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, Resource, ResponseError};

use crate::config::Loaded;
use crate::engine::service::Service;
use problem::{Code, Problem};

/// State shared by all handlers.
#[derive(Debug)]
pub struct AppState {
    /// The engine.
    pub service: Service,
    /// Settings in force, each with the place it came from.
    pub loaded: Arc<std::sync::RwLock<Arc<Loaded>>>,
    /// Address of the console; empty until it listens, and if it is off.
    pub console: Arc<std::sync::OnceLock<String>>,
    /// User id of the service.
    pub uid: u32,
}

impl AppState {
    /// The settings in force.
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
        .app_data(web::Data::new(operations::OpenApi(openapi::document)))
        .configure(|config| {
            for resource in operations::resources() {
                config.service(resource);
            }
        });
}

/// The methods of a resource that can only be read.
pub const READING: &str = "GET, HEAD";

/// A resource that refuses other methods with a problem, and lists its own (RFC 9110, 15.5.6).
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
