//! Rows on their way into a table: a JSON array with one object a row, its members named like the
//! columns. SQL reads them all at once with `json_each`.

use serde::Serialize;

/// The rows of one statement.
#[derive(Debug, Default)]
pub(super) struct Rows(Vec<u8>);

impl Rows {
    /// Rows made from values, one each.
    pub(super) fn of<T>(
        values: impl IntoIterator<Item = T>,
        columns: impl Fn(&mut Row<'_>, T),
    ) -> Self {
        let mut rows = Self::default();
        for value in values {
            rows.add(|row| columns(row, value));
        }
        rows
    }

    /// Adds a row with the columns that `columns` sets.
    pub(super) fn add(&mut self, columns: impl FnOnce(&mut Row<'_>)) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        self.0.push(b'{');
        columns(&mut Row(&mut self.0));
        self.0.push(b'}');
    }

    /// The array, to be bound to a statement.
    pub(super) fn array(&self) -> String {
        format!("[{}]", String::from_utf8_lossy(&self.0))
    }
}

/// A row that is being written.
pub(super) struct Row<'a>(&'a mut Vec<u8>);

impl Row<'_> {
    /// Sets a column. One that is null is left out: SQL reads a missing member as null.
    pub(super) fn set(&mut self, column: &'static str, value: impl Serialize) -> &mut Self {
        let before = self.0.len();
        if !self.0.ends_with(b"{") {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(column.as_bytes());
        self.0.extend_from_slice(b"\":");
        // Values in memory: only a path that is not UTF-8 fails. SQLite then refuses the whole row.
        if let Err(error) = serde_json::to_writer(&mut *self.0, &value) {
            tracing::error!(%error, column, "could not write a column as JSON; its row is refused");
        }
        if self.0.ends_with(b":null") {
            self.0.truncate(before);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_an_array_of_objects_without_nulls() {
        let rows = Rows::of([1, 2], |row, number| {
            row.set("a", None::<u8>).set("b", number).set("c", ":null");
        });
        let text = r#"[{"b":1,"c":":null"},{"b":2,"c":":null"}]"#;
        assert_eq!(rows.array(), text);
    }
}
