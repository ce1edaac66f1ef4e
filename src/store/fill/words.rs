//! Numbers of words (table `word`), as the filler knows them: rows have a number where others repeat
//! their text.

use std::collections::HashMap;

use rusqlite::{Connection, Result, params};

/// Number of words that are remembered. Beyond it all are looked up anew.
const MOST: usize = 4096;

/// A word is kept for as long as rows use it: its day is that of the latest one.
const WORD: &str = "insert into word (text, day) values (?1, ?2) \
     on conflict do update set day = max(day, excluded.day) returning id";

/// Words that were looked up.
#[derive(Debug, Default)]
pub(in crate::store) struct Words(HashMap<String, Known>);

#[derive(Debug, Clone, Copy)]
struct Known {
    id: i64,
    /// Day up to which the table keeps it.
    day: i64,
}

impl Words {
    /// Returns the number of a word that a row of this time uses; adds the word if it is new.
    pub(super) fn id(&mut self, connection: &Connection, text: &str, at_ms: i64) -> Result<i64> {
        let day = at_ms.div_euclid(86_400_000);
        if let Some(known) = self.0.get(text).filter(|known| known.day >= day) {
            return Ok(known.id);
        }
        let mut word = connection.prepare_cached(WORD)?;
        let id = word.query_row(params![text, day], |row| row.get(0))?;
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(text.to_owned(), Known { id, day });
        Ok(id)
    }

    /// Returns the number of a word. `None` if there is no word.
    pub(super) fn maybe_id(
        &mut self,
        connection: &Connection,
        text: Option<&str>,
        at_ms: i64,
    ) -> Result<Option<i64>> {
        text.map(|text| self.id(connection, text, at_ms))
            .transpose()
    }

    /// Forgets all words: the transaction that added some was taken back.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
