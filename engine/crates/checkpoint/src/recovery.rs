//! What to do when a partition is assigned for which offsets are committed: a pure decision.
//!
//! Load the snapshot that was chosen. If it turns out missing or damaged, take it off the list and [`plan`] again.

use std::fmt;

use crate::manifest::{CheckpointManifest, OutputDigest};
use crate::name::SnapshotName;

/// What is known of one partition.
#[derive(Clone, Debug)]
pub struct RecoveryInput<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub partition: i32,
    /// Of the first record that was not committed.
    pub committed_offset: i64,
    /// What was committed with the offset.
    pub manifest: Option<&'a CheckpointManifest>,
    /// Of the configuration that the engine runs with now.
    pub config_digest: u64,
    /// The earliest offset that Kafka still has.
    pub low_watermark: i64,
    /// In any order; those of other partitions do not count.
    pub snapshots: &'a [SnapshotName],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryPlan {
    /// Load `snapshot`, process the records from `replay_from` to before `unmute_at` with the output muted, then go on with it on.
    Restore {
        snapshot: SnapshotName,
        replay_from: i64,
        unmute_at: i64,
        /// What the muted outputs must come to. `None` if that is not known for this snapshot, or the configuration has changed.
        compare: Option<OutputDigest>,
    },
    /// Begin with an empty state, process records from before `unmute_at`, as far back as is wanted, with the output muted.
    WarmUp { unmute_at: i64, reason: ColdStart },
}

/// Why no snapshot can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColdStart {
    /// The offset was committed without a manifest, or with one that cannot be read, and nothing is stored.
    NoManifest,
    /// None was taken before the offset was committed.
    NoSnapshot,
    SnapshotMissing {
        name: String,
    },
    /// Kafka has deleted records after the newest snapshot.
    RecordsDeleted {
        snapshot_offset: i64,
        low_watermark: i64,
    },
}

impl fmt::Display for ColdStart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColdStart::NoManifest => {
                write!(
                    formatter,
                    "the offset was committed without a readable manifest, and no snapshot is stored"
                )
            }
            ColdStart::NoSnapshot => write!(formatter, "no snapshot was taken before the last commit"),
            ColdStart::SnapshotMissing { name } => {
                write!(formatter, "the snapshot {name} is missing or of no use, and there is no older one")
            }
            ColdStart::RecordsDeleted { snapshot_offset, low_watermark } => write!(
                formatter,
                "the newest snapshot ends at offset {snapshot_offset}, and the topic keeps records only from {low_watermark} on; keep them longer or snapshot more often"
            ),
        }
    }
}

/// Records before `read_from` of the manifest are never replayed, nor are any where there is no manifest.
///
/// Prefers the manifest's snapshot, then the newest before the committed offset. A later one is never used, since its state knows records
/// whose outputs were not committed.
pub fn plan(input: &RecoveryInput<'_>) -> RecoveryPlan {
    let committed = input.committed_offset;
    // An offset without a manifest was set by hand, to skip records perhaps.
    let read_from = input.manifest.map_or(committed, |manifest| manifest.read_from.unwrap_or(0));
    let replay_from = |snapshot: &SnapshotName| snapshot.offset().max(read_from).min(committed);
    let restore = |snapshot: &SnapshotName, compare| RecoveryPlan::Restore {
        snapshot: snapshot.clone(),
        replay_from: replay_from(snapshot),
        unmute_at: committed,
        compare,
    };
    let (retained, behind): (Vec<&SnapshotName>, Vec<&SnapshotName>) = input
        .snapshots
        .iter()
        .filter(|name| name.is_of(input.group, input.topic, input.partition))
        .filter(|name| name.offset() <= committed)
        .partition(|name| {
            // Where nothing is to be replayed it does not matter what the topic still has.
            replay_from(name) >= input.low_watermark || replay_from(name) == committed
        });

    let wanted = input.manifest.and_then(|manifest| manifest.snapshot.as_ref());
    if let (Some(manifest), Some(wanted)) = (input.manifest, wanted) {
        let is_wanted =
            |name: &&&SnapshotName| name.offset() == wanted.offset && name.to_string() == wanted.name;
        if let Some(snapshot) = retained.iter().find(is_wanted) {
            let is_comparable = manifest.config_digest == input.config_digest;
            return restore(snapshot, is_comparable.then_some(wanted.digest));
        }
    }
    if let Some(snapshot) = newest(&retained) {
        return restore(snapshot, None);
    }

    let reason = match (newest(&behind), input.manifest, wanted) {
        (Some(snapshot), _, _) => ColdStart::RecordsDeleted {
            snapshot_offset: snapshot.offset(),
            low_watermark: input.low_watermark,
        },
        (None, None, _) => ColdStart::NoManifest,
        (None, Some(_), None) => ColdStart::NoSnapshot,
        (None, Some(_), Some(wanted)) => ColdStart::SnapshotMissing { name: wanted.name.clone() },
    };
    RecoveryPlan::WarmUp { unmute_at: committed.max(input.low_watermark), reason }
}

fn newest<'a>(names: &[&'a SnapshotName]) -> Option<&'a SnapshotName> {
    names.iter().copied().max_by_key(|name| (name.offset(), name.epoch()))
}

#[cfg(test)]
mod tests;
