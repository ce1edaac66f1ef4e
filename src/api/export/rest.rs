//! The rows that an export with a `limit` leaves out, and how to ask for them.

use serde_json::{Map, Value};

use super::{Export, Page};
use crate::api::problem::{Code, Problem};
use crate::store::LedgerFilter;
use crate::store::{AttemptFilter, DayFilter, DayKey, ExportTable, StoreError};

/// Parameters of a query, by name.
pub type Parameters = Vec<(&'static str, String)>;

impl Export {
    /// What the query of the remaining rows says otherwise than this one's; `None` if there are no more.
    /// It is looked for before the first row is sent: no header can be sent later.
    pub async fn rest(&self) -> Result<Option<Parameters>, StoreError> {
        if self.left == u32::MAX {
            return Ok(None);
        }
        let skip = self.left.saturating_sub(1);
        match &self.page {
            Page::Attempts(filter) => {
                let last = self.reader.last_before_more(filter, self.left).await?;
                Ok(last.map(|seq| attempts_before(filter, seq)))
            }
            Page::Days(filter) => {
                let two = DayFilter {
                    skip,
                    limit: 2,
                    ..filter.clone()
                };
                let days = self.reader.days(&two).await?;
                let last = days.first().filter(|_| days.len() > 1);
                let after = last.map(|last| serde_json::to_string(&last.key()).unwrap_or_default());
                let times = times(filter.since, filter.until);
                Ok(after.map(|after| times.chain([("after", after)]).collect()))
            }
            Page::ExportTable(ledger, filter) => {
                let filter = LedgerFilter {
                    skip,
                    limit: 2,
                    ..filter.clone()
                };
                let two = self.reader.ledger(*ledger, &filter).await?;
                let last = two.first().filter(|_| two.len() > 1);
                let last = last.map(|last| key(*ledger, &ledger.row(last)).to_string());
                Ok(last.map(|after| vec![("after", after)]))
            }
        }
    }
}

/// What asks for the attempts after `seq`. A time that was told from now on (`since=1h`) stays where it
/// was: it would leave out the last rows otherwise.
pub fn attempts_before(filter: &AttemptFilter, seq: i64) -> Parameters {
    let times = times(filter.since, filter.until);
    times.chain([("before", seq.to_string())]).collect()
}

fn times(
    since: Option<jiff::Timestamp>,
    until: Option<jiff::Timestamp>,
) -> impl Iterator<Item = (&'static str, String)> {
    let times = [("since", since), ("until", until)].into_iter();
    times.filter_map(|(name, time)| Some((name, time?.to_string())))
}

/// The key of a row of a ledger, as `after` has it.
fn key(ledger: ExportTable, row: &Map<String, Value>) -> Value {
    let columns = ledger.key().iter();
    columns
        .map(|name| row.get(*name).cloned().unwrap_or_default())
        .collect()
}

/// The row that the wanted ones come after.
pub(super) fn ledger_row(
    ledger: ExportTable,
    after: Option<&str>,
) -> Result<Option<Map<String, Value>>, Problem> {
    let Some(text) = after else { return Ok(None) };
    let values: Vec<Value> = serde_json::from_str(text).map_err(|_| no_row(text))?;
    if values.len() != ledger.key().len() || values.iter().any(|value| !is_plain(value)) {
        return Err(no_row(text));
    }
    let names = ledger.key().iter().map(|name| (*name).to_owned());
    Ok(Some(names.zip(values).collect()))
}

/// The day that the wanted ones come after.
pub(super) fn day_key(after: Option<&str>) -> Result<Option<DayKey>, Problem> {
    let read = |text| serde_json::from_str(text).map_err(|_| no_row(text));
    after.map(read).transpose()
}

fn is_plain(value: &Value) -> bool {
    matches!(value, Value::Number(_) | Value::String(_) | Value::Bool(_))
}

fn no_row(text: &str) -> Problem {
    let detail =
        format!("after: \"{text}\" is no row of such an export: take it from the header Link");
    Problem::new(Code::InvalidRequest, detail)
}
