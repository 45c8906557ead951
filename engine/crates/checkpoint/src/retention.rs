//! Which snapshots are no longer needed.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::{SnapshotName, Stored};

/// Names of all snapshots but the newest `keep` of each partition, oldest first. What is not a snapshot's name stays.
///
/// With `keep` of at least 2 the snapshot of the committed manifest stays even after a crash between a snapshot and its commit.
pub fn superseded(stored: &[Stored], keep: usize) -> Vec<String> {
    let mut of_partition: BTreeMap<String, Vec<SnapshotName>> = BTreeMap::new();
    for name in stored.iter().filter_map(|stored| SnapshotName::parse(&stored.name).ok()) {
        of_partition.entry(name.folder()).or_default().push(name);
    }
    let mut superseded = Vec::new();
    for mut names in of_partition.into_values() {
        names.sort_by_key(|name| Reverse((name.offset(), name.epoch())));
        superseded.extend(names.iter().skip(keep).rev().map(SnapshotName::to_string));
    }
    superseded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(partition: i32, offset: i64, epoch: u64) -> String {
        SnapshotName::new("g", "t", partition, offset, epoch).unwrap().to_string()
    }

    fn stored(names: &[String]) -> Vec<Stored> {
        names.iter().map(|name| Stored { name: name.clone(), size_bytes: 1, modified_ms: 0 }).collect()
    }

    #[test]
    fn the_newest_stay_whatever_the_order() {
        let all = stored(&[name(0, 30, 3), name(0, 10, 1), name(0, 100, 9), name(0, 20, 2)]);
        assert_eq!(superseded(&all, 2), [name(0, 10, 1), name(0, 20, 2)]);
        assert_eq!(superseded(&all, 4), [""; 0]);
        assert_eq!(superseded(&all, 0).len(), 4);
        assert_eq!(superseded(&[], 1), [""; 0]);
    }

    #[test]
    fn of_one_offset_the_later_epoch_is_newer() {
        let all = stored(&[name(0, 10, 10), name(0, 10, 9)]);
        assert_eq!(superseded(&all, 1), [name(0, 10, 9)]);
    }

    #[test]
    fn partitions_do_not_compete_and_strange_names_stay() {
        let all = stored(&[name(0, 10, 1), name(1, 20, 1), "g/t/0/notes.txt".to_owned()]);
        assert_eq!(superseded(&all, 1), [""; 0]);
        assert_eq!(superseded(&all, 0), [name(0, 10, 1), name(1, 20, 1)]);
    }
}
