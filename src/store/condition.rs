//! Conditions of a filter as SQL.

use sqlx::encode::Encode;
use sqlx::sqlite::Sqlite;
use sqlx::{QueryBuilder, Type};

/// Adds ` and ` and a condition with a value in the place of its `?`. Adds nothing if there is no value.
pub(super) fn and<'v, T>(query: &mut QueryBuilder<Sqlite>, condition: &str, value: Option<T>)
where
    T: Encode<'v, Sqlite> + Type<Sqlite>,
{
    let Some(value) = value else { return };
    let (before, after) = condition.split_once('?').unwrap_or((condition, ""));
    query.push(" and ").push(before);
    query.push_bind(value).push(after);
}

/// Condition that a column with the number of a word has this word. SQLite looks the word up once a
/// query.
pub(super) fn is_word(column: &str) -> String {
    format!("{column} = (select id from word where text = ?)")
}
