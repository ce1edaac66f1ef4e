//! Rows that an export with a `limit` leaves out: the query that asks for them.

use super::{Export, Page};
use crate::api::attempts::{Parameters, attempts_before, fixed_times};
use crate::store::{ExportFilter, ExportTable, StoreError};

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
                let last_and_next = ExportFilter {
                    skip: self.left.saturating_sub(1),
                    limit: 2,
                    ..filter.clone()
                };
                let rows = self.reader.export(*table, &last_and_next).await?;
                let [last, _next] = &rows[..] else {
                    return Ok(None);
                };
                let mut parameters = Parameters::new();
                if *table == ExportTable::Days {
                    parameters = fixed_times(filter.since, filter.until);
                }
                parameters.push(("after", last.key.clone()));
                Ok(Some(parameters))
            }
        }
    }
}
