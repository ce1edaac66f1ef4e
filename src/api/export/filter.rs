//! Filters of an export that is not of attempts: those that its table has, and no other.

use serde_json::Value;

use super::kind::Kind;
use crate::access::Viewer;
use crate::api::attempts::{AttemptQuery, port_range};
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
    if let Some(word) = asked(wanted).find(|word| !known.contains(word)) {
        let (kind, known) = (kind.as_str(), listed(&known));
        let detail = format!("{kind} are filtered by {known}: leave the filter \"{word}\" out");
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let ports = wanted.port.as_deref().map(port_range).transpose();
    let uid = if table.is_owned() {
        wanted.user(viewer)?
    } else {
        wanted.uid
    };
    Ok(ExportFilter {
        uid,
        ports: ports.map_err(|wrong| Problem::new(Code::InvalidRequest, wrong))?,
        protocol: wanted.protocol,
        pool: wanted.pool.clone(),
        interface: wanted.interface.clone(),
        name: wanted.name.clone(),
        since: wanted.since.map(|moment| moment.from(now)),
        until: wanted.until.map(|moment| moment.from(now)),
        after: key(table, wanted.after.as_deref())?,
        skip: 0,
        limit: 0,
    })
}

/// Names of the filters that a query uses.
fn asked(wanted: &AttemptQuery) -> impl Iterator<Item = &'static str> {
    let filters = [
        ("port", wanted.port.is_some()),
        ("protocol", wanted.protocol.is_some()),
        ("uid", wanted.uid.is_some()),
        ("pool", wanted.pool.is_some()),
        ("name", wanted.name.is_some()),
        ("interface", wanted.interface.is_some()),
        ("outcome", wanted.outcome.is_some()),
        ("errno", wanted.errno.is_some()),
        ("strategy", wanted.strategy.is_some()),
        ("allocation", wanted.allocation.is_some()),
        ("before", wanted.before.is_some()),
    ];
    let used = filters.into_iter().filter(|(_, is_used)| *is_used);
    used.map(|(name, _)| name)
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
