//! A map with a bound, that forgets what was not used for longest.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use serde::{Deserialize, Serialize};

use crate::hashing::Written;
use crate::snapshot::{COUNT_MAX, Unsound};

/// Keys are hashes already.
#[derive(Clone, Copy, Default)]
pub(crate) struct HashedKey(u64);

impl Hasher for HashedKey {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

pub(crate) type HashedMap<V> = HashMap<u64, V, BuildHasherDefault<HashedKey>>;

/// From 64-bit hashes to values, at most `capacity` of them. When full, it forgets the half whose last use lies furthest back, so that a step of
/// that cost is rare. What it forgets depends on the order of uses only.
pub(crate) struct RecentMap<V> {
    entries: HashedMap<(u64, V)>,
    capacity: usize,
    /// Counts uses; every entry has another one.
    uses: u64,
    forgotten: u64,
}

/// What is written of a map: of the uses, their order is all that matters.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved<W> {
    /// Least recently used first.
    entries: Vec<(Written, W)>,
    forgotten: u64,
}

impl<V> RecentMap<V> {
    pub fn new(capacity: usize) -> Self {
        RecentMap { entries: HashedMap::default(), capacity: capacity.max(2), uses: 0, forgotten: 0 }
    }

    pub fn get(&mut self, key: u64) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(&key)?;
        self.uses += 1;
        *used = self.uses;
        Some(value)
    }

    pub fn contains(&mut self, key: u64) -> bool {
        self.get(key).is_some()
    }

    /// The value of `key`, made if there is none.
    pub fn entry(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.forget_half();
        }
        self.uses += 1;
        let (used, value) = match self.entries.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert((0, make())),
        };
        *used = self.uses;
        value
    }

    pub fn remove(&mut self, key: u64) -> Option<V> {
        self.entries.remove(&key).map(|(_, value)| value)
    }

    /// What to write of the map; `write` gives what to write of a value.
    pub fn saved<'a, W>(&'a self, write: impl Fn(&'a V) -> W) -> Saved<W> {
        let mut entries: Vec<(u64, u64, &V)> =
            self.entries.iter().map(|(key, (used, value))| (*used, *key, value)).collect();
        entries.sort_unstable_by_key(|(used, ..)| *used);
        let entries = entries.into_iter().map(|(_, key, value)| (Written(key), write(value))).collect();
        Saved { entries, forgotten: self.forgotten }
    }

    /// The map that was saved; `read` gives a value from what was written of it.
    pub fn restored<W>(
        saved: Saved<W>,
        capacity: usize,
        read: impl Fn(W) -> Result<V, Unsound>,
    ) -> Result<Self, Unsound> {
        let mut map = RecentMap::new(capacity);
        let count = saved.entries.len();
        Unsound::unless(count <= map.capacity && saved.forgotten <= COUNT_MAX, "a map is beyond its bounds")?;
        map.entries.reserve(count);
        for (Written(key), value) in saved.entries {
            map.uses += 1;
            map.entries.insert(key, (map.uses, read(value)?));
        }
        Unsound::unless(map.len() == count, "a map has a key twice")?;
        map.forgotten = saved.forgotten;
        Ok(map)
    }

    /// Keeps the entries that `keep` says. It sees them in no particular order, so it must judge each by itself.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut V) -> bool) {
        self.entries.retain(|_, (_, value)| keep(value));
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries were dropped because the map was full.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget_half(&mut self) {
        let mut uses: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
        let middle = uses.len() / 2;
        let (_, &mut oldest_kept, _) = uses.select_nth_unstable(middle);
        let before = self.entries.len();
        self.entries.retain(|_, (used, _)| *used >= oldest_kept);
        self.forgotten += (before - self.entries.len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recently_used_half_stays() {
        let mut map = RecentMap::new(4);
        for key in 0..4 {
            map.entry(key, || key);
        }
        assert!(map.contains(0));
        map.entry(9, || 9);
        assert_eq!(map.len(), 3);
        assert_eq!(map.forgotten(), 2);
        assert!(map.contains(0) && map.contains(3) && map.contains(9));
    }

    #[test]
    fn an_entry_that_exists_needs_no_room() {
        let mut map = RecentMap::new(2);
        map.entry(1, || 'a');
        map.entry(2, || 'b');
        assert_eq!(*map.entry(1, || 'c'), 'a');
        assert_eq!((map.len(), map.forgotten()), (2, 0));
    }
}
