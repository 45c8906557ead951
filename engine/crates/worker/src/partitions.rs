//! What a worker knows of the partitions that it owns.

use std::collections::BTreeMap;

use pipeline::PartitionTask;

use crate::broker::TopicPartition;
use crate::progress::Progress;

/// What the worker knows of a partition that it owns.
pub(crate) struct Partition {
    pub task: Box<dyn PartitionTask>,
    /// The offset of the first record since the assignment: where to go back to while nothing is committed.
    pub first: Option<i64>,
    /// The offset behind the last record of this epoch; none if it had no record.
    pub next: Option<i64>,
    /// The offset behind the last record since the assignment, whether committed or not.
    pub position: Option<i64>,
    /// Where states are kept.
    pub progress: Option<Progress>,
    pub rest: Rest,
}

/// Whether a partition has come to its end and stays there.
#[derive(Default)]
pub(crate) struct Rest {
    position: Option<i64>,
    /// News of the end in a row without a record in between.
    news: u32,
}

/// Of ends, about one a second: after so many a partition at its end is idle.
const IDLE_NEWS: u32 = 5;
/// That it is still idle is said again after so many more, for those who have begun to listen since.
const STILL_IDLE_NEWS: u32 = 10;

impl Rest {
    /// Takes note of news; returns whether it is time to say that the partition is idle.
    pub fn is_due(&mut self, position: Option<i64>, lag: Option<i64>) -> bool {
        if lag != Some(0) || position != self.position {
            *self = Self { position, news: 0 };
            return false;
        }
        self.news += 1;
        if self.news > IDLE_NEWS + STILL_IDLE_NEWS {
            self.news = IDLE_NEWS + 1;
        }
        self.news == IDLE_NEWS || self.news == IDLE_NEWS + STILL_IDLE_NEWS
    }
}

impl Partition {
    /// The offset behind the last record, if the manifest that is committed with it does not name the state there.
    pub fn unsaved(&self) -> Option<i64> {
        let (position, progress) = (self.position?, self.progress.as_ref()?);
        (!progress.is_muted() && !progress.is_named(position)).then_some(position)
    }
}

/// The partitions of a worker, in order. Found by the name of a topic without a copy of it, since every record asks.
#[derive(Default)]
pub(crate) struct Owned(BTreeMap<String, BTreeMap<i32, Partition>>);

impl Owned {
    pub fn get_mut(&mut self, topic: &str, number: i32) -> Option<&mut Partition> {
        self.0.get_mut(topic)?.get_mut(&number)
    }

    pub fn contains(&self, (topic, number): &TopicPartition) -> bool {
        self.0.get(topic).is_some_and(|partitions| partitions.contains_key(number))
    }

    pub fn insert(&mut self, topic: &str, number: i32, partition: Partition) {
        self.0.entry(topic.to_owned()).or_default().insert(number, partition);
    }

    pub fn remove(&mut self, (topic, number): &TopicPartition) {
        if let Some(partitions) = self.0.get_mut(topic) {
            partitions.remove(number);
        }
    }

    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, i32, &Partition)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(number, partition)| (topic.as_str(), *number, partition))
        })
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, i32, &mut Partition)> {
        self.0.iter_mut().flat_map(|(topic, partitions)| {
            partitions.iter_mut().map(|(number, partition)| (topic.as_str(), *number, partition))
        })
    }
}
