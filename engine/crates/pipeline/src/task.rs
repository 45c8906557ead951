//! What a driver runs: all the stages of one partition.

use model::{Output, SourceRecord};

/// A synchronous state machine over the records of one partition, in their order.
pub trait PartitionTask: Send {
    /// Takes the next record; what it gives goes into the epoch's transaction.
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>);

    /// The epoch ends here. Must not change what later records give.
    fn on_barrier(&mut self, epoch: u64, out: &mut Vec<Output>);
}
