//! Reading a JSON body: its limit, its type, and what is wrong with it, in one form of error.

use actix_web::HttpRequest;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Payload;
use serde::de::DeserializeOwned;
use serde_json::Value;

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
    // Serde would also take the fields of a struct as an array, in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        let detail = "the body must be a JSON object";
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    serde_json::from_slice(&bytes).or_else(|error| {
        let in_whole_numbers = serde_json::from_slice(&bytes).ok().and_then(whole);
        let read = in_whole_numbers.and_then(|value| serde_json::from_value(value).ok());
        read.ok_or_else(|| Problem::new(Code::InvalidRequest, error.to_string()))
    })
}

/// The same with `8.0` as 8: JSON has one kind of number (RFC 8259, section 6), and some languages
/// write all of theirs like that. None where there is no such number.
fn whole(mut value: Value) -> Option<Value> {
    fn mend(value: &mut Value, mended: &mut bool) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| mend(value, mended)),
            Value::Object(fields) => fields.values_mut().for_each(|value| mend(value, mended)),
            Value::Number(number) => {
                let float = number.as_f64().filter(|float| float.fract() == 0.0);
                // By way of text, which is exact where a cast would have to be trusted.
                let whole = float.and_then(|float| format!("{float:.0}").parse::<i64>().ok());
                if let Some(whole) = whole.filter(|_| number.is_f64()) {
                    *value = whole.into();
                    *mended = true;
                }
            }
            _ => {}
        }
    }
    let mut mended = false;
    mend(&mut value, &mut mended);
    mended.then_some(value)
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
