//! The loop of a worker: take what comes, end epochs, answer rebalances, go back after a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use checkpoint::SnapshotName;
use model::{Output, SourceRecord};
use pipeline::PartitionTask;

use crate::broker::{Change, Failure, RecoveryError, Sink, Source, Start, TopicPartition};
use crate::checkpoints::Checkpoints;
use crate::counters::WorkerCounters;
use crate::partitions::{Owned, Partition, Rest};
use crate::progress::Progress;
use crate::recovery::recover;
use crate::writer::Writer;

/// Builds the task of a partition: on assignment, and again after an aborted epoch.
pub type TaskFactory = Box<dyn FnMut(&str, i32) -> Box<dyn PartitionTask> + Send>;

#[derive(Clone, Debug)]
pub struct DriverSettings {
    /// Stands in the log.
    pub name: String,
    pub group: String,
    /// How long records are gathered before they are committed.
    pub epoch: Duration,
    /// How long a worker that is to stop waits for what does not answer.
    pub stop_patience: Duration,
    /// Where the states of tasks are kept; without, a task begins anew with each owner.
    pub checkpoints: Option<Checkpoints>,
}

/// Runs tasks between a source and a sink. All of it happens in [`turn`](Self::turn), on the caller's thread.
pub struct Driver<S, K> {
    settings: DriverSettings,
    counters: Arc<WorkerCounters>,
    /// Asks the worker to end; waits are then cut short.
    stop: Arc<AtomicBool>,
    tasks: TaskFactory,
    partitions: Owned,
    source: S,
    sink: K,
    /// Reused from record to record.
    outputs: Vec<Output>,
    epoch: u64,
    epoch_began: Duration,
    aborts_in_a_row: u32,
    answered: bool,
    /// Something was written in this epoch that no record caused.
    has_said: bool,
    /// Records for other stages in this epoch.
    routed: u64,
    /// A snapshot is being written.
    is_writing: bool,
    /// Tasks may give what comes of several records together; not any more once that was too large to send.
    gathers: bool,
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_millis(3200);
const POLL_MAX: Duration = Duration::from_millis(100);

impl<S, K> Driver<S, K>
where
    S: Source,
    K: Sink<Error = S::Error, Group = S::Group>,
{
    pub fn new(
        settings: DriverSettings,
        tasks: TaskFactory,
        source: S,
        sink: K,
        counters: Arc<WorkerCounters>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let epoch_began = source.now();
        Self {
            settings,
            counters,
            stop,
            tasks,
            partitions: Owned::default(),
            source,
            sink,
            outputs: Vec::new(),
            epoch: 0,
            epoch_began,
            aborts_in_a_row: 0,
            answered: false,
            has_said: false,
            routed: 0,
            is_writing: false,
            gathers: true,
        }
    }

    /// Whether the group has given this worker its partitions, which may be none.
    pub fn has_answered(&self) -> bool {
        self.answered
    }

    pub fn source(&mut self) -> &mut S {
        &mut self.source
    }

    pub fn sink(&mut self) -> &mut K {
        &mut self.sink
    }

    /// Polls once, takes what comes, and ends the epoch when it is time.
    pub fn turn(&mut self) -> Result<(), S::Error> {
        let left = self.settings.epoch.saturating_sub(self.epoch_age());
        self.step(if self.is_writing { Duration::ZERO } else { left.min(POLL_MAX) })?;
        self.write_on();
        if self.epoch_age() >= self.settings.epoch {
            self.end_epoch()?;
        }
        Ok(())
    }

    /// Commits the last epoch. One that cannot be committed now is read again by the next owner.
    pub fn finish(&mut self) -> Result<(), S::Error> {
        self.commit(&|_, _| true).or_else(|failure| self.abort_after(failure))
    }

    /// Writes a slice of the snapshots that are being written.
    fn write_on(&mut self) {
        if !std::mem::take(&mut self.is_writing) {
            return;
        }
        let Self { source, partitions, counters, settings, is_writing, .. } = self;
        let series = settings.checkpoints.as_ref().map_or(usize::MAX, |checkpoints| checkpoints.slice_series);
        for (_, _, Partition { task, progress, .. }) in partitions.iter_mut() {
            let Some(progress) = progress.as_mut().filter(|progress| progress.is_writing()) else { continue };
            progress.continue_snapshot(series, task.as_mut(), &|| source.now(), counters);
            *is_writing |= progress.is_writing();
        }
    }

    fn epoch_age(&self) -> Duration {
        self.source.now().saturating_sub(self.epoch_began)
    }

    fn step(&mut self, timeout: Duration) -> Result<(), S::Error> {
        let Self { source, sink, partitions, outputs, counters, routed, gathers, .. } = self;
        let mut replay_ended = false;
        let polled = source.poll(timeout, &mut |record| {
            let mut writer = Writer { sink, counters, routed, gathers };
            process(record, partitions, &mut writer, outputs, &mut replay_ended)
        });
        match polled {
            Ok(true) => {}
            Ok(false) => self.sink.poll(),
            Err(failure) => self.recover(failure)?,
        }
        if replay_ended {
            self.check_replays()?;
        }
        for change in self.source.changes() {
            self.take(&change)?;
        }
        self.note_ends()
    }

    /// A replay that came to other outputs than were committed: either records were deleted under it, then the partition is
    /// prepared anew, or something is not deterministic.
    fn check_replays(&mut self) -> Result<(), S::Error> {
        let mut diverged = Vec::new();
        for (topic, number, partition) in self.partitions.iter_mut() {
            let Some(progress) = &mut partition.progress else { continue };
            if progress.has_diverged() {
                diverged.push(((topic.to_owned(), number), progress.replayed_from()));
            }
        }
        for (key, from) in diverged {
            let (low_watermark, _) = self.source.watermarks(&key)?;
            let (topic, partition) = (&key.0, key.1);
            if from.is_none_or(|from| from >= low_watermark) {
                self.counters.replay_divergences.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    topic,
                    partition,
                    "a replay gave other outputs than were committed; this is a bug, please report it"
                );
                continue;
            }
            tracing::warn!(topic, partition, low_watermark, "records were deleted while they were replayed");
            self.recover(Failure::Abort("a replay was incomplete".to_owned()))?;
        }
        Ok(())
    }

    /// News of the ends tells how far behind the worker is, and which partitions rest.
    fn note_ends(&mut self) -> Result<(), S::Error> {
        if !self.source.has_new_ends() {
            return Ok(());
        }
        let Self { source, sink, partitions, outputs, counters, .. } = self;
        let mut lag_sum = Some(0);
        let mut failure = None;
        for (topic, number, partition) in partitions.iter_mut() {
            let lag = source.lag(topic, number, partition.position);
            lag_sum = lag_sum.zip(lag).map(|(sum, lag)| sum + lag);
            let is_muted = partition.progress.as_ref().is_some_and(Progress::is_muted);
            if !partition.rest.is_due(partition.position, lag) || is_muted {
                continue;
            }
            partition.task.on_idle(outputs);
            if outputs.is_empty() {
                continue;
            }
            // With an offset, so that only the owner can say it, and so that a partition without a record so far is known to have been
            // read to there.
            self.has_said = true;
            partition.next = partition.next.or(partition.position).or_else(|| source.end(topic, number));
            for output in outputs.drain(..) {
                if failure.is_none() {
                    failure = sink.write(&output).err();
                    counters.outputs.fetch_add(1, Ordering::Relaxed);
                    self.routed += u64::from(output.partition.is_some());
                }
            }
        }
        counters.lag_records.store(lag_sum.unwrap_or(-1), Ordering::Relaxed);
        failure.map_or(Ok(()), |failure| self.recover(failure))
    }

    fn forget_lag(&mut self) {
        self.source.forget_lag();
        let lag = if self.partitions.len() == 0 { 0 } else { -1 };
        self.counters.lag_records.store(lag, Ordering::Relaxed);
    }

    fn take(&mut self, change: &Change) -> Result<(), S::Error> {
        match change {
            Change::Assign(keys) => {
                let mut starts = Vec::with_capacity(keys.len());
                for (key, partition, start) in self.prepare(keys)? {
                    self.partitions.insert(&key.0, key.1, partition);
                    starts.push((key, start));
                }
                self.source.answer(change, &starts);
            }
            Change::Revoke(keys) => {
                let is_last = |topic: &str, number| keys.iter().any(|(t, n)| t == topic && *n == number);
                let kept = self.commit(&is_last).or_else(|failure| self.abort_after(failure));
                self.give_up(keys, change, kept)?;
            }
            Change::Lost(keys) => {
                let kept = self.abort("the partitions were lost to the group");
                self.give_up(keys, change, kept)?;
            }
        }
        self.forget_lag();
        self.answered = true;
        let count = self.partitions.len();
        self.counters.partitions.store(count as u64, Ordering::Relaxed);
        tracing::info!(worker = self.settings.name, ?change, owned = count, "partitions changed");
        Ok(())
    }

    fn give_up(
        &mut self,
        keys: &[TopicPartition],
        change: &Change,
        kept: Result<(), S::Error>,
    ) -> Result<(), S::Error> {
        let dirty = self.dirty();
        for key in keys {
            self.partitions.remove(key);
        }
        self.source.answer(change, &[]);
        kept?;
        self.rewind(&dirty)
    }

    fn end_epoch(&mut self) -> Result<(), S::Error> {
        match self.commit(&|_, _| false) {
            Ok(()) => Ok(()),
            Err(failure) => self.recover(failure),
        }
    }

    /// Writes what tasks have kept back of the epoch's records.
    fn flush_tasks(&mut self) -> Result<(), Failure<S::Error>> {
        let Self { sink, partitions, outputs, counters, routed, gathers, .. } = self;
        let mut writer = Writer { sink, counters, routed, gathers };
        for (_, _, partition) in partitions.iter_mut().filter(|(_, _, partition)| partition.next.is_some()) {
            partition.task.flush(outputs);
            for output in outputs.drain(..) {
                writer.write(&output, None)?;
            }
        }
        Ok(())
    }

    /// Commits what the epoch has. Does nothing if it has no record. Where it `is_last` before a hand-over it ends with a
    /// snapshot, so that the next owner has nothing to replay.
    fn commit(&mut self, is_last: &dyn Fn(&str, i32) -> bool) -> Result<(), Failure<S::Error>> {
        self.flush_tasks()?;
        let Self { source, sink, partitions, counters, settings, epoch, .. } = self;
        self.epoch_began = source.now();
        let began = self.epoch_began;
        let epoch_now = *epoch + 1;
        let mut committing = Vec::new();
        // Of all, those without a record too: one that is done must not count as being stored.
        let progresses = partitions.iter_mut().filter_map(|(_, _, partition)| partition.progress.as_mut());
        progresses.for_each(|progress| progress.settle(counters));
        let due = due_snapshot(partitions, source.now());
        for (topic, number, partition) in partitions.iter_mut() {
            let last = is_last(topic, number);
            let Some(next) = partition.next.or_else(|| partition.unsaved().filter(|_| last)) else {
                continue;
            };
            if let Some(progress) = &mut partition.progress {
                let is_due = due.as_ref().is_some_and(|due| due.0 == topic && due.1 == number);
                let task = partition.task.as_mut();
                if (last && progress.is_behind(next)) || is_due {
                    match SnapshotName::new(&settings.group, topic, number, next, epoch_now) {
                        Ok(name) => progress.begin_snapshot(name, task, &|| source.now()),
                        Err(error) => {
                            tracing::error!(%error, "no snapshot can be stored; use a shorter name for the group");
                        }
                    }
                }
                while last && progress.is_writing() {
                    progress.continue_snapshot(usize::MAX, task, &|| source.now(), counters);
                }
                self.is_writing |= progress.is_writing();
            }
            committing.push(((topic.to_owned(), number), next, last));
        }
        if committing.is_empty() && !self.has_said {
            return Ok(());
        }
        // All are being stored at once; so they are waited for, together.
        let deadline = source.now() + settings.stop_patience;
        let mut offsets = Vec::with_capacity(committing.len());
        for (key, next, last) in committing {
            let mut metadata = String::new();
            let progress =
                partitions.get_mut(&key.0, key.1).and_then(|partition| partition.progress.as_mut());
            if let Some(progress) = progress {
                if last {
                    progress.wait(deadline.saturating_sub(source.now()), counters);
                }
                metadata = progress.manifest(epoch_now).to_metadata();
            }
            offsets.push((key, next, metadata));
        }
        let Some(group) = source.group() else {
            return Err(Failure::Abort("the consumer is in no group".to_owned()));
        };
        sink.commit(&offsets, &group)?;
        self.has_said = false;
        counters.routed.fetch_add(std::mem::take(&mut self.routed), Ordering::Relaxed);
        *epoch = epoch_now;
        self.aborts_in_a_row = 0;
        for (key, _, _) in &offsets {
            let Some(partition) = partitions.get_mut(&key.0, key.1) else { continue };
            partition.next = None;
            if let Some(progress) = &mut partition.progress {
                progress.on_committed();
            }
        }
        counters.note(partitions.iter().map(|(_, _, partition)| partition.task.status()));
        counters.committed(source.now().saturating_sub(began));
        self.epoch_began = source.now();
        Ok(())
    }

    /// Gives up the epoch and goes back to where the last one ended.
    fn recover(&mut self, failure: Failure<S::Error>) -> Result<(), S::Error> {
        self.abort_after(failure)?;
        let dirty = self.dirty();
        self.rewind(&dirty)
    }

    fn abort_after(&mut self, failure: Failure<S::Error>) -> Result<(), S::Error> {
        match failure {
            Failure::Stop(error) => Err(error),
            Failure::Abort(reason) => self.abort(&reason),
        }
    }

    fn abort(&mut self, reason: &str) -> Result<(), S::Error> {
        let stop = Arc::clone(&self.stop);
        let stopping = || stop.load(Ordering::Acquire);
        let patience = self.settings.stop_patience;
        tracing::warn!(
            worker = self.settings.name,
            reason,
            "epoch aborted, going back to the committed offsets"
        );
        self.counters.aborts.fetch_add(1, Ordering::Relaxed);
        self.outputs.clear();
        self.has_said = false;
        self.routed = 0;
        self.sink.abort(&|waited| stopping() && waited > patience)?;
        if !stopping() {
            self.source.pause(backoff(self.aborts_in_a_row));
        }
        self.aborts_in_a_row = self.aborts_in_a_row.saturating_add(1);
        Ok(())
    }

    /// The partitions with records in this epoch.
    fn dirty(&self) -> Vec<TopicPartition> {
        self.partitions
            .iter()
            .filter(|(_, _, partition)| partition.next.is_some())
            .map(|(topic, number, _)| (topic.to_owned(), number))
            .collect()
    }

    /// Goes back to the committed offsets of those of `keys` that are still owned, with new tasks.
    fn rewind(&mut self, keys: &[TopicPartition]) -> Result<(), S::Error> {
        let keys: Vec<TopicPartition> =
            keys.iter().filter(|key| self.partitions.contains(key)).cloned().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let mut starts = Vec::with_capacity(keys.len());
        for (key, mut fresh, start) in self.prepare(&keys)? {
            let Some(partition) = self.partitions.get_mut(&key.0, key.1) else { continue };
            let start = match start {
                Start::At(offset) => offset,
                // Nothing is committed: back to where the group began, which is not always where it would begin now.
                Start::Configured => partition.first.unwrap_or_default(),
            };
            fresh.first = partition.first;
            if let (Some(fresh), Some(former)) = (&mut fresh.progress, &partition.progress) {
                fresh.inherit(former);
            }
            fresh.position = Some(start);
            *partition = fresh;
            starts.push((key, start));
        }
        self.source.seek(&starts)?;
        self.forget_lag();
        self.epoch_began = self.source.now();
        Ok(())
    }

    /// New tasks for partitions, with the states that belong to their committed offsets, and where to read on.
    fn prepare(
        &mut self,
        keys: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Partition, Start)>, S::Error> {
        let mut prepared = Vec::with_capacity(keys.len());
        let all = self.source.committed(keys)?;
        for (key, committed) in keys.iter().zip(all) {
            let mut make = || (self.tasks)(&key.0, key.1);
            let (task, progress, start) = match &self.settings.checkpoints {
                None => (make(), None, committed.offset.map_or(Start::Configured, Start::At)),
                Some(checkpoints) => {
                    let (source, group) = (&mut self.source, &self.settings.group);
                    let counters = &self.counters;
                    let recovered =
                        recover(checkpoints, source, group, key, &committed, &mut make, counters)?;
                    (recovered.task, Some(recovered.progress), recovered.start)
                }
            };
            let rest = Rest::default();
            let partition = Partition { task, first: None, next: None, position: None, progress, rest };
            prepared.push((key.clone(), partition, start));
        }
        Ok(prepared)
    }
}

/// Snapshots that are being written or stored at once: each holds a copy of a task's state.
const SNAPSHOTS_MAX: usize = 2;

/// The partition whose snapshot is most overdue. One at a time, so that few copies are held.
fn due_snapshot(partitions: &Owned, now: Duration) -> Option<TopicPartition> {
    let progresses = || {
        let all = partitions.iter();
        all.filter_map(|(topic, number, partition)| {
            Some((topic, number, partition, partition.progress.as_ref()?))
        })
    };
    if progresses().filter(|(_, _, _, progress)| progress.is_busy()).count() >= SNAPSHOTS_MAX {
        return None;
    }
    let due =
        progresses().filter(|(_, _, partition, progress)| partition.next.is_some() && progress.is_due(now));
    let (topic, number, ..) = due.min_by_key(|(.., progress)| progress.last_snapshot())?;
    Some((topic.to_owned(), number))
}

/// The pause after an abort that follows on so many others: none after the first, then 100 ms, doubled up to 3.2 s.
fn backoff(aborts_before: u32) -> Duration {
    match aborts_before.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(BACKOFF_MAX),
    }
}

fn process<K: Sink<Error: From<RecoveryError>>>(
    record: SourceRecord<'_>,
    partitions: &mut Owned,
    writer: &mut Writer<'_, K>,
    outputs: &mut Vec<Output>,
    replay_ended: &mut bool,
) -> Result<(), Failure<K::Error>> {
    let counters = writer.counters;
    // A record of a partition that was just revoked: its next owner reads it.
    let Some(partition) = partitions.get_mut(record.topic, record.partition) else { return Ok(()) };
    if let Some(found) = pipeline::wire::newer_format(record) {
        let (topic, partition, offset) = (record.topic.to_owned(), record.partition, record.offset);
        return Err(Failure::Stop(RecoveryError::NewerRecord { topic, partition, offset, found }.into()));
    }
    let mut muted = false;
    if let Some(progress) = &mut partition.progress {
        let was_muted = progress.is_muted();
        muted = progress.on_record(record.offset, record.timestamp_ms, counters);
        *replay_ended |= was_muted && !muted;
    }
    partition.position = Some(record.offset + 1);
    if !muted {
        partition.first.get_or_insert(record.offset);
        partition.next = partition.position;
    }
    counters.records.fetch_add(1, Ordering::Relaxed);
    counters.record_bytes.fetch_add(record.payload.len() as u64, Ordering::Relaxed);
    partition.task.on_record(record, outputs);
    if !*writer.gathers {
        partition.task.flush(outputs);
    }
    for output in outputs.drain(..) {
        if let Some(progress) = &mut partition.progress {
            progress.on_output(&output);
        }
        if !muted {
            writer.write(&output, Some(record))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_at_its_end_is_idle_after_a_while_and_says_so_again() {
        let mut rest = Rest::default();
        let mut due = |lag, position, times: u32| (0..times).filter(|_| rest.is_due(position, lag)).count();
        assert_eq!(due(None, None, 100), 0, "nobody knows");
        assert_eq!(due(Some(0), Some(7), 5), 0, "one for the move and four");
        assert_eq!(due(Some(0), Some(7), 1), 1);
        assert_eq!(due(Some(0), Some(7), 9), 0);
        assert_eq!(due(Some(0), Some(7), 100), 10);
        assert_eq!(due(Some(3), Some(7), 100), 0, "there is more");
    }

    #[test]
    fn pauses_between_aborts_double_up_to_a_bound() {
        let pauses_ms = [0, 1, 2, 3, 5, 6, 7, u32::MAX].map(|before| backoff(before).as_millis());
        assert_eq!(pauses_ms, [0, 100, 200, 400, 1600, 3200, 3200, 3200]);
    }
}
