//! Operations as routes of actix-web.

use std::collections::BTreeMap;

use actix_web::http::Method as HttpMethod;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::web::{self, Bytes, Data, Path, Payload};
use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route, guard,
};

use crate::access::Viewer;
use crate::answers::operation::{
    Answered, Context, Description, Given, IDEMPOTENCY_KEY, Input, Method, Operation,
    PathParameters,
};
use crate::answers::problem::{Code, Problem};
use crate::api::respond::respond;
use crate::api::{AppState, resource};

/// Maximum size of a body in bytes, far above that of any request.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Paths of leases, which are asked for most.
const LEASES: &str = "/api/v1/leases";

/// An operation with its route.
pub(super) struct Served {
    pub(super) description: Description,
    route: Route,
}

/// An operation that the engine answers.
pub(super) fn answered<O: Answered>() -> Served {
    handled::<O, _, _>(answer::<O>)
}

/// An operation with a handler of its own, which needs more than the engine.
pub(super) fn handled<O, F, Args>(handler: F) -> Served
where
    O: Operation,
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    described(O::description(), handler)
}

/// A handler whose answer is a text or a stream.
pub(super) fn described<F, Args>(description: Description, handler: F) -> Served
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let route = match description.method {
        // HEAD is GET without the body (RFC 9110, 9.3.2).
        Method::Get => web::route().guard(guard::Any(guard::Get()).or(guard::Head())),
        Method::Post => web::method(HttpMethod::POST),
        Method::Put => web::method(HttpMethod::PUT),
        Method::Delete => web::method(HttpMethod::DELETE),
    };
    Served {
        description,
        route: route.to(handler),
    }
}

/// The resources of these operations; each refuses other methods.
pub(super) fn resources(all: Vec<Served>) -> Vec<Resource> {
    let mut by_path: BTreeMap<(bool, bool, &str), Vec<Served>> = BTreeMap::new();
    for served in all {
        let path = served.description.path;
        // Fixed paths come first, since a pattern matches them too; then leases: each pattern before
        // the one that matches costs a request time.
        by_path
            .entry((path.contains('{'), !path.starts_with(LEASES), path))
            .or_default()
            .push(served);
    }
    let resource = |((_, _, path), operations): ((bool, bool, &str), Vec<Served>)| {
        let methods = operations.iter().map(|one| match one.description.method {
            Method::Get => "GET, HEAD",
            method => method.as_str(),
        });
        let resource = resource(path, &methods.collect::<Vec<_>>().join(", "));
        let routes = operations.into_iter().map(|one| one.route);
        routes.fold(resource, Resource::route)
    };
    by_path.into_iter().map(resource).collect()
}

/// The handler of an operation that the engine answers.
async fn answer<O: Answered>(
    state: Data<AppState>,
    viewer: Viewer,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let body = if O::Input::READS_BODY {
        body(payload).await?
    } else {
        Bytes::new()
    };
    let content_type = request.headers().get(CONTENT_TYPE);
    let input = O::Input::read(&Given {
        path: path(&request).await?,
        query: request.query_string(),
        key: request
            .headers()
            .get(IDEMPOTENCY_KEY)
            .map(HeaderValue::as_bytes),
        content_type: content_type.and_then(|value| value.to_str().ok()),
        body: &body,
    })?;
    let context = Context {
        service: &state.service,
        viewer: &viewer,
    };
    Ok(respond(&O::answer(context, input).await?))
}

async fn path(request: &HttpRequest) -> Result<PathParameters, Problem> {
    let path = Path::extract(request).await.map(Path::into_inner);
    path.map_err(|error| Problem::new(Code::NotFound, error.to_string()))
}

async fn body(payload: Payload) -> Result<Bytes, Problem> {
    let read = payload.to_bytes_limited(MAX_BODY_BYTES).await;
    let read = read.map_err(|_| {
        let detail = format!("the body is larger than {MAX_BODY_BYTES} bytes");
        Problem::new(Code::TooLarge, detail)
    })?;
    read.map_err(Problem::invalid)
}
