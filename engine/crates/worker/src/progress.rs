//! How far a partition's task has come, and what is kept so that another process can go on from there.
//!
//! The state of a task is stored as a snapshot now and then. With each committed offset goes a manifest, as its metadata:
//! the snapshot to begin from, and a digest of the outputs since. After a restart the task takes up the snapshot and reads
//! again what lies between it and the committed offset, with its outputs digested but not written.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use checkpoint::{
    CheckpointManifest, OutputDigest, Snapshot, SnapshotName, SnapshotRef, SnapshotStore, StoreError,
};
use model::{Output, StateSection};
use pipeline::PartitionTask;

use crate::checkpoints::Checkpoints;
use crate::counters::WorkerCounters;

/// A snapshot that manifests may name, and the outputs since.
struct Begin {
    name: SnapshotName,
    digest: OutputDigest,
}

/// A snapshot that the task still writes down.
struct Writing {
    begin: Begin,
    sections: Vec<StateSection>,
    /// The longest that the task was kept from records at once.
    pause: Duration,
}

/// A snapshot that is being stored.
struct Pending {
    begin: Begin,
    stored: Receiver<Result<(), StoreError>>,
}

/// Of one partition that is owned.
pub(crate) struct Progress {
    checkpoints: Checkpoints,
    /// The outputs of records below this offset are committed already.
    muted_until: Option<i64>,
    /// What the outputs up to there must come to.
    expected: Option<OutputDigest>,
    /// A replay ended with other outputs than were committed.
    diverged: bool,
    begin: Option<Begin>,
    /// The snapshot that the committed manifest names: older ones may go, and none that is newer.
    committed: Option<SnapshotName>,
    writing: Option<Writing>,
    pending: Option<Pending>,
    last_snapshot: Duration,
    /// Kafka's timestamp of the last record.
    time_ms: Option<i64>,
    /// What lies before was skipped by hand.
    read_from: Option<i64>,
}

impl Progress {
    pub(crate) fn new(checkpoints: &Checkpoints, now: Duration) -> Self {
        Self {
            checkpoints: checkpoints.clone(),
            muted_until: None,
            expected: None,
            diverged: false,
            begin: None,
            committed: None,
            writing: None,
            pending: None,
            last_snapshot: now,
            time_ms: None,
            read_from: None,
        }
    }

    /// After the task took up `snapshot`: mutes what is committed, and remembers what it must come to.
    pub(crate) fn restored(
        mut self,
        snapshot: SnapshotName,
        unmute_at: i64,
        expected: Option<OutputDigest>,
    ) -> Self {
        self.committed = Some(snapshot.clone());
        self.begin = Some(Begin { name: snapshot, digest: OutputDigest::default() });
        self.muted_until = Some(unmute_at);
        self.expected = expected;
        self
    }

    pub(crate) fn reading_from(mut self, offset: Option<i64>) -> Self {
        self.read_from = offset;
        self
    }

    pub(crate) fn muted_until(mut self, offset: i64) -> Self {
        self.muted_until = Some(offset);
        self
    }

    /// Takes note of a record before its task does; returns whether its outputs are committed already.
    pub(crate) fn on_record(&mut self, offset: i64, time_ms: Option<i64>, counters: &WorkerCounters) -> bool {
        self.time_ms = time_ms.or(self.time_ms);
        let Some(until) = self.muted_until else { return false };
        if offset < until {
            counters.replayed_records.fetch_add(1, Relaxed);
            return true;
        }
        self.muted_until = None;
        let replayed = self.begin.as_ref().map(|begin| begin.digest);
        if let (Some(expected), Some(replayed)) = (self.expected.take(), replayed)
            && expected != replayed
        {
            self.diverged = true;
        }
        false
    }

    /// Whether a replay just ended with other outputs than were committed.
    pub(crate) fn has_diverged(&mut self) -> bool {
        std::mem::take(&mut self.diverged)
    }

    /// Where the replay began.
    pub(crate) fn replayed_from(&self) -> Option<i64> {
        let begin = self.begin.as_ref()?.name.offset();
        Some(self.read_from.map_or(begin, |from| from.max(begin)))
    }

    pub(crate) fn is_muted(&self) -> bool {
        self.muted_until.is_some()
    }

    /// Whether records were taken since the newest snapshot that is stored, or on its way there.
    pub(crate) fn is_behind(&self, position: i64) -> bool {
        let writing = self.writing.as_ref().map(|writing| &writing.begin);
        let pending = self.pending.as_ref().map(|pending| &pending.begin);
        writing.or(pending).or(self.begin.as_ref()).is_none_or(|begin| begin.name.offset() < position)
    }

    /// Whether the committed manifest names the snapshot of this offset.
    pub(crate) fn is_named(&self, position: i64) -> bool {
        self.committed.as_ref().is_some_and(|name| name.offset() >= position)
    }

    /// The last snapshot of the partition's former life counts, so that one aborted epoch after the other does not put off
    /// the next for ever.
    pub(crate) fn inherit(&mut self, former: &Self) {
        self.last_snapshot = former.last_snapshot;
    }

    /// The manifest is committed.
    pub(crate) fn on_committed(&mut self) {
        self.committed = self.begin.as_ref().map(|begin| begin.name.clone());
    }

    pub(crate) fn on_output(&mut self, output: &Output) {
        let writing = self.writing.as_mut().map(|writing| &mut writing.begin);
        let pending = self.pending.as_mut().map(|pending| &mut pending.begin);
        for begin in self.begin.as_mut().into_iter().chain(writing).chain(pending) {
            begin.digest.update(output.topic.as_str(), &output.key, &output.payload);
        }
    }

    /// A snapshot that was being stored may be done, or have failed.
    pub(crate) fn settle(&mut self, counters: &WorkerCounters) {
        let Some(pending) = self.pending.take() else { return };
        match pending.stored.try_recv() {
            Err(TryRecvError::Empty) => self.pending = Some(pending),
            Ok(result) => self.settled(pending.begin, Some(result), counters),
            Err(TryRecvError::Disconnected) => self.settled(pending.begin, None, counters),
        }
    }

    /// Waits for the snapshot that is being stored.
    pub(crate) fn wait(&mut self, patience: Duration, counters: &WorkerCounters) {
        let Some(pending) = self.pending.take() else { return };
        match pending.stored.recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(name = %pending.begin.name, "the store was too slow for a hand-over; the next owner replays more");
                self.pending = Some(pending);
            }
            Ok(result) => self.settled(pending.begin, Some(result), counters),
            Err(RecvTimeoutError::Disconnected) => self.settled(pending.begin, None, counters),
        }
    }

    /// Without a result whoever stored it ended before it was done.
    fn settled(&mut self, begin: Begin, result: Option<Result<(), StoreError>>, counters: &WorkerCounters) {
        if let Some(Ok(())) = result {
            counters.snapshots.fetch_add(1, Relaxed);
            self.begin = Some(begin);
            return;
        }
        counters.snapshot_failures.fetch_add(1, Relaxed);
        let reason = match result {
            Some(Err(error)) => error.to_string(),
            _ => "storing it ended early".to_owned(),
        };
        tracing::error!(name = %begin.name, reason, "a snapshot could not be stored; work goes on, and a restart replays more");
    }

    /// Whether a snapshot is being written or stored.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_writing() || self.pending.is_some()
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// When the last snapshot was begun.
    pub(crate) fn last_snapshot(&self) -> Duration {
        self.last_snapshot
    }

    pub(crate) fn is_due(&self, now: Duration) -> bool {
        !self.is_busy() && now.saturating_sub(self.last_snapshot) >= self.checkpoints.interval
    }

    /// Begins to take the task's state, which is that before the record at the name's offset.
    pub(crate) fn begin_snapshot(
        &mut self,
        name: SnapshotName,
        task: &mut dyn PartitionTask,
        now: &dyn Fn() -> Duration,
    ) {
        let began = now();
        self.last_snapshot = began;
        let sections = task.begin_snapshot();
        if sections.is_empty() {
            return;
        }
        let begin = Begin { name, digest: OutputDigest::default() };
        self.writing = Some(Writing { begin, sections, pause: now().saturating_sub(began) });
    }

    /// Writes on, the part of so many series, and has the snapshot stored once it is complete.
    pub(crate) fn continue_snapshot(
        &mut self,
        series: usize,
        task: &mut dyn PartitionTask,
        now: &dyn Fn() -> Duration,
        counters: &WorkerCounters,
    ) {
        let Some(mut writing) = self.writing.take() else { return };
        let began = now();
        let others = task.continue_snapshot(series);
        writing.pause = writing.pause.max(now().saturating_sub(began));
        match others {
            None => self.writing = Some(writing),
            Some(others) => {
                writing.sections.extend(others);
                self.store(writing, counters);
            }
        }
    }

    fn store(&mut self, writing: Writing, counters: &WorkerCounters) {
        let Writing { begin, sections, pause } = writing;
        let name = &begin.name;
        let snapshot = Snapshot {
            topic: name.topic().to_owned(),
            partition: name.partition(),
            offset: name.offset(),
            config_digest: self.checkpoints.config_digest,
            sections,
        };
        counters.snapshot_pause_us_last.store(pause.as_micros() as u64, Relaxed);
        let bytes: usize = snapshot.sections.iter().map(|section| section.bytes.len()).sum();
        counters.snapshot_bytes_last.store(bytes as u64, Relaxed);
        let (sender, stored) = channel();
        let (store, keep) = (Arc::clone(&self.checkpoints.store), self.checkpoints.keep);
        let committed = self.committed.clone();
        let path = name.to_string();
        let prefix = name.folder();
        let job = move || {
            let bytes = snapshot.to_bytes();
            let result = store.put(&path, &bytes);
            if let (Ok(()), Some(committed)) = (&result, committed) {
                delete_superseded(store.as_ref(), &prefix, keep, committed.offset());
            }
            // Nobody waits any more if the partition was handed over.
            let _ = sender.send(result);
        };
        match (self.checkpoints.run)(Box::new(job)) {
            Ok(()) => self.pending = Some(Pending { begin, stored }),
            Err(error) => {
                counters.snapshot_failures.fetch_add(1, Relaxed);
                tracing::error!(%error, "nothing to store a snapshot with");
            }
        }
    }

    /// What goes with the committed offset.
    pub(crate) fn manifest(&self, epoch: u64) -> CheckpointManifest {
        CheckpointManifest {
            epoch,
            config_digest: self.checkpoints.config_digest,
            time_ms: self.time_ms,
            read_from: self
                .read_from
                .filter(|from| self.begin.as_ref().is_none_or(|begin| begin.name.offset() < *from)),
            snapshot: self.begin.as_ref().map(|begin| SnapshotRef {
                name: begin.name.to_string(),
                offset: begin.name.offset(),
                digest: begin.digest,
            }),
        }
    }
}

/// Keeps so many of the snapshots up to that of a committed manifest. What lies behind may belong to a manifest that this
/// worker does not know of, or to a life of the topic that is over, and does not count.
fn delete_superseded(store: &dyn SnapshotStore, prefix: &str, keep: usize, committed: i64) {
    let mut stored = match store.list(prefix) {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(%error, "old snapshots could not be listed");
            return;
        }
    };
    stored.retain(|stored| SnapshotName::parse(&stored.name).is_ok_and(|name| name.offset() <= committed));
    for name in checkpoint::superseded(&stored, keep) {
        if let Err(error) = store.delete(&name) {
            tracing::warn!(%error, name, "an old snapshot could not be deleted");
        }
    }
}
