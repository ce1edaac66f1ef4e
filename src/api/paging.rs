//! Lists in pages: how many rows an answer has, and the address of the next ones.

use actix_web::http::header::LINK;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};

/// Number of rows in an answer unless `limit` says another.
pub(in crate::api) const DEFAULT_LIMIT: u32 = 100;

/// Maximum number of rows in an answer.
pub(in crate::api) const MAX_LIMIT: u32 = 1000;

/// The query of a list that is always whole: it takes nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Whole {}

/// The number of rows to answer, if `limit` asks for a number that can be answered.
pub(super) fn limit(limit: Option<u32>) -> Result<u32, Problem> {
    limit_within(limit, DEFAULT_LIMIT, MAX_LIMIT)
}

/// The number of rows to answer, within bounds of its own.
pub(super) fn limit_within(limit: Option<u32>, default: u32, most: u32) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(default);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!(
        "limit: an answer has 1 to {most} rows, not {limit}; where there are more, its `next` leads to \
         them"
    );
    Err(Problem::new(Code::InvalidRequest, detail))
}

/// The first `limit` of rows, of which one more was looked for, and whether it was there.
pub(super) fn page<T>(mut rows: Vec<T>, limit: u32) -> (Vec<T>, bool) {
    let limit = limit as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    (rows, more)
}

/// The address of this request with other values for some of its parameters, relative to the host.
pub(super) fn address(request: &HttpRequest, changed: &[(&str, String)]) -> String {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(request.query_string()).unwrap_or_default();
    let kept = pairs
        .into_iter()
        .filter(|(key, _)| !changed.iter().any(|(name, _)| name == key));
    let changed = changed
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    let pairs: Vec<(String, String)> = kept.chain(changed).collect();
    let query = serde_urlencoded::to_string(pairs).unwrap_or_default();
    format!("{}?{query}", request.path())
}

/// A page of a list; its `next` stands in a header too (RFC 8288).
pub(super) fn answer(list: &impl Serialize, next: Option<&str>) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    if let Some(next) = next {
        answer.insert_header((LINK, link(next)));
    }
    answer.json(list)
}

/// The header's value: an address has no angle brackets, as it is percent-encoded.
pub(super) fn link(next: &str) -> String {
    format!("<{next}>; rel=\"next\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_outside_its_bounds_is_refused() {
        assert_eq!(limit(None).unwrap(), 100);
        assert_eq!(limit(Some(1000)).unwrap(), 1000);
        for wrong in [0, 1001, u32::MAX] {
            let problem = limit(Some(wrong)).unwrap_err();
            assert_eq!(problem.code, "invalid_request");
            assert!(problem.detail.contains("1 to 1000"), "{problem}");
        }
    }

    #[test]
    fn next_address_keeps_every_other_parameter() {
        let request = actix_web::test::TestRequest::with_uri("/l?label=a%26b&before=1&limit=2");
        let request = request.to_http_request();
        let next = address(&request, &[("before", "7".to_owned())]);
        assert_eq!(next, "/l?label=a%26b&limit=2&before=7");
    }

    #[test]
    fn page_is_followed_only_by_a_further_row() {
        assert_eq!(page(vec![1, 2, 3], 2), (vec![1, 2], true));
        assert_eq!(page(vec![1, 2], 2), (vec![1, 2], false));
    }
}
