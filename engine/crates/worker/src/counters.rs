//! What a worker has done so far, readable from any thread.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use model::SeriesState;
use pipeline::task::TaskStatus;

/// Written by the worker's thread alone.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    pub(crate) records: AtomicU64,
    pub(crate) record_bytes: AtomicU64,
    pub(crate) outputs: AtomicU64,
    pub(crate) routed: AtomicU64,
    pub(crate) dead_letters: AtomicU64,
    pub(crate) epochs: AtomicU64,
    pub(crate) aborts: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) partitions: AtomicU64,
    pub(crate) lag_records: AtomicI64,
    pub(crate) replayed_records: AtomicU64,
    pub(crate) replay_divergences: AtomicU64,
    pub(crate) restores: AtomicU64,
    pub(crate) cold_starts: AtomicU64,
    pub(crate) snapshots: AtomicU64,
    pub(crate) snapshot_failures: AtomicU64,
    pub(crate) snapshot_bytes_last: AtomicU64,
    pub(crate) snapshot_pause_us_last: AtomicU64,
    pub(crate) commit_latency_us_last: AtomicU64,
    pub(crate) commit_latency_us_max: AtomicU64,
    pub(crate) commit_latency_us_sum: AtomicU64,
    pub(crate) watermark_ms: AtomicI64,
    pub(crate) rows_left_out: AtomicU64,
    pub(crate) rows_of_others: AtomicU64,
    pub(crate) series: AtomicU64,
    pub(crate) series_bytes: AtomicU64,
    pub(crate) series_aside: AtomicU64,
    pub(crate) series_aside_bytes: AtomicU64,
    pub(crate) series_forgotten: AtomicU64,
    pub(crate) series_refused: AtomicU64,
    pub(crate) keys_refused: AtomicU64,
    pub(crate) late_rows: AtomicU64,
    pub(crate) amended_rows: AtomicU64,
    pub(crate) early_rows: AtomicU64,
    pub(crate) findings_before_turn: AtomicU64,
    pub(crate) silences_untold: AtomicU64,
    pub(crate) coverage: [AtomicU64; SeriesState::ALL.len()],
    pub(crate) points_filled: AtomicU64,
    pub(crate) pages: AtomicU64,
    pub(crate) pages_withheld: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterValues {
    /// Records given to tasks, those of aborted epochs included.
    pub records: u64,
    pub record_bytes: u64,
    /// Records written, those of aborted epochs included; dead letters too.
    pub outputs: u64,
    /// Records for other stages in committed epochs.
    pub routed: u64,
    pub dead_letters: u64,
    /// Epochs committed.
    pub epochs: u64,
    /// Epochs aborted.
    pub aborts: u64,
    /// How often the producer's queue was full and reading had to wait.
    pub queue_full: u64,
    /// Partitions assigned now.
    pub partitions: u64,
    /// Offsets not yet read in the assigned partitions, about a second old: the records, and the markers of transactions
    /// between them. Unknown is -1.
    pub lag_records: i64,
    /// Records read again after a start to bring a task's state to the committed offset; nothing of them is written.
    pub replayed_records: u64,
    /// How often such a replay gave other outputs than were committed. Anything but 0 is a bug.
    pub replay_divergences: u64,
    /// Tasks that went on from a snapshot.
    pub restores: u64,
    /// Tasks that should have gone on from a snapshot and had none.
    pub cold_starts: u64,
    /// Snapshots that are stored.
    pub snapshots: u64,
    /// Snapshots that could not be stored; work goes on, and a restart replays more.
    pub snapshot_failures: u64,
    pub snapshot_bytes_last: u64,
    /// How long reading stood still for the last snapshot; writing it is not in this.
    pub snapshot_pause_us_last: u64,
    /// From the barrier until the commit was acknowledged.
    pub commit_latency_us_last: u64,
    pub commit_latency_us_max: u64,
    /// Over all committed epochs: divide by `epochs` for the mean.
    pub commit_latency_us_sum: u64,
    /// What the tasks of the assigned partitions say of themselves, added up; of watermarks the lowest, 0 if there is none.
    pub watermark_ms: i64,
    pub rows_left_out: u64,
    pub rows_of_others: u64,
    pub series: u64,
    pub series_refused: u64,
    /// What is set aside for the series in memory.
    pub series_bytes: u64,
    pub series_aside: u64,
    pub series_aside_bytes: u64,
    pub series_forgotten: u64,
    pub keys_refused: u64,
    pub late_rows: u64,
    pub amended_rows: u64,
    pub early_rows: u64,
    pub findings_before_turn: u64,
    pub silences_untold: u64,
    /// Series in each state of [`SeriesState::ALL`].
    pub coverage: [u64; SeriesState::ALL.len()],
    /// Points that were filled in for missing ones (`analysis.on_missing`).
    pub points_filled: u64,
    pub pages: u64,
    pub pages_withheld: u64,
}

impl WorkerCounters {
    pub fn values(&self) -> CounterValues {
        CounterValues {
            records: self.records.load(Relaxed),
            record_bytes: self.record_bytes.load(Relaxed),
            outputs: self.outputs.load(Relaxed),
            routed: self.routed.load(Relaxed),
            dead_letters: self.dead_letters.load(Relaxed),
            epochs: self.epochs.load(Relaxed),
            aborts: self.aborts.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
            partitions: self.partitions.load(Relaxed),
            lag_records: self.lag_records.load(Relaxed),
            replayed_records: self.replayed_records.load(Relaxed),
            replay_divergences: self.replay_divergences.load(Relaxed),
            restores: self.restores.load(Relaxed),
            cold_starts: self.cold_starts.load(Relaxed),
            snapshots: self.snapshots.load(Relaxed),
            snapshot_failures: self.snapshot_failures.load(Relaxed),
            snapshot_bytes_last: self.snapshot_bytes_last.load(Relaxed),
            snapshot_pause_us_last: self.snapshot_pause_us_last.load(Relaxed),
            commit_latency_us_last: self.commit_latency_us_last.load(Relaxed),
            commit_latency_us_max: self.commit_latency_us_max.load(Relaxed),
            commit_latency_us_sum: self.commit_latency_us_sum.load(Relaxed),
            watermark_ms: self.watermark_ms.load(Relaxed),
            rows_left_out: self.rows_left_out.load(Relaxed),
            rows_of_others: self.rows_of_others.load(Relaxed),
            series: self.series.load(Relaxed),
            series_refused: self.series_refused.load(Relaxed),
            series_bytes: self.series_bytes.load(Relaxed),
            series_aside: self.series_aside.load(Relaxed),
            series_aside_bytes: self.series_aside_bytes.load(Relaxed),
            series_forgotten: self.series_forgotten.load(Relaxed),
            keys_refused: self.keys_refused.load(Relaxed),
            late_rows: self.late_rows.load(Relaxed),
            amended_rows: self.amended_rows.load(Relaxed),
            early_rows: self.early_rows.load(Relaxed),
            findings_before_turn: self.findings_before_turn.load(Relaxed),
            silences_untold: self.silences_untold.load(Relaxed),
            coverage: std::array::from_fn(|state| self.coverage[state].load(Relaxed)),
            points_filled: self.points_filled.load(Relaxed),
            pages: self.pages.load(Relaxed),
            pages_withheld: self.pages_withheld.load(Relaxed),
        }
    }

    pub(crate) fn note(&self, tasks: impl Iterator<Item = TaskStatus>) {
        let mut sum = TaskStatus::default();
        for task in tasks {
            sum.watermark_ms = match (sum.watermark_ms, task.watermark_ms) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            sum.rows_left_out += task.rows_left_out;
            sum.rows_of_others += task.rows_of_others;
            sum.series += task.series;
            sum.series_refused += task.series_refused;
            sum.series_bytes += task.series_bytes;
            sum.series_aside += task.series_aside;
            sum.series_aside_bytes += task.series_aside_bytes;
            sum.series_forgotten += task.series_forgotten;
            sum.keys_refused += task.keys_refused;
            sum.late_rows += task.late_rows;
            sum.amended_rows += task.amended_rows;
            sum.early_rows += task.early_rows;
            sum.findings_before_turn += task.findings_before_turn;
            sum.silences_untold += task.silences_untold;
            for (sum, series) in sum.coverage.iter_mut().zip(task.coverage) {
                *sum += series;
            }
            sum.points_filled += task.points_filled;
            sum.pages += task.pages;
            sum.pages_withheld += task.pages_withheld;
        }
        self.watermark_ms.store(sum.watermark_ms.unwrap_or_default(), Relaxed);
        self.rows_left_out.store(sum.rows_left_out, Relaxed);
        self.rows_of_others.store(sum.rows_of_others, Relaxed);
        self.series.store(sum.series, Relaxed);
        self.series_refused.store(sum.series_refused, Relaxed);
        self.series_bytes.store(sum.series_bytes, Relaxed);
        self.series_aside.store(sum.series_aside, Relaxed);
        self.series_aside_bytes.store(sum.series_aside_bytes, Relaxed);
        self.series_forgotten.store(sum.series_forgotten, Relaxed);
        self.keys_refused.store(sum.keys_refused, Relaxed);
        self.late_rows.store(sum.late_rows, Relaxed);
        self.amended_rows.store(sum.amended_rows, Relaxed);
        self.early_rows.store(sum.early_rows, Relaxed);
        self.findings_before_turn.store(sum.findings_before_turn, Relaxed);
        self.silences_untold.store(sum.silences_untold, Relaxed);
        for (counter, series) in self.coverage.iter().zip(sum.coverage) {
            counter.store(series, Relaxed);
        }
        self.points_filled.store(sum.points_filled, Relaxed);
        self.pages.store(sum.pages, Relaxed);
        self.pages_withheld.store(sum.pages_withheld, Relaxed);
    }

    pub(crate) fn committed(&self, latency: Duration) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.epochs.fetch_add(1, Relaxed);
        self.commit_latency_us_last.store(latency_us, Relaxed);
        self.commit_latency_us_max.fetch_max(latency_us, Relaxed);
        self.commit_latency_us_sum.fetch_add(latency_us, Relaxed);
    }
}
