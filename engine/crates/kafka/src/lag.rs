//! How far a worker is behind.
//!
//! librdkafka's own `consumer_lag` counts from the consumer's commits. A worker's offsets are committed by its producer, which
//! the consumer never hears of, so the lag is counted here: from the end of each partition to where the worker is.

use std::collections::BTreeMap;

use rdkafka::statistics::Statistics;

/// A partition as librdkafka's statistics give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionEnd {
    /// The last stable offset: what lies behind it is not committed yet.
    end: i64,
    /// The next offset to fetch, which passes over transaction markers.
    next: i64,
    /// Whether all that was fetched, of any partition, was given to the worker.
    drained: bool,
    /// Whether a record of this partition was fetched at all.
    any_fetched: bool,
}

/// The ends of all partitions that a consumer knows of, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends(BTreeMap<String, BTreeMap<i32, PartitionEnd>>);

impl Ends {
    pub(crate) fn of(statistics: &Statistics) -> Ends {
        let topics = statistics.topics.iter().map(|(name, topic)| {
            let partitions = topic.partitions.values().map(|partition| {
                let end = PartitionEnd {
                    end: partition.ls_offset,
                    next: partition.next_offset,
                    drained: partition.fetchq_cnt == 0,
                    any_fetched: partition.rxmsgs > 0,
                };
                (partition.partition, end)
            });
            (name.clone(), partitions.collect())
        });
        Ends(topics.collect())
    }

    /// Whether the partition had a record of that offset.
    pub(crate) fn had(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.0
            .get(topic)
            .and_then(|partitions| partitions.get(&partition))
            .is_some_and(|known| offset < known.end)
    }

    /// The records between `position`, the offset behind the last record that the worker was given since the partition was
    /// assigned, and the end. None while unknown.
    ///
    /// `holds` says whether records that were fetched are held back from the worker.
    pub(crate) fn lag(&self, topic: &str, partition: i32, position: Option<i64>, holds: bool) -> Option<i64> {
        let known = self.0.get(topic)?.get(&partition)?;
        // What was fetched and waits counts as not read. While nothing waits, the next fetch begins where the worker is.
        let waits = holds || (!known.drained && known.any_fetched);
        let position = match position {
            Some(position) if known.drained && !holds => position.max(known.next),
            Some(position) => position,
            None if !waits && known.next >= 0 => known.next,
            None => return None,
        };
        (known.end >= 0).then(|| (known.end - position).max(0))
    }

    /// Where a partition is fetched next.
    pub(crate) fn next(&self, topic: &str, partition: i32) -> Option<i64> {
        let known = self.0.get(topic)?.get(&partition)?;
        (known.next >= 0).then_some(known.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(end: PartitionEnd, position: Option<i64>) -> Option<i64> {
        ends(end).lag("in", 2, position, false)
    }

    fn ends(end: PartitionEnd) -> Ends {
        Ends(BTreeMap::from([("in".to_owned(), BTreeMap::from([(2, end)]))]))
    }

    const END: PartitionEnd = PartitionEnd { end: 100, next: 100, drained: true, any_fetched: true };

    #[test]
    fn records_that_were_fetched_but_not_given_to_the_worker_count() {
        let waiting = PartitionEnd { drained: false, ..END };
        assert_eq!(lag(waiting, Some(40)), Some(60));
        assert_eq!(lag(waiting, None), None, "how many wait is not known");
        let other_waits = PartitionEnd { any_fetched: false, next: 90, ..waiting };
        assert_eq!(lag(other_waits, None), Some(10));
    }

    #[test]
    fn records_that_are_held_back_count() {
        assert_eq!(ends(END).lag("in", 2, Some(40), true), Some(60));
        assert_eq!(ends(END).lag("in", 2, None, true), None);
    }

    #[test]
    fn a_transaction_marker_at_the_end_does_not_count() {
        assert_eq!(lag(END, Some(99)), Some(0));
        assert_eq!(lag(PartitionEnd { next: 99, ..END }, Some(99)), Some(1));
    }

    #[test]
    fn an_old_end_gives_no_negative_lag() {
        assert_eq!(lag(END, Some(140)), Some(0));
    }

    #[test]
    fn without_an_end_or_a_start_it_is_unknown() {
        assert_eq!(lag(PartitionEnd { end: -1001, ..END }, Some(3)), None);
        assert_eq!(lag(PartitionEnd { next: -1001, ..END }, None), None);
        assert_eq!(Ends::default().lag("in", 2, Some(3), false), None);
    }
}
