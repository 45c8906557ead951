//! What a driver runs: all the stages of one partition.

use codec::Dropped;
use model::{Output, SeriesState, SourceRecord, StateSection};

use crate::state::InvalidState;

/// What a task says of itself, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskStatus {
    /// How far event time has come.
    pub watermark_ms: Option<i64>,
    /// Rows that decoders left out of records that can be read: without a time or a value, or malformed.
    pub rows_left_out: u64,
    /// Rows and records of tenants that are not read.
    pub rows_of_others: u64,
    /// Series that are modelled.
    pub series: u64,
    /// What is set aside for them in memory.
    pub series_bytes: u64,
    /// Idle series whose states lie on disk, for want of room.
    pub series_aside: u64,
    /// What these take there.
    pub series_aside_bytes: u64,
    /// States of idle series that were forgotten, for want of room on disk or because it failed.
    pub series_forgotten: u64,
    /// Points of series beyond `series_max` or `series_memory`.
    pub series_refused: u64,
    /// Spans and logs of keys beyond `step_keys_max`.
    pub keys_refused: u64,
    /// Spans and logs that came so long after their step was closed that they were left out.
    pub late_rows: u64,
    /// Spans and logs that came after their step was closed and amended it.
    pub amended_rows: u64,
    /// Spans and logs too far ahead of all others.
    pub early_rows: u64,
    /// Findings that had to be taken before their turn, since those that wait may take no more memory.
    pub findings_before_turn: u64,
    /// Series that are gone and were not told of, since too many were.
    pub silences_untold: u64,
    /// Series in each state of [`SeriesState::ALL`], by the last sweep of the coverage ledger.
    pub coverage: [u64; SeriesState::ALL.len()],
    /// Points that were filled in for missing ones.
    pub points_filled: u64,
    /// Incidents that paged, where there is a budget of pages.
    pub pages: u64,
    /// Incidents that ended without a page, since the budget did not allow it.
    pub pages_withheld: u64,
}

impl TaskStatus {
    /// With what a decoder has left out.
    #[must_use]
    pub fn with_dropped(self, dropped: Dropped) -> Self {
        let rows_of_others = dropped.other_tenant;
        Self { rows_left_out: dropped.total() - rows_of_others, rows_of_others, ..self }
    }
}

/// A synchronous state machine over the records of one partition, in their order.
pub trait PartitionTask: Send {
    /// Takes the next record; what it gives goes into the epoch's transaction, with what [`flush`](Self::flush) gives.
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>);

    /// The epoch ends: gives what was kept back of its records. A task that keeps anything back has no other state.
    fn flush(&mut self, _out: &mut Vec<Output>) {}

    /// The partition has been at its end for a while. When that is depends on a clock, so nothing of it may enter the state, and what
    /// is said is no part of a replay.
    fn on_idle(&mut self, _out: &mut Vec<Output>) {}

    fn status(&self) -> TaskStatus {
        TaskStatus::default()
    }

    /// Begins to write down the state between two records. Returns the sections that are complete already; there is no section if
    /// there is no state to keep.
    fn begin_snapshot(&mut self) -> Vec<StateSection> {
        Vec::new()
    }

    /// Writes on: the part of up to so many series, as it was when the snapshot began. Returns the other sections once all are
    /// complete.
    fn continue_snapshot(&mut self, _series: usize) -> Option<Vec<StateSection>> {
        Some(Vec::new())
    }

    /// The state between two records in one go.
    fn snapshot(&mut self) -> Vec<StateSection> {
        let mut sections = self.begin_snapshot();
        loop {
            if let Some(others) = self.continue_snapshot(usize::MAX) {
                sections.extend(others);
                return sections;
            }
        }
    }

    /// Takes up a state that [`snapshot`](Self::snapshot) gave, in this process or another. Returns the parts that could not be
    /// taken up and begin anew. After an error the task is of no use.
    fn restore(&mut self, _sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        Ok(Vec::new())
    }
}
