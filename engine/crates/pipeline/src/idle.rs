//! States of idle series, on disk while there is no room for them in memory.
//!
//! They lie one behind the other in files that have no name, so that nothing of them is left after a crash: what must outlive the
//! process is in its snapshots. The file with the least that is still wanted is written anew once half of all is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use model::{SeriesId, StateSection};
use postcard::{take_from_bytes, to_extend};
use serde::{Deserialize, Serialize};

use crate::settings::AnalysisSettings;
use crate::state::{self, InvalidState};

/// Which part of the state of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Part {
    /// What turns its samples into values.
    Raw,
    Detectors,
}

type Key = (Part, SeriesId);

#[derive(Clone, Debug)]
struct Entry {
    last_ms: i64,
    file: u32,
    range: Range<u64>,
}

impl Entry {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

#[derive(Debug)]
struct Segment {
    file: Arc<File>,
    end: u64,
    wanted: u64,
}

/// The states as they were when a snapshot began. What lies in a file is not overwritten, so this holds while they change.
#[derive(Debug)]
struct Frozen {
    entries: std::vec::IntoIter<(Key, Entry)>,
    files: BTreeMap<u32, Arc<File>>,
    bytes: Vec<u8>,
}

/// At most so many bytes of states; beyond, those that have been idle for the longest are forgotten.
#[derive(Debug)]
pub(crate) struct IdleStates {
    bytes_max: u64,
    folder: PathBuf,
    entries: BTreeMap<Key, Entry>,
    by_age: BTreeSet<(i64, Key)>,
    segments: BTreeMap<u32, Segment>,
    segment_next: u32,
    bytes: u64,
    /// Those with a state of their detectors.
    series: u64,
    forgotten: u64,
    /// How far event time has come, and the one at which nothing more could be set aside.
    time_ms: Option<i64>,
    exhausted_ms: Option<i64>,
    frozen: Option<Frozen>,
}

const IDLE: &str = "idle";
/// Where a file ends and the next begins.
const SEGMENT_BYTES: u64 = 8 << 20;

impl IdleStates {
    pub(crate) fn new(settings: &AnalysisSettings) -> Self {
        Self {
            bytes_max: settings.series_disk.bytes() as u64,
            folder: settings.series_disk_folder.clone().unwrap_or_else(std::env::temp_dir),
            entries: BTreeMap::new(),
            by_age: BTreeSet::new(),
            segments: BTreeMap::new(),
            segment_next: 0,
            bytes: 0,
            series: 0,
            forgotten: 0,
            time_ms: None,
            exhausted_ms: None,
            frozen: None,
        }
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.entries.contains_key(&key)
    }

    /// Series whose detectors' states lie here.
    pub(crate) fn series(&self) -> u64 {
        self.series
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// States that were forgotten for want of room, or because the disk failed.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(crate) fn advance(&mut self, time_ms: i64) {
        self.time_ms = Some(time_ms);
    }

    /// The event time, if anybody may have become idle since nobody was any more.
    pub(crate) fn time_to_try_at(&self) -> Option<i64> {
        self.time_ms.filter(|_| self.exhausted_ms != self.time_ms)
    }

    /// Nobody is idle any more, before event time goes on.
    pub(crate) fn exhausted(&mut self) {
        self.exhausted_ms = self.time_ms;
    }

    pub(crate) fn put(&mut self, key: Key, last_ms: i64, state: &[u8]) {
        self.remove(key);
        let len = state.len() as u64;
        while self.bytes + len > self.bytes_max
            && let Some((_, oldest)) = self.by_age.first().copied()
        {
            self.remove(oldest);
            self.forgotten += 1;
        }
        if self.bytes + len > self.bytes_max {
            self.forgotten += 1;
            return;
        }
        self.insert(key, last_ms, state);
        self.tidy();
    }

    fn insert(&mut self, key: Key, last_ms: i64, state: &[u8]) {
        match self.write(state) {
            Ok((file, range)) => {
                self.bytes += state.len() as u64;
                self.series += u64::from(key.0 == Part::Detectors);
                self.entries.insert(key, Entry { last_ms, file, range });
                self.by_age.insert((last_ms, key));
            }
            Err(error) => self.failed(&error),
        }
    }

    /// The state, which is here no longer.
    pub(crate) fn take(&mut self, key: Key) -> Option<Vec<u8>> {
        let entry = self.entries.get(&key)?;
        let state = self.segments.get(&entry.file).map(|segment| read(&segment.file, &entry.range));
        self.remove(key);
        match state? {
            Ok(state) => Some(state),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    /// Forgets what had no point since.
    pub(crate) fn forget_idle_since(&mut self, time_ms: i64) {
        while let Some((_, key)) = self.by_age.first().copied().filter(|(last_ms, _)| *last_ms < time_ms) {
            self.remove(key);
        }
    }

    pub(crate) fn begin_snapshot(&mut self) {
        let entries: Vec<(Key, Entry)> =
            self.entries.iter().map(|(key, entry)| (*key, entry.clone())).collect();
        let files = self.segments.iter().map(|(number, segment)| (*number, Arc::clone(&segment.file)));
        let bytes = state::encode(&(self.forgotten, self.time_ms, self.exhausted_ms, entries.len()));
        self.frozen = Some(Frozen { files: files.collect(), bytes, entries: entries.into_iter() });
    }

    /// Writes so many states on; returns the section once all are written.
    pub(crate) fn continue_snapshot(&mut self, states: usize) -> Option<StateSection> {
        let frozen = self.frozen.as_mut()?;
        for (key, entry) in frozen.entries.by_ref().take(states) {
            let state = frozen.files.get(&entry.file).map(|file| read(file, &entry.range));
            // One that cannot be read is none, and counted once it is asked for.
            let state = state.and_then(Result::ok).unwrap_or_default();
            frozen.bytes = to_extend(&(key, entry.last_ms, state), std::mem::take(&mut frozen.bytes))
                .expect("plain data of known lengths, and memory does not fail");
        }
        let frozen = self.frozen.take_if(|frozen| frozen.entries.len() == 0)?;
        Some(StateSection { name: IDLE.to_owned(), bytes: frozen.bytes })
    }

    /// Takes up a state under the bounds of today. One from before there were idle states has none.
    pub(crate) fn restore(&mut self, sections: &[StateSection]) -> Result<(), InvalidState> {
        let Ok(bytes) = state::bytes_of(sections, IDLE) else { return Ok(()) };
        let invalid = |reason: String| InvalidState::new(IDLE, reason);
        let (head, mut bytes) = state::decode_head(bytes).map_err(invalid)?;
        let count: usize;
        (self.forgotten, self.time_ms, self.exhausted_ms, count) = head;
        for _ in 0..count {
            let ((key, last_ms, state), rest) =
                take_from_bytes::<(Key, i64, &[u8])>(bytes).map_err(|error| invalid(error.to_string()))?;
            bytes = rest;
            if !state.is_empty() {
                self.put(key, last_ms, state);
            }
        }
        if bytes.is_empty() { Ok(()) } else { Err(invalid("it is longer than its content".to_owned())) }
    }

    fn remove(&mut self, key: Key) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.by_age.remove(&(entry.last_ms, key));
        self.bytes -= entry.len();
        self.series -= u64::from(key.0 == Part::Detectors);
        if let Some(segment) = self.segments.get_mut(&entry.file) {
            segment.wanted -= entry.len();
            // The last one is written on.
            if segment.wanted == 0 && entry.file + 1 != self.segment_next {
                self.segments.remove(&entry.file);
            }
        }
    }

    fn write(&mut self, state: &[u8]) -> io::Result<(u32, Range<u64>)> {
        let is_open = self
            .segments
            .last_key_value()
            .is_some_and(|(number, segment)| number + 1 == self.segment_next && segment.end < SEGMENT_BYTES);
        if !is_open {
            let file = Arc::new(tempfile::tempfile_in(&self.folder)?);
            self.segments.insert(self.segment_next, Segment { file, end: 0, wanted: 0 });
            self.segment_next += 1;
        }
        let (number, segment) =
            self.segments.iter_mut().next_back().ok_or_else(|| io::Error::other("no file is open"))?;
        let range = segment.end..segment.end + state.len() as u64;
        segment.file.write_all_at(state, range.start)?;
        segment.end = range.end;
        segment.wanted += state.len() as u64;
        Ok((*number, range))
    }

    /// Writes the states of a file again where it is worth it.
    fn tidy(&mut self) {
        let written: u64 = self.segments.values().map(|segment| segment.end).sum();
        if written < 2 * (self.bytes + SEGMENT_BYTES) {
            return;
        }
        let closed = self.segments.iter().filter(|(number, _)| **number + 1 != self.segment_next);
        let Some((&number, _)) = closed.min_by_key(|(_, segment)| segment.wanted) else { return };
        let keys: Vec<Key> =
            self.entries.iter().filter(|(_, entry)| entry.file == number).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(last_ms) = self.entries.get(&key).map(|entry| entry.last_ms) else { continue };
            if let Some(state) = self.take(key) {
                self.insert(key, last_ms, &state);
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if self.forgotten == 0 {
            let folder = self.folder.display();
            tracing::error!(%error, %folder, "the state of an idle series could not be kept; it is forgotten, and counted");
        }
        self.forgotten += 1;
    }
}

fn read(file: &File, range: &Range<u64>) -> io::Result<Vec<u8>> {
    let mut state = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut state, range.start)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::Size;

    fn states(bytes_max: usize) -> IdleStates {
        IdleStates::new(&AnalysisSettings {
            series_disk: Size::from_bytes(bytes_max),
            ..AnalysisSettings::default()
        })
    }

    fn key(id: u8) -> Key {
        (if id.is_multiple_of(3) { Part::Raw } else { Part::Detectors }, SeriesId(u128::from(id)))
    }

    fn snapshot(states: &mut IdleStates) -> StateSection {
        states.begin_snapshot();
        states.continue_snapshot(usize::MAX).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Act {
        Put(u8, i64, usize),
        Take(u8),
        Forget(i64),
        Begin,
        Continue(usize),
        Restart,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (0..40_u8, 0..1_000_i64, 1..600_usize).prop_map(|(id, ms, len)| Act::Put(id, ms, len)),
            4 => (0..40_u8).prop_map(Act::Take),
            1 => (0..300_i64).prop_map(Act::Forget),
            1 => Just(Act::Begin),
            2 => (1..9_usize).prop_map(Act::Continue),
            1 => Just(Act::Restart),
        ]
    }

    const BYTES_MAX: usize = 6_000;

    /// What lies in [`IdleStates`], said in another way.
    fn put(model: &mut BTreeMap<Key, (i64, Vec<u8>)>, key: Key, last_ms: i64, state: Vec<u8>) {
        model.remove(&key);
        let bytes =
            |model: &BTreeMap<Key, (i64, Vec<u8>)>| model.values().map(|(_, s)| s.len()).sum::<usize>();
        while bytes(model) + state.len() > BYTES_MAX {
            let oldest =
                model.iter().min_by_key(|(key, (last_ms, _))| (*last_ms, **key)).map(|(key, _)| *key);
            model.remove(&oldest.unwrap());
        }
        model.insert(key, (last_ms, state));
    }

    proptest! {
        #[test]
        fn what_was_put_comes_back(acts in proptest::collection::vec(act(), 1..200)) {
            let mut idle = states(BYTES_MAX);
            let mut model = BTreeMap::new();
            let mut frozen = None;
            for (i, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Put(id, last_ms, len) => {
                        let state = vec![i as u8; len];
                        idle.put(key(id), last_ms, &state);
                        put(&mut model, key(id), last_ms, state);
                    }
                    Act::Take(id) => {
                        let expected = model.remove(&key(id)).map(|(_, state)| state);
                        prop_assert_eq!(idle.take(key(id)), expected);
                    }
                    Act::Forget(time_ms) => {
                        idle.forget_idle_since(time_ms);
                        model.retain(|_, (last_ms, _)| *last_ms >= time_ms);
                    }
                    Act::Begin => {
                        idle.begin_snapshot();
                        frozen = Some(model.clone());
                    }
                    Act::Continue(count) => {
                        if let Some(section) = idle.continue_snapshot(count) {
                            let mut restored = states(BYTES_MAX);
                            restored.restore(&[section]).unwrap();
                            for (key, (_, state)) in frozen.take().unwrap() {
                                prop_assert_eq!(restored.take(key), Some(state));
                            }
                            prop_assert_eq!((restored.bytes(), restored.series()), (0, 0));
                        }
                    }
                    Act::Restart => {
                        let section = snapshot(&mut idle);
                        idle = states(BYTES_MAX);
                        idle.restore(std::slice::from_ref(&section)).unwrap();
                        prop_assert_eq!(snapshot(&mut idle), section);
                        frozen = None;
                    }
                }
                let bytes: usize = model.values().map(|(_, state)| state.len()).sum();
                let series = model.keys().filter(|(part, _)| *part == Part::Detectors).count();
                prop_assert_eq!((idle.bytes(), idle.series()), (bytes as u64, series as u64));
            }
        }
    }

    #[test]
    fn files_do_not_grow_for_ever() {
        let mut idle = states(64 << 20);
        let state = vec![7; 64 << 10];
        for i in 0..4_000_u32 {
            let id = (i % 100) as u8;
            // One of each hundred stays for ever, in the midst of others.
            if id != 1 || i < 100 {
                idle.put(key(id), i64::from(i), &state);
            }
        }
        let written: u64 = idle.segments.values().map(|segment| segment.end).sum();
        assert!(written <= 3 * (idle.bytes() + SEGMENT_BYTES), "{written} for {}", idle.bytes());
        assert_eq!(idle.take(key(1)), Some(state));
        assert_eq!(idle.forgotten(), 0);
    }

    #[test]
    fn what_finds_no_room_or_no_disk_is_counted() {
        let mut idle = states(10);
        idle.put(key(1), 1, &[1; 6]);
        idle.put(key(2), 0, &[2; 6]);
        assert_eq!((idle.forgotten(), idle.take(key(1)), idle.take(key(2))), (1, None, Some(vec![2; 6])));
        idle.put(key(1), 1, &[1; 11]);
        assert_eq!((idle.forgotten(), idle.bytes()), (2, 0));
        let folder = Some(PathBuf::from("/nowhere/at/all"));
        let mut idle =
            IdleStates::new(&AnalysisSettings { series_disk_folder: folder, ..AnalysisSettings::default() });
        idle.put(key(1), 1, &[1; 6]);
        assert_eq!((idle.forgotten(), idle.series(), idle.take(key(1))), (1, 0, None));
    }

    #[test]
    fn a_damaged_section_is_refused() {
        let mut idle = states(1_000);
        idle.put(key(1), 1, &[1; 6]);
        let section = snapshot(&mut idle);
        for bytes in
            [&section.bytes[..section.bytes.len() - 1], &[section.bytes.as_slice(), &[0]].concat(), &[]]
        {
            let damaged = StateSection { bytes: bytes.to_vec(), ..section.clone() };
            assert!(states(1_000).restore(&[damaged]).is_err());
        }
        states(1_000).restore(&[]).unwrap();
    }
}
