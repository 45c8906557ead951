//! The only crate that knows librdkafka: workers, transactions, readers.
//!
//! - [`KafkaWorker`]: one thread that reads partitions, runs their tasks and writes each epoch in one transaction.
//! - [`GroupReader`]: reads a topic in a group, and commits by hand what others have accepted.
//! - [`TopicReader`]: reads whole topics from the beginning, outside any consumer group.
//! - [`TopicScan`]: reads what lies on a topic now, once, outside any consumer group.
//! - [`TransactionalWriter`]: writes records that become visible together or not at all.
//! - [`AcknowledgedWriter`]: tells of each record when it is safe.
//! - [`TopicWriter`]: a plain producer for the demo and the `produce` command.
//! - [`topics`]: creates what the engine writes to, checks what it reads from.
//! - [`MockKafka`]: a broker within this process, for the demo. It proves nothing about transactions.
//!
//! **Architecture invariant:** librdkafka's calls block, and rebalances are answered by whoever polls. So every worker owns
//! its thread, and no other crate sees an `rdkafka` type.

mod acknowledged_writer;
mod align;
mod client;
mod error;
mod group_reader;
mod horizon;
mod kafka_worker;
mod lag;
mod mock;
mod offsets;
mod reader;
mod scan;
mod settings;
pub mod topics;
mod transaction;
mod transactional_writer;
mod writer;

pub use ::worker::{Checkpoints, CounterValues, SLICE_SERIES, TaskFactory, WorkerCounters, on_threads};
pub use acknowledged_writer::AcknowledgedWriter;
pub use error::{Action, Error};
pub use group_reader::{GroupEvent, GroupReader};
pub use kafka_worker::{KafkaWorker, WorkerState};
pub use mock::MockKafka;
pub use reader::{ReadRecord, TopicReader};
pub use scan::{PartitionExtent, ScanEnd, TopicScan};
pub use settings::{ConnectionSettings, Security, StartOffset, WorkerSettings};
pub use topics::{TopicSpec, TopicState};
pub use transactional_writer::TransactionalWriter;
pub use writer::{TopicWriter, WriteRecord};
