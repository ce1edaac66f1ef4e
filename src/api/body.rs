//! Reading a JSON body: its limit, its type, and what is wrong with it, in one form of error.

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Payload;
use serde::de::DeserializeOwned;

use super::problem::{Code, Problem};

/// Far more than any request needs.
const LIMIT_BYTES: usize = 64 * 1024;

/// The body as `T`; its default where there is no body.
pub(super) async fn json<T: DeserializeOwned + Default>(
    request: &HttpRequest,
    payload: Payload,
) -> Result<T, Problem> {
    let bytes = match payload.to_bytes_limited(LIMIT_BYTES).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(Problem::new(Code::InvalidRequest, error.to_string())),
        Err(_) => {
            let detail = format!("the body is larger than {LIMIT_BYTES} bytes");
            return Err(Problem::new(Code::TooLarge, detail));
        }
    };
    if bytes.is_empty() {
        return Ok(T::default());
    }
    if !is_json(request) {
        let detail = "the body must be JSON and say so: Content-Type: application/json";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))
}

fn is_json(request: &HttpRequest) -> bool {
    let given = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    given.is_some_and(|given| {
        let essence = given.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    })
}
