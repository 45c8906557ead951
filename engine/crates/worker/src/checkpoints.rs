//! How the states of a worker's tasks are kept.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::SnapshotStore;

/// A few milliseconds of work: states of the default detector take about 5 µs each.
pub const SLICE_SERIES: usize = 1_000;

/// Work that no record waits for.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs beside the worker.
pub type Run = Arc<dyn Fn(Job) -> io::Result<()> + Send + Sync>;

#[derive(Clone)]
pub struct Checkpoints {
    pub store: Arc<dyn SnapshotStore>,
    /// Between two snapshots of a partition.
    pub interval: Duration,
    /// Snapshots kept of each partition.
    pub keep: usize,
    /// Series whose state is written down between two records, so that no record waits for a whole snapshot.
    pub slice_series: usize,
    /// A task without a snapshot first reads, muted, the records of this long before its committed offset.
    pub warm_up: Duration,
    /// Of all settings that have an influence on outputs: after a change, a replay may differ from what was committed.
    pub config_digest: u64,
    /// Runs the storing of a snapshot beside the worker.
    pub run: Run,
}

/// A thread for each job.
pub fn on_threads() -> Run {
    Arc::new(|job| std::thread::Builder::new().name("snapshot".to_owned()).spawn(job).map(drop))
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints")
            .field("interval", &self.interval)
            .field("keep", &self.keep)
            .field("slice_series", &self.slice_series)
            .field("warm_up", &self.warm_up)
            .finish_non_exhaustive()
    }
}
