//! Snapshots of what a task knows about its partition, and how to start from them.
//!
//! Each epoch commits a [`CheckpointManifest`] in the metadata of the consumer's offset. It names the newest [`Snapshot`] and holds a digest of
//! what was written since. At start, [`plan`] decides: restore that snapshot, process the records up to the committed offset with the output
//! muted, and compare the digests.
//!
//! - Every function here either is pure or blocks. Nothing runs by itself.
//! - Names, manifests and snapshots are read as if a stranger had written them: bounded, checked, without panics.
//! - A snapshot that lies later than the committed offset is never restored.

#![forbid(unsafe_code)]

pub mod manifest;
pub mod name;
pub mod recovery;
pub mod retention;
pub mod snapshot;
pub mod store;

pub use manifest::{CheckpointManifest, InvalidManifest, METADATA_BYTES_MAX, OutputDigest, SnapshotRef};
pub use name::{InvalidName, SnapshotName};
pub use recovery::{ColdStart, RecoveryInput, RecoveryPlan, plan};
pub use retention::superseded;
pub use snapshot::{InvalidSnapshot, Section, Snapshot};
pub use store::{
    LocalStore, ObjectStore, SNAPSHOT_BYTES_MAX, SnapshotStore, StoreError, Stored, open, open_existing,
};
