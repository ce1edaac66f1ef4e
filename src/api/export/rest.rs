//! Rows that an export with a `limit` leaves out: the query that asks for them.

use super::{Export, Page};
use crate::api::attempts::{Parameters, attempts_before, fixed_times};
use crate::store::{ExportTable, StoreError};

impl Export {
    /// Returns the parameters in which the query of the remaining rows differs from this one. `None` if
    /// no rows remain. Called before the first row is sent: no header can be sent later.
    pub async fn rest(&self) -> Result<Option<Parameters>, StoreError> {
        if self.left == u32::MAX {
            return Ok(None);
        }
        match &self.page {
            Page::Attempts(filter) => {
                let last = self.reader.last_before_more(filter, self.left).await?;
                Ok(last.map(|seq| attempts_before(filter, seq)))
            }
            Page::Table(table, filter) => {
                let mut last_and_next = filter.clone();
                last_and_next.skip = self.left.saturating_sub(1);
                last_and_next.of.limit = 2;
                let rows = self.reader.export(*table, &last_and_next).await?;
                let [last, _next] = &rows[..] else {
                    return Ok(None);
                };
                let mut parameters = Parameters::new();
                if *table == ExportTable::Days {
                    parameters = fixed_times(filter.of.since, filter.of.until);
                }
                parameters.push(("after", last.key.clone()));
                Ok(Some(parameters))
            }
        }
    }
}
