//! Where alerts come from: a topic that several processes share as a consumer group, whoever carries it.

use std::time::Duration;

use alerts::CONTENT_TYPE;
use model::Alert;

/// A record as it lay on the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// When it was written.
    pub timestamp_ms: i64,
    pub key: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub payload: Vec<u8>,
}

impl Record {
    /// The alert that it is, as JSON or protobuf; none if it is no alert.
    pub fn alert(&self) -> Option<Alert> {
        let kind = self.headers.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE));
        let kind = kind.and_then(|(_, value)| std::str::from_utf8(value).ok());
        alerts::decode(kind, &self.payload)
    }
}

/// An offset of the group, with a few words to whoever goes on from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// All records before it are dealt with.
    pub offset: i64,
    /// At most [`METADATA_BYTES_MAX`] long.
    pub metadata: String,
}

/// Brokers refuse metadata beyond 4 KiB unless told otherwise.
pub const METADATA_BYTES_MAX: usize = 2_048;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The partition is this process's to deliver. It is read from its beginning.
    Assigned {
        partition: i32,
        /// What was committed last, by whomever.
        committed: Option<Position>,
        /// The first offset that is kept, and the one behind the last.
        begin: i64,
        end: i64,
    },
    /// The partition goes to another process as soon as the log is asked for the next event; until then it may be committed.
    Revoked {
        partition: i32,
    },
    Record(Record),
    /// All that the partition has was given.
    End {
        partition: i32,
    },
}

/// What went wrong, and what to do about it.
pub type LogError = Box<dyn std::error::Error + Send + Sync>;

pub trait AlertLog {
    /// The next event, if there is one in time. Must be asked for regularly, or the group goes on without this process.
    fn next(&mut self, timeout: Duration) -> Result<Option<Event>, LogError>;

    /// `wait` for the answer, or let it come later.
    fn commit(&mut self, partition: i32, position: &Position, wait: bool) -> Result<(), LogError>;

    /// Gives no records of the partition, or does so again.
    fn pause(&mut self, partition: i32, is_paused: bool) -> Result<(), LogError>;

    /// Puts the record, as it is, where somebody will look into it. Has happened when it returns.
    fn dead_letter(&mut self, record: &Record, reason: &str) -> Result<(), LogError>;
}
