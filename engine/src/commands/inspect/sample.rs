//! The records that are looked at: the newest of each partition, within bounds.

use std::ops::ControlFlow;
use std::time::Duration;

use kafka::{ScanEnd, TopicScan};
use model::SourceRecord;

pub(super) struct Sample {
    pub(super) partitions: usize,
    /// Offsets in use on the topic: its records, and markers of transactions if there are some.
    pub(super) offsets: i64,
    pub(super) records: Vec<Sampled>,
    pub(super) bytes: usize,
    /// Whether it is all that lies on the topic.
    pub(super) is_whole: bool,
}

pub(super) struct Sampled {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) payload: Vec<u8>,
}

impl Sampled {
    /// Gives the record as a decoder wants it.
    pub(super) fn with<R>(&self, topic: &str, take: impl FnOnce(SourceRecord<'_>) -> R) -> R {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        take(SourceRecord {
            topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            headers: &headers,
            payload: &self.payload,
        })
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.payload.len() + self.key.as_ref().map_or(0, Vec::len) + headers
    }
}

impl Sample {
    /// Reads until one of the bounds is reached; `bytes_max` by one record at the most.
    pub(super) fn read(
        scan: &TopicScan,
        records_max: usize,
        bytes_max: usize,
        time_max: Duration,
    ) -> Result<Self, kafka::Error> {
        let extents = scan.extents();
        let partitions = extents.len();
        // The same of each partition. Empty ones leave theirs to nobody, so that the bound holds.
        let used = extents.iter().filter(|extent| extent.first < extent.end).count().max(1);
        let per_partition = i64::try_from(records_max.div_ceil(used)).unwrap_or(i64::MAX);
        let starts = scan.newest(per_partition);
        let is_whole = starts == scan.beginning();
        let offsets = extents.iter().map(|extent| extent.end - extent.first).sum();
        let mut sample = Self { partitions, offsets, records: Vec::new(), bytes: 0, is_whole };
        let end = scan.read(&starts, time_max, |record| {
            let own = Sampled {
                partition: record.partition,
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key.map(<[u8]>::to_vec),
                headers: record
                    .headers
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
                    .collect(),
                payload: record.payload.to_vec(),
            };
            sample.bytes += own.bytes();
            sample.records.push(own);
            if sample.bytes >= bytes_max || sample.records.len() >= records_max {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        sample.is_whole &= end == ScanEnd::Whole;
        // Which partition came first depends on the brokers.
        sample.records.sort_by_key(|record| (record.partition, record.offset));
        Ok(sample)
    }
}
