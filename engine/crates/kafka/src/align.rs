//! Records of several partitions in the order of their timestamps, while a worker has much to catch up with.
//!
//! librdkafka gives what it fetched, a partition at a time. For somebody who is at the end of all of them that is the order in
//! which records were written. After an outage it would be an hour of metrics, then an hour of spans. So, while the next
//! record is old, it is held back until every partition has shown its next one or has none.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use worker::TopicPartition;

/// A record is old when it was written this long ago.
const OLD: Duration = Duration::from_secs(10);
/// How long a record is held back at the most: a partition may have no leader.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes and records held of a partition, above which it is paused, and below half of which it is resumed.
const HELD_BYTES_MAX: usize = 4 << 20;
const HELD_RECORDS_MAX: usize = 2_000;

struct Held<M> {
    timestamp_ms: i64,
    offset: i64,
    bytes: usize,
    message: M,
}

struct Queue<M> {
    held: VecDeque<Held<M>>,
    bytes: usize,
    is_paused: bool,
    /// It was waited for in vain: nobody waits for it again before it shows a record.
    is_absent: bool,
}

impl<M> Default for Queue<M> {
    fn default() -> Self {
        Self { held: VecDeque::new(), bytes: 0, is_paused: false, is_absent: false }
    }
}

/// What a partition's fetching needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Pause(TopicPartition),
    Resume(TopicPartition),
}

/// Holds records back. Knows the partitions that are assigned.
pub(crate) struct Aligner<M> {
    queues: BTreeMap<TopicPartition, Queue<M>>,
    /// Since when the next record waits for partitions that have not shown theirs.
    waits_since: Option<Duration>,
}

impl<M> Default for Aligner<M> {
    fn default() -> Self {
        Self { queues: BTreeMap::new(), waits_since: None }
    }
}

impl<M> Aligner<M> {
    /// A partition begins, or begins anew: what was held of it is void.
    pub(crate) fn begin(&mut self, key: &TopicPartition) -> Option<Flow> {
        let former = self.queues.insert(key.clone(), Queue::default());
        former.filter(|queue| queue.is_paused).map(|_| Flow::Resume(key.clone()))
    }

    /// A partition is given up. librdkafka remembers that it is paused, even when it is assigned again.
    pub(crate) fn end(&mut self, key: &TopicPartition) -> Option<Flow> {
        let former = self.queues.remove(key);
        former.filter(|queue| queue.is_paused).map(|_| Flow::Resume(key.clone()))
    }

    /// Whether a record of that time may be taken at once, without being held. `may_read` as in [`next`](Self::next).
    pub(crate) fn passes(
        &self,
        timestamp_ms: Option<i64>,
        now_ms: i64,
        may_read: impl FnOnce(i64) -> bool,
    ) -> bool {
        let waits_for_others = |ms| is_old(ms, now_ms) && (self.queues.len() > 1 || !may_read(ms));
        self.queues.values().all(|queue| queue.held.is_empty()) && !timestamp_ms.is_some_and(waits_for_others)
    }

    /// Holds a record. One of a partition that is not assigned is dropped: its next owner reads it.
    pub(crate) fn hold(
        &mut self,
        key: &TopicPartition,
        offset: i64,
        timestamp_ms: i64,
        bytes: usize,
        message: M,
    ) -> Option<Flow> {
        let queue = self.queues.get_mut(key)?;
        queue.held.push_back(Held { timestamp_ms, offset, bytes, message });
        queue.bytes += bytes;
        queue.is_absent = false;
        let is_full = queue.bytes > HELD_BYTES_MAX || queue.held.len() > HELD_RECORDS_MAX;
        if !is_full || queue.is_paused {
            return None;
        }
        queue.is_paused = true;
        Some(Flow::Pause(key.clone()))
    }

    /// Whether records of the partition are held back.
    pub(crate) fn holds(&self, key: &TopicPartition) -> bool {
        self.queues.get(key).is_some_and(|queue| !queue.held.is_empty())
    }

    /// The next record, if it need not wait. `had` tells whether a partition had the record of an offset when its end was seen the
    /// last time but one, `is_at_end` of a partition without a held record whether it had none when its end was seen last, `may_read`
    /// whether a record of a time is not too far ahead of what other workers read.
    pub(crate) fn next(
        &mut self,
        now: Duration,
        now_ms: i64,
        may_read: impl FnOnce(i64) -> bool,
        had: impl Fn(&TopicPartition, i64) -> bool,
        is_at_end: impl Fn(&TopicPartition) -> bool,
    ) -> Option<(M, Option<Flow>)> {
        let first = |queue: &Queue<M>| queue.held.front().map(|held| (held.timestamp_ms, held.offset));
        let heads = self.queues.iter().filter_map(|(key, queue)| {
            let (timestamp_ms, offset) = first(queue)?;
            Some((timestamp_ms, key, offset))
        });
        let (timestamp_ms, key, offset) = heads.min()?;
        let key = key.clone();
        let waits_for = |other: &TopicPartition, queue: &Queue<M>| {
            queue.held.is_empty() && !queue.is_absent && !(had(&key, offset) && is_at_end(other))
        };
        if is_old(timestamp_ms, now_ms) && self.queues.iter().any(|(key, queue)| waits_for(key, queue)) {
            let since = *self.waits_since.get_or_insert(now);
            if now.saturating_sub(since) < PATIENCE {
                return None;
            }
            self.queues.values_mut().for_each(|queue| queue.is_absent = queue.held.is_empty());
        }
        self.waits_since = None;
        if is_old(timestamp_ms, now_ms) && !may_read(timestamp_ms) {
            return None;
        }
        let queue = self.queues.get_mut(&key)?;
        let held = queue.held.pop_front()?;
        queue.bytes -= held.bytes;
        let is_low = queue.bytes < HELD_BYTES_MAX / 2 && queue.held.len() < HELD_RECORDS_MAX / 2;
        let resume = queue.is_paused && is_low;
        queue.is_paused &= !resume;
        Some((held.message, resume.then_some(Flow::Resume(key))))
    }
}

fn is_old(timestamp_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(timestamp_ms) > OLD.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(topic: &str) -> TopicPartition {
        (topic.to_owned(), 0)
    }

    const NOW_MS: i64 = 1_000_000;

    #[test]
    fn old_records_come_in_the_order_of_time() {
        let mut aligner = Aligner::default();
        let (a, b) = (key("a"), key("b"));
        aligner.begin(&a);
        aligner.begin(&b);
        for time_ms in [1, 3, 5] {
            aligner.hold(&a, time_ms, time_ms, 1, time_ms);
        }
        let next = |aligner: &mut Aligner<i64>, at_end: bool| {
            aligner
                .next(Duration::ZERO, NOW_MS, |_| true, |_, _| true, |_| at_end)
                .map(|(time_ms, _)| time_ms)
        };
        assert_eq!(next(&mut aligner, false), None, "b may have older ones");
        assert!(
            aligner.next(Duration::ZERO, NOW_MS, |_| true, |_, _| false, |_| true).is_none(),
            "b may have got some since it was seen at its end, as a did"
        );
        for time_ms in [2, 4] {
            aligner.hold(&b, time_ms, time_ms, 1, time_ms);
        }
        let order: Vec<i64> = std::iter::from_fn(|| next(&mut aligner, false)).collect();
        assert_eq!(order, [1, 2, 3, 4]);
        assert_eq!(next(&mut aligner, true), Some(5), "b is at its end");
    }

    #[test]
    fn nobody_is_waited_for_for_ever() {
        let mut aligner = Aligner::default();
        aligner.begin(&key("a"));
        aligner.begin(&key("leaderless"));
        aligner.hold(&key("a"), 0, 1, 1, ());
        assert!(aligner.next(Duration::ZERO, NOW_MS, |_| true, |_, _| true, |_| false).is_none());
        aligner.hold(&key("a"), 1, 2, 1, ());
        assert!(aligner.next(PATIENCE, NOW_MS, |_| true, |_, _| true, |_| false).is_some());
        assert!(
            aligner.next(PATIENCE, NOW_MS, |_| true, |_, _| true, |_| false).is_some(),
            "and not for each record anew"
        );
    }

    #[test]
    fn new_records_are_not_held_up() {
        let mut aligner = Aligner::default();
        assert!(aligner.passes(Some(1), NOW_MS, |_| true), "one partition needs no order");
        aligner.begin(&key("a"));
        assert!(
            !aligner.passes(Some(1), NOW_MS, |_| false) && aligner.passes(Some(NOW_MS), NOW_MS, |_| false)
        );
        aligner.hold(&key("a"), 0, 1, 1, ());
        assert!(!aligner.passes(Some(NOW_MS), NOW_MS, |_| true), "not before one that is held");
        assert!(aligner.next(Duration::ZERO, NOW_MS, |_| false, |_, _| true, |_| true).is_none());
        assert!(aligner.next(Duration::ZERO, NOW_MS, |_| true, |_, _| true, |_| true).is_some());
        aligner.begin(&key("b"));
        assert!(
            aligner.passes(Some(NOW_MS - 1), NOW_MS, |_| true) && !aligner.passes(Some(1), NOW_MS, |_| true)
        );
        aligner.hold(&key("a"), 0, NOW_MS - 2, 1, ());
        assert!(!aligner.passes(Some(NOW_MS - 1), NOW_MS, |_| true), "not before those that are held");
        assert!(aligner.next(Duration::ZERO, NOW_MS, |_| true, |_, _| true, |_| false).is_some());
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut aligner = Aligner::default();
        let a = key("a");
        aligner.begin(&a);
        let paused = (0..=HELD_RECORDS_MAX).filter_map(|_| aligner.hold(&a, 0, 1, 1, ())).collect::<Vec<_>>();
        assert_eq!(paused, [Flow::Pause(a.clone())]);
        let flows =
            std::iter::from_fn(|| aligner.next(Duration::ZERO, NOW_MS, |_| true, |_, _| true, |_| true));
        let resumed: Vec<Flow> = flows.filter_map(|(_, flow)| flow).collect();
        assert_eq!(resumed, [Flow::Resume(a.clone())]);
        assert_eq!(aligner.hold(&a, 0, 1, HELD_BYTES_MAX + 1, ()), Some(Flow::Pause(a.clone())));
        assert_eq!(aligner.begin(&a), Some(Flow::Resume(a.clone())));
        assert_eq!(aligner.end(&a), None);
        aligner.begin(&a);
        aligner.hold(&a, 0, 1, HELD_BYTES_MAX + 1, ());
        assert_eq!(aligner.end(&a), Some(Flow::Resume(a)), "for whoever has it next, which may be this one");
    }
}
