//! The dense index of the series of one task.

use hashbrown::HashTable;
use model::{Labels, SeriesId};
use serde::{Deserialize, Serialize};

/// One series that a task knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    pub id: SeriesId,
    pub labels: Labels,
    pub(crate) last_ms: i64,
}

/// Gives each series a slot, at most `limit` of them; freed slots are used again.
///
/// The id is a good hash already, so its low bits index the table without hashing again.
#[derive(Debug)]
pub struct SeriesTable {
    limit: usize,
    index: HashTable<u32>,
    series: Vec<Option<Series>>,
    free: Vec<u32>,
}

impl SeriesTable {
    pub fn with_limit(limit: usize) -> Self {
        Self { limit, index: HashTable::new(), series: Vec::new(), free: Vec::new() }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// All slots, used or free, are below this.
    pub fn slots(&self) -> u32 {
        self.series.len() as u32
    }

    /// What [`restored`](Self::restored) takes: the series by slot, and the free slots in the order of their use.
    pub fn state(&self) -> (&[Option<Series>], &[u32]) {
        (&self.series, &self.free)
    }

    /// The table with that state, or `None` if no table can have it.
    pub fn restored(limit: usize, series: Vec<Option<Series>>, free: Vec<u32>) -> Option<Self> {
        let mut unused = vec![false; series.len()];
        for &slot in &free {
            let unused = unused.get_mut(slot as usize)?;
            if std::mem::replace(unused, true) {
                return None;
            }
        }
        if series.iter().zip(&unused).any(|(entry, unused)| entry.is_none() != *unused) {
            return None;
        }
        let mut table = Self { limit, index: HashTable::with_capacity(series.len()), series, free };
        for slot in 0..table.series.len() {
            let Some(id) = table.series[slot].as_ref().map(|series| series.id) else { continue };
            if table.find(id).is_some() {
                return None;
            }
            table.index_slot(id, slot as u32);
        }
        Some(table)
    }

    pub fn contains(&self, id: SeriesId) -> bool {
        self.find(id).is_some()
    }

    /// A series that is known, with its slot.
    pub fn get_by_id(&self, id: SeriesId) -> Option<(u32, &Series)> {
        let slot = self.find(id)?;
        Some((slot, self.get(slot)?))
    }

    fn find(&self, id: SeriesId) -> Option<u32> {
        let same = |slot: &u32| self.series[*slot as usize].as_ref().is_some_and(|series| series.id == id);
        self.index.find(id.0 as u64, same).copied()
    }

    fn index_slot(&mut self, id: SeriesId, slot: u32) {
        let series = &self.series;
        self.index.insert_unique(id.0 as u64, slot, |slot| {
            series[*slot as usize].as_ref().map_or(0, |series| series.id.0 as u64)
        });
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The slot of a series, which is made if there is room, and its newest point before; `None` at the limit. `time_ms` keeps it
    /// from being evicted.
    pub fn slot_for(
        &mut self,
        id: SeriesId,
        time_ms: i64,
        has_room: bool,
        labels: impl FnOnce() -> Labels,
    ) -> Option<(u32, Option<i64>)> {
        if let Some(slot) = self.find(id) {
            let before_ms = self.series[slot as usize].as_mut().map(|series| {
                let before_ms = series.last_ms;
                series.last_ms = before_ms.max(time_ms);
                before_ms
            });
            return Some((slot, before_ms));
        }
        if !has_room || self.index.len() >= self.limit {
            return None;
        }
        let slot = self.free.pop().unwrap_or(self.series.len() as u32);
        if slot as usize == self.series.len() {
            self.series.push(None);
        }
        self.series[slot as usize] = Some(Series { id, labels: labels(), last_ms: time_ms });
        self.index_slot(id, slot);
        Some((slot, None))
    }

    pub fn get(&self, slot: u32) -> Option<&Series> {
        self.series.get(slot as usize).and_then(Option::as_ref)
    }

    /// The series without a point since `time_ms`, in the order of their slots.
    pub fn idle_since(&self, time_ms: i64) -> impl Iterator<Item = (u32, &Series)> {
        let used =
            self.series.iter().enumerate().filter_map(|(slot, series)| Some((slot as u32, series.as_ref()?)));
        used.filter(move |(_, series)| series.last_ms < time_ms)
    }

    /// Forgets series. Of slots in ascending order the lowest is used again first.
    pub fn remove(&mut self, slots: &[u32]) {
        for &slot in slots {
            let Some(series) = self.series.get_mut(slot as usize).and_then(Option::take) else { continue };
            if let Ok(found) = self.index.find_entry(series.id.0 as u64, |other| *other == slot) {
                found.remove();
            }
        }
        self.free.extend(slots.iter().rev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_stable_bounded_and_used_again() {
        let mut table = SeriesTable::with_limit(2);
        let slot = |table: &mut SeriesTable, name: &str, time_ms| {
            let labels = Labels::of("cart", name);
            table.slot_for(labels.id(), time_ms, true, || labels.clone())
        };
        let known = |slot, before_ms| Some((slot, Some(before_ms)));
        assert_eq!(slot(&mut table, "a", 0), Some((0, None)));
        assert_eq!(slot(&mut table, "b", 5), Some((1, None)));
        assert_eq!(slot(&mut table, "a", 9), known(0, 0));
        assert_eq!(slot(&mut table, "c", 9), None, "at the limit");
        let idle: Vec<(u32, i64)> =
            table.idle_since(6).map(|(slot, series)| (slot, series.last_ms)).collect();
        assert_eq!(idle, [(1, 5)]);
        table.remove(&[1]);
        assert_eq!(slot(&mut table, "c", 10), Some((1, None)));
        assert_eq!(table.get(1).map(|series| series.labels.name()), Some("c"));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn labels_lie_in_a_state_as_the_map_that_is_read_from_it() {
        for labels in [Labels::default(), Labels::of("cart", "b").with("z", "=,\\").with("a", "")] {
            let map = std::collections::BTreeMap::from(labels.clone());
            assert_eq!(crate::state::encode(&labels), crate::state::encode(&map));
            assert_eq!(crate::state::decode::<Labels>(&crate::state::encode(&labels)), Ok(labels));
        }
    }
}
