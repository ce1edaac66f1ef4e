//! Filters of an export that is not of attempts: those that its table has, and no other.

use serde_json::{Map, Value};

use super::kind::Kind;
use crate::access::Viewer;
use crate::api::attempts::AttemptQuery;
use crate::api::problem::{Code, Problem};
use crate::domain::words::listed;
use crate::store::{ExportFilter, ExportTable};

/// Returns the filter of a table as this viewer may use it. A filter that the table does not have is
/// refused.
pub(super) fn of_table(
    kind: Kind,
    table: ExportTable,
    wanted: &AttemptQuery,
    viewer: &Viewer,
    now: jiff::Timestamp,
) -> Result<ExportFilter, Problem> {
    let known = table.filters();
    if let Some(word) = asked(wanted).find(|word| !known.contains(&&**word)) {
        let (kind, known) = (kind.as_str(), listed(&known));
        let detail = format!("{kind} are filtered by {known}: leave the filter \"{word}\" out");
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let uid = if table.is_owned() {
        wanted.user(viewer)?
    } else {
        wanted.uid
    };
    Ok(ExportFilter {
        of: wanted.filter_of(uid, now)?,
        after: key(table, wanted.after.as_deref())?,
        skip: 0,
    })
}

/// Returns the names of the filters that a query uses.
fn asked(wanted: &AttemptQuery) -> impl Iterator<Item = String> {
    // Plain values into memory: it cannot fail.
    let fields: Map<String, Value> = serde_json::to_value(wanted)
        .and_then(serde_json::from_value)
        .unwrap_or_default();
    let is_filter = |name: &str| !matches!(name, "limit" | "after" | "format");
    let used = fields.into_iter().filter(|(_, value)| !value.is_null());
    used.map(|(name, _)| name)
        .filter(move |name| is_filter(name))
}

/// Checks the key of the row that the wanted ones follow: a JSON array, as the header `Link` has it.
fn key(table: ExportTable, after: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(text) = after else { return Ok(None) };
    let is_plain = |value: &Value| value.is_number() || value.is_string() || value.is_boolean();
    match serde_json::from_str::<Vec<Value>>(text) {
        Ok(values) if values.len() == table.key_length() && values.iter().all(is_plain) => {
            Ok(Some(text.to_owned()))
        }
        _ => {
            let detail = format!(
                "after: \"{text}\" is no row of such an export: take it from the header Link"
            );
            Err(Problem::new(Code::InvalidRequest, detail))
        }
    }
}
