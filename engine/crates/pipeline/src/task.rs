//! What a driver runs: all the stages of one partition.

use model::{Output, SourceRecord, StateSection};

use crate::state::InvalidState;

/// A synchronous state machine over the records of one partition, in their order.
pub trait PartitionTask: Send {
    /// Takes the next record; what it gives goes into the epoch's transaction.
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>);

    /// The state between two records; no section if there is none to keep.
    fn snapshot(&self) -> Vec<StateSection> {
        Vec::new()
    }

    /// Takes up a state that [`snapshot`](Self::snapshot) gave, in this process or another. Returns the parts that could not be
    /// taken up and begin anew. After an error the task is of no use.
    fn restore(&mut self, _sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        Ok(Vec::new())
    }
}
