//! Tables of the past as rows for an export: the sums of days, and what history is made of beside
//! attempts (snapshots, sightings, late conflicts, ends of leases), so that a reader can compute its
//! counts again.

use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use sqlx::{QueryBuilder, Sqlite};

use super::condition::and;
use super::filter::AttemptFilter;
use super::{Reader, StoreError};
use crate::domain::lease::Name;
use crate::domain::port::Protocol;

mod plan;

use self::plan::Plan;

/// A table that is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportTable {
    /// Sums of the attempts of a day, latest day first. The others come oldest row first.
    Days,
    /// Snapshots of the sockets of others.
    Snapshots,
    /// Sockets of others, from one snapshot to another without a gap.
    Sightings,
    /// Outsiders found on leased ports.
    Conflicts,
    /// Leases that have ended.
    Endings,
}

/// Filter of exported rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExportFilter {
    /// Conditions and limit, as for attempts. The caller refuses those that a table does not have
    /// ([`ExportTable::filters`]). The user is that of the allocation, of the lease, or of the socket
    /// that was seen. A sighting is in a time if a part of it is, a day if a part of it is.
    pub of: AttemptFilter,
    /// Key of the row that the wanted ones follow: a row that is added or deleted meanwhile moves no
    /// other. `None` for the first rows.
    pub after: Option<String>,
    /// Number of rows to leave out.
    pub skip: u32,
}

/// One exported row. It serializes as an object.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportRow {
    plan: &'static Plan,
    values: Vec<Value>,
    /// Key of the row: a JSON array.
    pub key: String,
}

impl ExportRow {
    /// The value of a column; null if there is no such column.
    pub fn get(&self, column: &str) -> &Value {
        self.plan
            .column(column)
            .and_then(|index| self.values.get(index))
            .unwrap_or(&Value::Null)
    }

    /// Sets the value of a column.
    pub fn set(&mut self, column: &str, value: Value) {
        let index = self.plan.column(column);
        if let Some(old) = index.and_then(|index| self.values.get_mut(index)) {
            *old = value;
        }
    }
}

impl Serialize for ExportRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        for ((name, _), value) in self.plan.columns.iter().zip(&self.values) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl ExportTable {
    /// Names of the columns in the order of a spreadsheet.
    pub fn heading(self) -> Vec<&'static str> {
        match self.plan().heading {
            [] => self.plan().columns.iter().map(|(name, _)| *name).collect(),
            heading => heading.to_vec(),
        }
    }

    /// Number of values in a key.
    pub const fn key_length(self) -> usize {
        self.plan().key.len()
    }

    /// Names of the filters that the table has.
    pub fn filters(self) -> Vec<&'static str> {
        let conditions = self.plan().conditions.iter();
        conditions.map(|(name, _)| *name).collect()
    }

    /// Whether the rows belong to a user, so that other users but root do not see them.
    pub const fn is_owned(self) -> bool {
        matches!(self, Self::Days | Self::Conflicts | Self::Endings)
    }

    const fn plan(self) -> &'static Plan {
        match self {
            Self::Days => &plan::DAYS,
            Self::Snapshots => &plan::SNAPSHOTS,
            Self::Sightings => &plan::SIGHTINGS,
            Self::Conflicts => &plan::CONFLICTS,
            Self::Endings => &plan::ENDINGS,
        }
    }
}

impl Reader {
    /// Returns the rows of a table that a filter leaves, in the table's order.
    pub async fn export(
        &self,
        table: ExportTable,
        filter: &ExportFilter,
    ) -> Result<Vec<ExportRow>, StoreError> {
        let plan = table.plan();
        let mut query = QueryBuilder::new(plan.select());
        narrow(&mut query, plan, filter);
        query.push(plan.order_by());
        query.push(" limit ").push_bind(filter.of.limit);
        query.push(" offset ").push_bind(filter.skip);
        let rows: Vec<(String, String)> = query.build_query_as().fetch_all(&self.pool).await?;
        let rows = rows.into_iter().map(|(values, key)| {
            let values = serde_json::from_str(&values)
                .map_err(|error| StoreError::unreadable("a row of history", error))?;
            Ok(ExportRow { plan, values, key })
        });
        rows.collect()
    }
}

fn narrow(query: &mut QueryBuilder<Sqlite>, plan: &Plan, filter: &ExportFilter) {
    let of = &filter.of;
    let ms = Timestamp::as_millisecond;
    and(query, plan.condition("uid"), of.uid);
    and(query, plan.condition("since"), of.since.map(ms));
    and(query, plan.condition("until"), of.until.map(ms));
    and(query, &plan.follows(), filter.after.as_deref());
    let protocol = of.protocol.map(Protocol::as_str);
    and(query, plan.condition("protocol"), protocol);
    and(query, plan.condition("pool"), of.pool.as_deref());
    and(query, plan.condition("interface"), of.interface.as_deref());
    and(
        query,
        plan.condition("name"),
        of.name.as_ref().map(Name::as_str),
    );
    if let Some(ports) = &of.ports {
        and(query, plan.condition("port"), Some(*ports.start()));
        query.push(" and ").push_bind(*ports.end());
    }
}
