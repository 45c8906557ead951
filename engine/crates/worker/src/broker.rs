//! What a worker asks of a broker.

use std::time::Duration;

use checkpoint::{InvalidManifest, StoreError};
use model::{Output, SourceRecord};

/// A topic's name and the number of one of its partitions.
pub type TopicPartition = (String, i32);

/// A partition that moves. It is answered between two records, where the epoch can be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Assign(Vec<TopicPartition>),
    /// They are to be given up; this worker may still commit.
    Revoke(Vec<TopicPartition>),
    /// They are gone: somebody else may own them by now, so what is not committed must not be seen.
    Lost(Vec<TopicPartition>),
}

/// Why something did not work.
#[derive(Debug)]
pub enum Failure<E> {
    /// Abort the transaction, go back to the committed offsets, try again.
    Abort(String),
    /// This worker can do nothing more.
    Stop(E),
}

impl<E> From<E> for Failure<E> {
    fn from(error: E) -> Self {
        Failure::Stop(error)
    }
}

/// Why a task cannot go on, or come back to its committed offset. To do so without would be to lose something.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("the stored state cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error("what was committed with the offset is not for this program: {0}")]
    Manifest(#[from] InvalidManifest),
    #[error(
        "the record at offset {offset} of partition {partition} of {topic} was written by a newer version of this program (format \
         {found}): upgrade this process too; until then others read its partitions"
    )]
    NewerRecord { topic: String, partition: i32, offset: i64, found: u8 },
}

/// How a write was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// So many times there was no room at first.
    Queued { waits: u64 },
    /// The record is larger than may be sent; nothing was written.
    TooLarge,
}

/// What a group committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: Option<i64>,
    /// What was said with it, empty if nothing.
    pub metadata: String,
}

/// Where to read a partition from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing is committed: as the group is configured.
    Configured,
    At(i64),
}

/// Takes a record.
pub type Take<'t, E> = dyn FnMut(SourceRecord<'_>) -> Result<(), Failure<E>> + 't;

/// One member of a consumer group.
pub trait Source {
    type Error: std::fmt::Display + From<RecoveryError>;
    /// Proves to the transaction that this member still is one.
    type Group;

    /// Since some moment in the past; only differences matter.
    fn now(&self) -> Duration;

    fn pause(&self, duration: Duration);

    /// Gives the next record to `take`, with its timestamp, unless none comes within `timeout`; returns whether one came.
    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut Take<'_, Self::Error>,
    ) -> Result<bool, Failure<Self::Error>>;

    /// The rebalances that wait for an answer, oldest first.
    fn changes(&mut self) -> Vec<Change>;

    /// Tells the group that a change was taken note of. Partitions that are not in `starts` are read from their committed
    /// offsets.
    fn answer(&mut self, change: &Change, starts: &[(TopicPartition, Start)]);

    /// For each of `keys`, in their order. Waits for transactions that are still being decided.
    fn committed(&mut self, keys: &[TopicPartition]) -> Result<Vec<Committed>, Self::Error>;

    /// The earliest offset that the partition still has, and the one behind its last.
    fn watermarks(&mut self, key: &TopicPartition) -> Result<(i64, i64), Self::Error>;

    /// Whether waits are to be cut short, because the worker is to end.
    fn is_stopping(&self) -> bool;

    /// The offset of the first record of this time or later, if there is one.
    fn offset_at(&mut self, key: &TopicPartition, time_ms: i64) -> Result<Option<i64>, Self::Error>;

    /// Reads on from other offsets.
    fn seek(&mut self, offsets: &[(TopicPartition, i64)]) -> Result<(), Self::Error>;

    fn group(&self) -> Option<Self::Group>;

    /// Whether there is news of where the partitions end since the last call.
    fn has_new_ends(&mut self) -> bool;

    /// Records behind `position`, the offset behind the last record that was taken since the assignment, as of the last news;
    /// `None` while unknown.
    fn lag(&self, topic: &str, partition: i32, position: Option<i64>) -> Option<i64>;

    /// The offset at which a partition without a record since the assignment is read on, if it is at its end.
    fn end(&self, topic: &str, partition: i32) -> Option<i64>;

    /// What is known of the lag is void, because partitions or positions changed.
    fn forget_lag(&mut self);
}

/// The transactional producer of a worker.
pub trait Sink {
    type Error: std::fmt::Display;
    type Group;

    /// Writes into the epoch's transaction, which begins with its first record or offset.
    fn write(&mut self, output: &Output) -> Result<Written, Failure<Self::Error>>;

    /// Serves what runs in the background, where nothing else does.
    fn poll(&mut self);

    /// Makes the epoch visible: the offsets with their metadata, which may be none, and all that was written, or nothing of it.
    fn commit(
        &mut self,
        offsets: &[(TopicPartition, i64, String)],
        group: &Self::Group,
    ) -> Result<(), Failure<Self::Error>>;

    /// Drops the epoch. Brokers that do not answer are waited for until `give_up`, which is told how long that has been.
    fn abort(&mut self, give_up: &dyn Fn(Duration) -> bool) -> Result<(), Self::Error>;
}
