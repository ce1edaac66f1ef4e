//! A hash table that programs in the kernel read, and its content, of which each change writes the difference.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::call::Map;

/// Content of a table: keys of `K` bytes, values of `V`.
pub(super) type Content<const K: usize, const V: usize> = BTreeMap<[u8; K], [u8; V]>;

/// A hash table that programs read, and what is in it.
#[derive(Debug)]
pub(super) struct Table<const K: usize, const V: usize> {
    map: Map<K, V>,
    content: Content<K, V>,
}

impl<const K: usize, const V: usize> Table<K, V> {
    /// Makes a table with room for `most` keys.
    pub(super) fn of(content: &Content<K, V>, most: u32) -> io::Result<Self> {
        let mut table = Self {
            map: Map::with_room_for(most)?,
            content: BTreeMap::new(),
        };
        table.change_to(content)?;
        Ok(table)
    }

    /// Gives it this content. Keys that it has in common with the last one are there all the time.
    pub(super) fn change_to(&mut self, wanted: &Content<K, V>) -> io::Result<()> {
        for (key, value) in wanted {
            if self.content.get(key) != Some(value) {
                self.map.set(key, value)?;
                self.content.insert(*key, *value);
            }
        }
        let unwanted = self.content.keys().filter(|key| !wanted.contains_key(*key));
        for key in unwanted.copied().collect::<Vec<_>>() {
            self.map.remove(&key)?;
            self.content.remove(&key);
        }
        Ok(())
    }
}

impl<const K: usize, const V: usize> AsFd for Table<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
