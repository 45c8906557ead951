//! A store of snapshots that fills up, does not answer, and damages what it holds.

use std::collections::BTreeMap;
use std::sync::Mutex;

use checkpoint::{SnapshotStore, StoreError, Stored};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) struct SimulatedStore(Mutex<Inner>);

struct Inner {
    files: BTreeMap<String, Vec<u8>>,
    rng: ChaCha8Rng,
    is_calm: bool,
    may_damage: bool,
}

impl SimulatedStore {
    pub(crate) fn new(seed: u64, may_damage: bool) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self(Mutex::new(Inner { files: BTreeMap::new(), rng, is_calm: false, may_damage }))
    }

    pub(crate) fn calm_from_the_start() -> Self {
        let store = Self::new(0, false);
        store.calm();
        store
    }

    pub(crate) fn calm(&self) {
        self.inner().is_calm = true;
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("one thread, and no panic while it is held")
    }
}

impl Inner {
    fn fails(&mut self, one_in: u32) -> bool {
        !self.is_calm && self.rng.random_ratio(1, one_in)
    }
}

const PLACE: &str = "memory";

impl SnapshotStore for SimulatedStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut inner = self.inner();
        if inner.fails(8) {
            return Err(StoreError::Full { place: PLACE.to_owned() });
        }
        let mut bytes = bytes.to_vec();
        if inner.may_damage && inner.fails(10) {
            let at = inner.rng.random_range(0..bytes.len());
            if inner.rng.random_bool(0.5) { bytes.truncate(at) } else { bytes[at] ^= 1 }
        }
        inner.files.insert(name.to_owned(), bytes);
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let mut inner = self.inner();
        if inner.fails(10) {
            return Err(unreachable("read"));
        }
        inner.files.get(name).cloned().ok_or_else(|| StoreError::NotFound { name: name.to_owned() })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Stored>, StoreError> {
        let mut inner = self.inner();
        if inner.fails(10) {
            return Err(unreachable("list"));
        }
        let below = inner.files.iter().filter(|(name, _)| name.starts_with(&format!("{prefix}/")));
        let stored = |(name, bytes): (&String, &Vec<u8>)| Stored {
            name: name.clone(),
            size_bytes: bytes.len() as u64,
            modified_ms: 0,
        };
        Ok(below.map(stored).collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner().files.remove(name);
        Ok(())
    }
}

fn unreachable(doing: &'static str) -> StoreError {
    StoreError::Unreachable { place: PLACE.to_owned(), doing, reason: "simulated".to_owned() }
}
