//! How a task comes back to where its committed offset stands.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use checkpoint::{
    CheckpointManifest, InvalidManifest, RecoveryInput, RecoveryPlan, Snapshot, SnapshotName, SnapshotStore,
    StoreError,
};
use pipeline::PartitionTask;

use crate::broker::{Committed, RecoveryError, Source, Start, TopicPartition};
use crate::checkpoints::Checkpoints;
use crate::counters::WorkerCounters;
use crate::progress::Progress;

/// How long a store is asked again that does not answer. With the longest call on top this stays below the time after which
/// Kafka puts out a member that does not poll.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Recovered {
    pub(crate) task: Box<dyn PartitionTask>,
    pub(crate) progress: Progress,
    pub(crate) start: Start,
}

/// Makes the task of a partition and takes up the state that belongs to the committed offset, or the nearest one before.
pub(crate) fn recover<S: Source>(
    checkpoints: &Checkpoints,
    source: &mut S,
    group: &str,
    key: &TopicPartition,
    committed: &Committed,
    make: &mut dyn FnMut() -> Box<dyn PartitionTask>,
    counters: &WorkerCounters,
) -> Result<Recovered, S::Error> {
    let progress = Progress::new(checkpoints, source.now());
    let Some(offset) = committed.offset else {
        return Ok(Recovered { task: make(), progress, start: Start::Configured });
    };
    let (topic, partition) = (key.0.as_str(), key.1);
    let manifest = match CheckpointManifest::from_metadata(&committed.metadata) {
        Ok(manifest) => manifest,
        // A newer program's: its state is there, and not for this one.
        Err(error @ InvalidManifest::Version { .. }) => return Err(RecoveryError::from(error).into()),
        Err(error) => {
            tracing::warn!(%error, topic, partition, "what was committed with the offset cannot be read");
            None
        }
    };
    let (low_watermark, end) = source.watermarks(key)?;
    if offset > end {
        tracing::error!(
            topic,
            partition,
            committed = offset,
            end,
            "the topic ends before the committed offset: it lost records, or was made anew. Going on at its end; to read a new topic whole, delete the group's offsets"
        );
    }
    let reached = offset.min(end);
    let store = checkpoints.store.as_ref();
    let name = SnapshotName::new(group, topic, partition, 0, 0);
    let listed = match &name {
        Ok(name) => match patiently(source, || store.list(&name.folder())) {
            // A right to list is not needed for a restart.
            Err(StoreError::Denied { .. }) => Vec::new(),
            listed => listed.map_err(RecoveryError::from)?,
        },
        Err(_) => Vec::new(),
    };
    let named = manifest.as_ref().and_then(|manifest| manifest.snapshot.as_ref());
    let names =
        listed.iter().map(|stored| stored.name.as_str()).chain(named.map(|named| named.name.as_str()));
    let mut available: Vec<SnapshotName> = names.filter_map(|name| name.parse().ok()).collect();
    available.sort();
    available.dedup();
    let read_from = manifest.as_ref().map_or(Some(reached), |manifest| manifest.read_from);
    loop {
        let input = RecoveryInput {
            group,
            topic,
            partition,
            committed_offset: reached,
            manifest: manifest.as_ref(),
            config_digest: checkpoints.config_digest,
            low_watermark,
            snapshots: &available,
        };
        match checkpoint::plan(&input) {
            RecoveryPlan::Restore { snapshot, replay_from, unmute_at, compare } => {
                match restored(source, store, &snapshot, make).map_err(RecoveryError::from)? {
                    Ok(task) => {
                        counters.restores.fetch_add(1, Relaxed);
                        if manifest.is_none() {
                            tracing::warn!(topic, partition, %snapshot, offset, "the offset was set by hand; the newest state before goes on from it");
                        } else {
                            tracing::info!(topic, partition, replay_from, unmute_at, "state taken up");
                        }
                        // The digest is of the outputs up to the committed offset.
                        let compare = compare.filter(|_| offset == reached);
                        let progress =
                            progress.restored(snapshot, unmute_at, compare).reading_from(read_from);
                        return Ok(Recovered { task, progress, start: Start::At(replay_from) });
                    }
                    Err(reason) => {
                        tracing::error!(topic, partition, %snapshot, reason, "a stored state is of no use");
                        available.retain(|name| *name != snapshot);
                    }
                }
            }
            RecoveryPlan::WarmUp { unmute_at, reason } => {
                counters.cold_starts.fetch_add(1, Relaxed);
                let time_ms = manifest.as_ref().and_then(|manifest| manifest.time_ms);
                let from = warm_up_from(source, key, checkpoints.warm_up, time_ms)?.unwrap_or(unmute_at);
                let earliest = low_watermark.max(read_from.unwrap_or(0));
                let from = from.clamp(earliest.min(unmute_at), unmute_at);
                tracing::warn!(topic, partition, %reason, from, unmute_at, "no state to go on from, learning anew");
                let progress = progress.muted_until(unmute_at).reading_from(read_from);
                return Ok(Recovered { task: make(), progress, start: Start::At(from) });
            }
        }
    }
}

/// The task with a stored state, or why that is of no use. A store that does not answer is an error: to go on without the
/// state would be to lose it.
fn restored<S: Source>(
    source: &S,
    store: &dyn SnapshotStore,
    name: &SnapshotName,
    make: &mut dyn FnMut() -> Box<dyn PartitionTask>,
) -> Result<Result<Box<dyn PartitionTask>, String>, StoreError> {
    let bytes = match patiently(source, || store.get(&name.to_string())) {
        Ok(bytes) => bytes,
        Err(error @ (StoreError::NotFound { .. } | StoreError::TooLarge { .. })) => {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let snapshot = match Snapshot::from_bytes(&bytes) {
        Ok(snapshot) => snapshot,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let found = (snapshot.topic.as_str(), snapshot.partition, snapshot.offset);
    if found != (name.topic(), name.partition(), name.offset()) {
        return Ok(Err(format!("it holds the state of {found:?}")));
    }
    let mut task = make();
    Ok(match task.restore(&snapshot.sections) {
        Ok(begun_anew) => {
            for what in begun_anew {
                tracing::warn!(%name, %what, "a part of the state cannot be taken up and begins anew");
            }
            Ok(task)
        }
        Err(error) => Err(error.to_string()),
    })
}

/// The first offset of the time before the last record's; none if that is unknown.
fn warm_up_from<S: Source>(
    source: &mut S,
    key: &TopicPartition,
    warm_up: Duration,
    time_ms: Option<i64>,
) -> Result<Option<i64>, S::Error> {
    let Some(time_ms) = time_ms.filter(|_| !warm_up.is_zero()) else { return Ok(None) };
    let warm_up_ms = i64::try_from(warm_up.as_millis()).unwrap_or(i64::MAX);
    source.offset_at(key, time_ms.saturating_sub(warm_up_ms).max(0))
}

fn patiently<T>(source: &impl Source, call: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let began = source.now();
    loop {
        match call() {
            Err(error)
                if error.is_transient()
                    && source.now().saturating_sub(began) < STORE_PATIENCE
                    && !source.is_stopping() =>
            {
                tracing::warn!(%error, "the store of states does not answer, trying again");
                source.pause(Duration::from_secs(1));
            }
            result => return result,
        }
    }
}
