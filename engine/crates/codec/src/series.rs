//! The labels of samples: raw bytes that name a series to its canonical text, remembered between records.
//!
//! Writers repeat the attributes of a series byte for byte with every point. So the canonical text (sorted, escaped,
//! unique) is made once per distinct raw bytes and then found by them. Other bytes of the same labels, as another order
//! of attributes gives, lead to the same canonical text and to one entry of a batch's dictionary.
//!
//! At most [`SERIES_BYTES_MAX`] are kept for the next record: past that all is forgotten at once, and met anew.
//!
//! What is remembered shows in the speed only. Raw bytes are compared, not just their hashes; a batch's dictionary has
//! its texts in the order of their first points; and the memory is emptied between records only.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, UInt8Array};
use hashbrown::HashTable;
use model::{MetricKind, SampleBatch, SeriesId, Telemetry};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::decoder::SERIES_BYTES_MAX;

/// Raw bytes that stand for labels only together with others, in the place of the group.
const NO_GROUP: u32 = u32::MAX;
/// Raw bytes that stand for a text that is shared by many series, in the place of the group.
pub(crate) const SHARED_TEXTS: u32 = u32::MAX - 1;
const NO_TEXT: u32 = u32::MAX;
const NO_ENTRY: u32 = u32::MAX;

/// Raw bytes in a group, and the canonical text that they stand for.
struct Entry {
    hash: u64,
    start: usize,
    length: u32,
    group: u32,
    text: u32,
    /// The entry that was looked for after this one, the last time. Writers keep the order of their series.
    next: u32,
}

/// A canonical text, and its place in the dictionary of the record's batch.
struct Text {
    start: usize,
    length: u32,
    key: i32,
    record: u64,
    id: SeriesId,
    kind: MetricKind,
}

/// The label texts of all series that a decoder has met lately.
pub(crate) struct SeriesCache {
    entries: Vec<Entry>,
    entry_table: HashTable<u32>,
    raw: Vec<u8>,
    texts: Vec<Text>,
    text_table: HashTable<u32>,
    text: String,
    record: u64,
    /// The entries that were looked for last, by [`chain_of`] their group.
    last: [u32; 2],
    bytes_max: usize,
    sizes: Sizes,
}

/// Of the samples of the last record: writers keep the size of their records.
#[derive(Clone, Copy, Default)]
struct Sizes {
    rows: usize,
    texts: usize,
    text_bytes: usize,
}

/// What stands for labels only together with others comes in an order of its own: one metric may be there again and again with
/// another series each time.
fn chain_of(group: u32) -> usize {
    usize::from(group < SHARED_TEXTS)
}

/// Raw bytes that are not known, to be given back with their canonical text.
#[derive(Clone, Copy)]
pub(crate) struct Unknown<'a> {
    group: u32,
    raw: &'a [u8],
    hash: u64,
}

/// A canonical text in the cache, valid for the record under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TextIndex(u32);

impl TextIndex {
    /// No two texts have one.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

impl Default for SeriesCache {
    fn default() -> Self {
        Self::new(SERIES_BYTES_MAX)
    }
}

impl SeriesCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            entries: Vec::new(),
            entry_table: HashTable::new(),
            raw: Vec::new(),
            texts: Vec::new(),
            text_table: HashTable::new(),
            text: String::new(),
            record: 0,
            last: [NO_ENTRY; 2],
            bytes_max,
            sizes: Sizes::default(),
        }
    }

    /// To be called before each record. What it remembers beyond the bound, it forgets here.
    pub(crate) fn start_record(&mut self) {
        if self.bytes() > self.bytes_max {
            *self = Self { record: self.record, ..Self::new(self.bytes_max) };
        }
        self.record += 1;
        self.last = [NO_ENTRY; 2];
    }

    /// With the room for more that has been set aside.
    fn bytes(&self) -> usize {
        self.raw.capacity()
            + self.text.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.texts.capacity() * size_of::<Text>()
            + self.entry_table.allocation_size()
            + self.text_table.allocation_size()
    }

    /// The number of a group, which `raw` alone names. Other bytes stand for labels within a group.
    pub(crate) fn group(&mut self, raw: &[u8]) -> u32 {
        match self.lookup(NO_GROUP, raw) {
            Ok(entry) => entry,
            Err(unknown) => self.remember(unknown, NO_TEXT),
        }
    }

    #[inline]
    pub(crate) fn find<'a>(&mut self, group: u32, raw: &'a [u8]) -> Result<TextIndex, Unknown<'a>> {
        let entry = self.lookup(group, raw)?;
        Ok(TextIndex(self.entries[entry as usize].text))
    }

    /// `kind` is what the metric's name says of it.
    pub(crate) fn insert(&mut self, unknown: Unknown<'_>, canonical: &str, kind: MetricKind) -> TextIndex {
        let index = self.intern(canonical, kind);
        self.remember(unknown, index.0);
        index
    }

    fn intern(&mut self, canonical: &str, kind: MetricKind) -> TextIndex {
        let id = SeriesId::of_canonical(canonical);
        let Self { texts, text, text_table, .. } = self;
        let same = |index: &u32| {
            let known = &texts[*index as usize];
            known.id == id && &text[known.start..known.start + known.length as usize] == canonical
        };
        if let Some(index) = text_table.find(id.0 as u64, same) {
            return TextIndex(*index);
        }
        let index = u32::try_from(texts.len()).expect("a record has fewer than 2^32 series");
        let length = u32::try_from(canonical.len()).expect("a record has less than 4 GiB of text");
        texts.push(Text { start: text.len(), length, key: 0, record: 0, id, kind });
        text.push_str(canonical);
        text_table.insert_unique(id.0 as u64, index, |index| texts[*index as usize].id.0 as u64);
        TextIndex(index)
    }

    pub(crate) fn text(&self, index: TextIndex) -> &str {
        let Text { start, length, .. } = self.texts[index.0 as usize];
        &self.text[start..start + length as usize]
    }

    pub(crate) fn text_length(&self, index: TextIndex) -> usize {
        self.texts[index.0 as usize].length as usize
    }

    /// What the metric's name says of its kind.
    pub(crate) fn kind(&self, index: TextIndex) -> MetricKind {
        self.texts[index.0 as usize].kind
    }

    /// The raw bytes that were looked for in the group after those before, the last time; empty if they were of another group.
    #[inline]
    pub(crate) fn expected(&self, group: u32) -> &[u8] {
        match self.entries.get(self.expected_entry(group) as usize) {
            Some(entry) if entry.group == group => self.raw_of(entry),
            _ => &[],
        }
    }

    /// What [`SeriesCache::find`] would give for the bytes of [`SeriesCache::expected`], if nothing was looked for since.
    #[inline]
    pub(crate) fn find_expected(&mut self, group: u32) -> TextIndex {
        let entry = self.expected_entry(group);
        self.last[chain_of(group)] = entry;
        TextIndex(self.entries[entry as usize].text)
    }

    /// The raw bytes of the group that was looked for after the one before, the last time; empty if that was none.
    #[inline]
    pub(crate) fn expected_group(&self) -> &[u8] {
        self.expected(NO_GROUP)
    }

    /// What [`SeriesCache::group`] would give for the bytes of [`SeriesCache::expected_group`], if no group was looked for since.
    #[inline]
    pub(crate) fn find_expected_group(&mut self) -> u32 {
        let entry = self.expected_entry(NO_GROUP);
        self.last[chain_of(NO_GROUP)] = entry;
        entry
    }

    #[inline]
    fn expected_entry(&self, group: u32) -> u32 {
        self.entries.get(self.last[chain_of(group)] as usize).map_or(0, |last| last.next)
    }

    #[inline]
    fn raw_of(&self, entry: &Entry) -> &[u8] {
        &self.raw[entry.start..entry.start + entry.length as usize]
    }

    #[inline]
    fn lookup<'a>(&mut self, group: u32, raw: &'a [u8]) -> Result<u32, Unknown<'a>> {
        let is_it = |cache: &Self, entry: &Entry| entry.group == group && cache.raw_of(entry) == raw;
        let expected = self.expected_entry(group);
        if self.entries.get(expected as usize).is_some_and(|entry| is_it(self, entry)) {
            self.last[chain_of(group)] = expected;
            return Ok(expected);
        }
        let hash = xxh3_64_with_seed(raw, u64::from(group));
        let same = |index: &u32| {
            let entry = &self.entries[*index as usize];
            entry.hash == hash && is_it(self, entry)
        };
        match self.entry_table.find(hash, same) {
            Some(index) => {
                let index = *index;
                self.follow(group, index);
                Ok(index)
            }
            None => Err(Unknown { group, raw, hash }),
        }
    }

    fn follow(&mut self, group: u32, index: u32) {
        let last = &mut self.last[chain_of(group)];
        if let Some(last) = self.entries.get_mut(*last as usize) {
            last.next = index;
        }
        *last = index;
    }

    fn remember(&mut self, unknown: Unknown<'_>, text: u32) -> u32 {
        let Unknown { group, raw, hash } = unknown;
        let index = u32::try_from(self.entries.len()).expect("a record has fewer than 2^32 series");
        let length = u32::try_from(raw.len()).expect("a record has less than 4 GiB");
        self.entries.push(Entry { hash, start: self.raw.len(), length, group, text, next: NO_ENTRY });
        self.raw.extend_from_slice(raw);
        let entries = &self.entries;
        self.entry_table.insert_unique(hash, index, |index| entries[*index as usize].hash);
        self.follow(group, index);
        index
    }
}

/// The columns of a [`SampleBatch`] under way, with labels out of a [`SeriesCache`].
pub(crate) struct SampleColumns {
    keys: Vec<i32>,
    labels: StringBuilder,
    /// Of each of the labels.
    ids: Vec<SeriesId>,
    kind: Vec<u8>,
    time_ms: Vec<i64>,
    start_ms: Int64Builder,
    value: Vec<f64>,
}

/// Room that is set aside before anything is known, at most.
const ROWS_EXPECTED_MAX: usize = 1 << 14;
const TEXT_BYTES_EXPECTED_MAX: usize = 1 << 20;

/// A point without its labels.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) kind: MetricKind,
    pub(crate) time_ms: i64,
    pub(crate) start_ms: Option<i64>,
    /// Finite.
    pub(crate) value: f64,
}

impl SampleColumns {
    /// With room for as much as the last record held.
    pub(crate) fn new(cache: &SeriesCache) -> Self {
        let Sizes { rows, texts, text_bytes } = cache.sizes;
        let (rows, texts) = (rows.min(ROWS_EXPECTED_MAX), texts.min(ROWS_EXPECTED_MAX));
        Self {
            keys: Vec::with_capacity(rows),
            labels: StringBuilder::with_capacity(texts, text_bytes.min(TEXT_BYTES_EXPECTED_MAX)),
            ids: Vec::with_capacity(texts),
            kind: Vec::with_capacity(rows),
            time_ms: Vec::with_capacity(rows),
            start_ms: Int64Builder::with_capacity(rows),
            value: Vec::with_capacity(rows),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, cache: &mut SeriesCache, labels: TextIndex, sample: Sample) {
        let text = &mut cache.texts[labels.0 as usize];
        if text.record != cache.record {
            (text.record, text.key) = (cache.record, self.ids.len() as i32);
            self.labels.append_value(&cache.text[text.start..text.start + text.length as usize]);
            self.ids.push(text.id);
        }
        self.keys.push(text.key);
        self.kind.push(sample.kind as u8);
        self.time_ms.push(sample.time_ms);
        self.start_ms.append_option(sample.start_ms);
        self.value.push(sample.value);
    }

    /// The batch, unless it has no rows.
    pub(crate) fn into_telemetry(self, cache: &mut SeriesCache) -> Option<Telemetry> {
        cache.sizes = Sizes {
            rows: self.keys.len(),
            texts: self.ids.len(),
            text_bytes: self.labels.values_slice().len(),
        };
        (!self.keys.is_empty()).then(|| Telemetry::Samples(self.finish()))
    }

    fn finish(mut self) -> SampleBatch {
        let keys = Int32Array::from(self.keys);
        let labels = DictionaryArray::<Int32Type>::try_new(keys, Arc::new(self.labels.finish()));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(labels.expect("each key was given out with its text")),
            Arc::new(UInt8Array::from(self.kind)),
            Arc::new(Int64Array::from(self.time_ms)),
            Arc::new(self.start_ms.finish()),
            Arc::new(Float64Array::from(self.value)),
        ];
        let batch = RecordBatch::try_new(SampleBatch::schema(), columns);
        let batch = batch.expect("the columns are those of the schema and of one length");
        let batch = SampleBatch::try_from_record_batch(batch).expect("the schema is the batch's own");
        batch.with_series_ids(self.ids.into())
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array as _;

    use super::*;

    #[test]
    fn raw_bytes_lead_to_one_text() {
        let mut cache = SeriesCache::default();
        cache.start_record();
        let (a, b) = (cache.group(b"a"), cache.group(b"b"));
        assert_ne!(a, b);
        assert_eq!(cache.group(b"a"), a);
        let text = |cache: &mut SeriesCache, group, raw: &[u8], canonical| match cache.find(group, raw) {
            Ok(index) => (true, index),
            Err(unknown) => (false, cache.insert(unknown, canonical, MetricKind::Gauge)),
        };
        let (known, first) = text(&mut cache, a, b"xy", "x,y");
        assert!(!known);
        assert_eq!(text(&mut cache, a, b"xy", ""), (true, first));
        assert_eq!(text(&mut cache, a, b"yx", "x,y"), (false, first));
        let (known, other) = text(&mut cache, b, b"xy", "b,x,y");
        assert!(!known && other != first);
        assert_eq!((cache.text(first), cache.text(other)), ("x,y", "b,x,y"));
    }

    #[test]
    fn a_full_cache_gives_its_memory_back() {
        let mut cache = SeriesCache::new(32 << 20);
        cache.start_record();
        let filler = "x".repeat(1000);
        for series in 0..20_000 {
            let name = format!("{series}{filler}");
            if let Err(unknown) = cache.find(0, name.as_bytes()) {
                cache.insert(unknown, &name, MetricKind::Gauge);
            }
        }
        assert!(cache.bytes() > 2 * 20_000 * 1000);
        cache.start_record();
        assert_eq!(cache.bytes(), 0);
        assert!(cache.find(0, format!("7{filler}").as_bytes()).is_err());
    }

    #[test]
    fn memory_is_bounded_between_records_and_does_not_show() {
        let rows = |bytes_max: usize| {
            let mut cache = SeriesCache::new(bytes_max);
            let mut batches = Vec::new();
            for record in 0..50i64 {
                cache.start_record();
                assert!(cache.bytes() <= bytes_max);
                let mut columns = SampleColumns::new(&cache);
                for series in 0..10 {
                    let name = format!("series {} of {record}", series % 7);
                    let labels = match cache.find(0, name.as_bytes()) {
                        Ok(labels) => labels,
                        Err(unknown) => cache.insert(unknown, &name, MetricKind::Gauge),
                    };
                    let kind = MetricKind::Gauge;
                    let sample = Sample { kind, time_ms: record, start_ms: None, value: f64::from(series) };
                    columns.push(&mut cache, labels, sample);
                }
                batches.push(columns.finish());
            }
            batches
        };
        let unbounded = rows(usize::MAX);
        assert_eq!(unbounded[0].label_values().len(), 7);
        for (bounded, unbounded) in rows(4096).iter().zip(&unbounded) {
            assert_eq!(bounded, unbounded);
            assert_eq!(bounded.label_keys(), unbounded.label_keys());
            assert_eq!(bounded.label_values(), unbounded.label_values());
        }
    }
}
