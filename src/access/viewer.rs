//! The viewer of a request, for handlers.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::answers::problem::Problem;
pub use crate::answers::viewer::Viewer;
use crate::answers::viewer::token_needed;

impl FromRequest for Viewer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // `check` has put it there; a route outside that middleware is refused.
        let viewer = request.extensions().get::<Self>().cloned();
        ready(viewer.ok_or_else(token_needed))
    }
}
