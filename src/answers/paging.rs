//! Lists in pages: the number of rows in an answer, and the address of the next page.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::Operation;
use super::problem::Problem;

/// Number of rows in an answer without `limit`.
pub const DEFAULT_LIMIT: u32 = 100;

/// Maximum number of rows in an answer.
pub const MAX_LIMIT: u32 = 1000;

/// The query of a list that is always whole; it has no parameters.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WholeQuery {}

/// The number of rows to answer; a problem if `limit` is out of bounds.
pub fn limit(limit: Option<u32>) -> Result<u32, Problem> {
    limit_within(limit, DEFAULT_LIMIT, MAX_LIMIT)
}

/// [`limit`] with another default and another maximum.
pub fn limit_within(limit: Option<u32>, default: u32, most: u32) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(default);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!(
        "limit: an answer has 1 to {most} rows, not {limit}; where there are more, its `next` leads to \
         them"
    );
    Err(Problem::invalid(detail))
}

/// Cuts rows to `limit`, and tells whether there were more: callers look for one row beyond it.
pub fn page<T>(mut rows: Vec<T>, limit: u32) -> (Vec<T>, bool) {
    let limit = limit as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    (rows, more)
}

/// The address of an operation with this query, for the next page.
pub fn next<O: Operation>(query: &impl Serialize) -> String {
    // Plain words and numbers: it cannot fail.
    let query = serde_urlencoded::to_string(query).unwrap_or_default();
    format!("{}?{query}", O::PATH)
}

/// The header that names the next page too (RFC 8288). Addresses are percent-encoded, so they have no
/// angle brackets.
pub fn link(next: &str) -> (&'static str, String) {
    ("Link", format!("<{next}>; rel=\"next\""))
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
    fn page_is_followed_only_by_a_further_row() {
        assert_eq!(page(vec![1, 2, 3], 2), (vec![1, 2], true));
        assert_eq!(page(vec![1, 2], 2), (vec![1, 2], false));
    }
}
