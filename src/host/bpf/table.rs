//! A hash table that programs in the kernel read, and its content, of which each change writes the difference.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::call::Map;

/// Content of a table: keys of `K` bytes, values of `V`.
pub(super) type Content<const K: usize, const V: usize> = BTreeMap<[u8; K], [u8; V]>;

/// A hash table that programs read, and what was put in it.
#[derive(Debug)]
pub(super) struct Table<const K: usize, const V: usize> {
    map: Map<K, V>,
    content: Content<K, V>,
    most: u32,
}

impl<const K: usize, const V: usize> Table<K, V> {
    /// Makes a table with room for `most` keys.
    pub(super) fn of(content: &Content<K, V>, most: u32) -> io::Result<Self> {
        let mut table = Self {
            map: Map::with_room_for(most)?,
            content: BTreeMap::new(),
            most,
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

    /// Returns the elements that programs have added, at most as many as there is room for.
    pub(super) fn added(&self) -> io::Result<Content<K, V>> {
        let mut added = Content::new();
        let mut key = self.map.next_key(None)?;
        // A program that adds some meanwhile may have the kernel begin anew.
        for _ in 0..2 * self.most {
            let Some(next) = key else { break };
            if !self.content.contains_key(&next)
                && let Some(value) = self.map.get(&next)?
            {
                added.insert(next, value);
            }
            key = self.map.next_key(Some(&next))?;
        }
        Ok(added)
    }

    /// Removes an element that a program has added.
    pub(super) fn remove_added(&mut self, key: &[u8; K]) -> io::Result<()> {
        if self.content.contains_key(key) {
            return Ok(());
        }
        self.map.remove(key)
    }
}

impl<const K: usize, const V: usize> AsFd for Table<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
