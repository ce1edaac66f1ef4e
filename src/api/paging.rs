//! Lists in pages over HTTP.

use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

pub(super) use crate::answers::paging::{DEFAULT_LIMIT, limit, link, page};

/// The address of this request with other values for some of its parameters.
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

/// A page of a list; its `next` stands in the header `Link` too.
pub(super) fn answer(list: &impl Serialize, next: Option<&str>) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    if let Some(next) = next {
        answer.insert_header(link(next));
    }
    answer.json(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_address_keeps_every_other_parameter() {
        let request = actix_web::test::TestRequest::with_uri("/l?label=a%26b&before=1&limit=2");
        let request = request.to_http_request();
        let next = address(&request, &[("before", "7".to_owned())]);
        assert_eq!(next, "/l?label=a%26b&limit=2&before=7");
    }
}
