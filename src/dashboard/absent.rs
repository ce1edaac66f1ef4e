//! Stands in for the console in builds without the feature `console`: no pages, and an answer that
//! tells the reason.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::{self, ServiceConfig};

use crate::api::problem::{Code, Problem};

/// Answers the console's address with the reason for its absence.
pub fn routes(config: &mut ServiceConfig) {
    config.service(web::resource("/").default_service(web::to(absent)));
}

async fn absent() -> Problem {
    let detail = "this build has no console: it was compiled without the feature `console`";
    Problem::new(Code::NotFound, detail)
}

/// Passes errors on as JSON: there are no pages to put them on.
pub async fn as_page<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    next.call(request).await
}
