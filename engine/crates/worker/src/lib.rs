//! Runs the tasks of partitions over a broker: epochs, snapshots, recovery, hand-over.
//!
//! An epoch is a transaction: the outputs of some records and the offsets behind them become visible together or not at
//! all. With each offset goes a manifest of the state that belongs to it. What a broker is, is said by [`Source`] and
//! [`Sink`]: Kafka in production, a simulated one where thousands of crashes are tried.
//!
//! **Architecture invariant:** clocks and threads have no influence on what is written, only on when.

#![forbid(unsafe_code)]

mod broker;
mod checkpoints;
mod counters;
mod driver;
mod partitions;
mod progress;
mod recovery;
mod writer;

pub use broker::{
    Change, Committed, Failure, RecoveryError, Sink, Source, Start, Take, TopicPartition, Written,
};
pub use checkpoints::{Checkpoints, Job, Run, SLICE_SERIES, on_threads};
pub use counters::{CounterValues, WorkerCounters};
pub use driver::{Driver, DriverSettings, TaskFactory};
