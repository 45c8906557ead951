//! Which dead letters were sent again. It is written to the dead-letter topic itself, in the transaction that sends them, so
//! that it is known exactly as long as they are.

use std::collections::BTreeMap;

use model::SourceRecord;
use serde::{Deserialize, Serialize};

/// Stands on the records that say so, with the version of their payload.
const HEADER: &str = "foreshock-replayed";
const VERSION: &str = "1";
/// Ranges that are known at the most: about 64 MiB.
const RANGES_MAX: usize = 1 << 20;

/// Offsets of the dead-letter topic, by partition, as ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// First to last of each range.
    partitions: BTreeMap<i32, BTreeMap<i64, i64>>,
    ranges: usize,
    /// The first offset of each partition that still is there; nothing before it is remembered.
    firsts: Vec<i64>,
}

/// The payload: `{"partitions":{"0":[[3,7],[9,9]]}}`, ends included.
#[derive(Serialize, Deserialize)]
struct Payload {
    partitions: BTreeMap<i32, Vec<(i64, i64)>>,
}

impl Replayed {
    /// None yet, of a topic whose partitions begin at these offsets.
    pub fn from(firsts: Vec<i64>) -> Self {
        Self { firsts, ..Self::default() }
    }

    pub fn insert(&mut self, partition: i32, offset: i64) {
        self.insert_range(partition, offset, offset);
    }

    fn insert_range(&mut self, partition: i32, mut first: i64, mut last: i64) {
        let ranges = self.partitions.entry(partition).or_default();
        let before = ranges.len();
        // All that overlap or touch become one.
        while let Some((&start, &end)) = ranges.range(..=last.saturating_add(1)).next_back() {
            if end.saturating_add(1) < first {
                break;
            }
            ranges.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        ranges.insert(first, last);
        self.ranges = self.ranges + ranges.len() - before;
    }

    pub fn contains(&self, partition: i32, offset: i64) -> bool {
        let ranges = self.partitions.get(&partition);
        let range = ranges.and_then(|ranges| ranges.range(..=offset).next_back());
        range.is_some_and(|(_, last)| offset <= *last)
    }

    /// Whether the record says which were sent again, rather than being a dead letter.
    pub fn is_said_by(record: &SourceRecord<'_>) -> bool {
        record.header(HEADER).is_some() && super::DeadLetter::of(record).is_none()
    }

    /// Adds what the record says. An error says why it cannot be taken.
    pub fn add(&mut self, record: &SourceRecord<'_>) -> Result<(), String> {
        let place = format!("the record {}/{}@{}", record.topic, record.partition, record.offset);
        if record.header(HEADER) != Some(VERSION) {
            return Err(format!("{place} says what was replayed in a way that this version does not know"));
        }
        let payload: Payload = serde_json::from_slice(record.payload)
            .map_err(|error| format!("{place} should say what was replayed, but: {error}"))?;
        for (partition, ranges) in payload.partitions {
            let begin =
                usize::try_from(partition).ok().and_then(|at| self.firsts.get(at)).map_or(0, |first| *first);
            let is_there = |(first, last): &(i64, i64)| 0 <= *first && first <= last && begin <= *last;
            for (first, last) in ranges.into_iter().filter(is_there) {
                self.insert_range(partition, first, last);
                if self.ranges > RANGES_MAX {
                    return Err(format!("more than {RANGES_MAX} ranges of dead letters were replayed"));
                }
            }
        }
        Ok(())
    }

    /// Headers and payload of the record that says so.
    pub fn to_record(&self) -> (Vec<(String, Vec<u8>)>, Vec<u8>) {
        let ranges =
            |ranges: &BTreeMap<i64, i64>| ranges.iter().map(|(first, last)| (*first, *last)).collect();
        let partitions = self.partitions.iter().map(|(partition, of)| (*partition, ranges(of))).collect();
        let payload = serde_json::to_vec(&Payload { partitions }).unwrap_or_default();
        (vec![(HEADER.to_owned(), VERSION.as_bytes().to_vec())], payload)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn read_back(said: &Replayed) -> Replayed {
        let (headers, payload) = said.to_record();
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let record = SourceRecord { headers: &headers, ..crate::decoder::record(&payload) };
        assert!(Replayed::is_said_by(&record));
        let mut read = Replayed::default();
        read.add(&record).expect("readable");
        read
    }

    proptest! {
        #[test]
        fn it_is_a_set_whatever_the_order(inserts in proptest::collection::vec((0..2_i32, 0..40_i64), 0..60)) {
            let mut replayed = Replayed::default();
            inserts.iter().for_each(|(partition, offset)| replayed.insert(*partition, *offset));
            let set: BTreeSet<(i32, i64)> = inserts.iter().copied().collect();
            let mut ranges = 0;
            for partition in 0..2 {
                for offset in -1..41 {
                    let is_in = set.contains(&(partition, offset));
                    prop_assert_eq!(replayed.contains(partition, offset), is_in);
                    ranges += usize::from(is_in && !set.contains(&(partition, offset - 1)));
                }
            }
            prop_assert_eq!(replayed.ranges, ranges);
            prop_assert_eq!(read_back(&replayed), replayed);
        }
    }

    #[test]
    fn what_the_topic_has_forgotten_is_not_remembered() {
        let mut said = Replayed::default();
        (0..10).step_by(2).for_each(|offset| said.insert(0, offset));
        said.insert(1, 3);
        let (headers, payload) = said.to_record();
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let mut read = Replayed::from(vec![5]);
        read.add(&SourceRecord { headers: &headers, ..crate::decoder::record(&payload) }).unwrap();
        assert_eq!((read.contains(0, 4), read.contains(0, 6), read.contains(1, 3)), (false, true, true));
        assert_eq!(read.ranges, 3);
    }

    #[test]
    fn what_is_no_such_record_is_refused_with_its_place() {
        let add = |version: &[u8], payload: &[u8]| {
            let headers: &[(&str, &[u8])] = &[(HEADER, version)];
            Replayed::default().add(&SourceRecord { headers, ..crate::decoder::record(payload) })
        };
        assert!(add(b"2", b"{}").unwrap_err().contains("t/0@0"));
        assert!(add(b"1", b"[").unwrap_err().contains("t/0@0"));
        assert_eq!(add(b"1", br#"{"partitions":{"0":[[7,3],[-1,4]]}}"#), Ok(()));
    }
}
