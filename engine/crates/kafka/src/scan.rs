//! Reads what lies on a topic now, up to where it ended when the scan began. Joins no group and commits nothing, so nobody else
//! notices it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use model::SourceRecord;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::Error;
use crate::client::{LogContext, lone_consumer, reading_config, unreachable, warn_of_consumer};
use crate::error::Doing;
use crate::kafka_worker::{headers_of, record_of};
use crate::settings::ConnectionSettings;
use crate::{offsets, topics};

const POLL: Duration = Duration::from_millis(100);

/// The offsets of a partition that a scan may read: from `first` to before `end`. Those of aborted records and of the markers
/// of transactions count, but are never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionExtent {
    pub first: i64,
    pub end: i64,
}

/// How a scan came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// All that lay there was read.
    Whole,
    /// The caller had enough.
    Stopped,
    /// The time was over.
    OutOfTime,
}

/// A topic, and where its partitions ended when this was made.
pub struct TopicScan {
    consumer: BaseConsumer<LogContext>,
    connection: ConnectionSettings,
    topic: String,
    extents: Vec<PartitionExtent>,
    timeout: Duration,
}

impl TopicScan {
    /// Looks the topic up. Brokers that are silent for `timeout` count as unreachable, now and later.
    pub fn new(connection: &ConnectionSettings, topic: &str, timeout: Duration) -> Result<Self, Error> {
        let found = topics::require(connection, &[topic.to_owned()], timeout)?;
        let config = reading_config(connection, &format!("scan-{topic}"))?;
        let consumer = lone_consumer(&config)?;
        let mut extents = Vec::new();
        for state in &found {
            for partition in 0..state.partitions {
                let (first, end) = consumer
                    .fetch_watermarks(topic, partition, timeout)
                    .map_err(Error::kafka("could not ask where a partition begins and ends"))?;
                extents.push(PartitionExtent { first, end });
            }
        }
        let (connection, topic) = (connection.clone(), topic.to_owned());
        Ok(Self { consumer, connection, topic, extents, timeout })
    }

    /// By partition.
    pub fn extents(&self) -> &[PartitionExtent] {
        &self.extents
    }

    /// Offsets to begin with all that there is.
    pub fn beginning(&self) -> Vec<i64> {
        self.extents.iter().map(|extent| extent.first).collect()
    }

    /// Offsets to begin with the newest so many of each partition.
    pub fn newest(&self, per_partition: i64) -> Vec<i64> {
        let begin = |extent: &PartitionExtent| {
            extent.end.saturating_sub(per_partition).clamp(extent.first, extent.end)
        };
        self.extents.iter().map(begin).collect()
    }

    /// Offsets to begin with the first record of each partition that was written at this time or later.
    pub fn since(&self, time_ms: i64) -> Result<Vec<i64>, Error> {
        let failed = "could not ask for offsets by time";
        let mut asked = TopicPartitionList::new();
        for partition in (0..).take(self.extents.len()) {
            asked
                .add_partition_offset(&self.topic, partition, Offset::Offset(time_ms.max(0)))
                .map_err(Error::kafka(failed))?;
        }
        let found = offsets::at_times(&self.consumer, asked, self.timeout).map_err(Error::kafka(failed))?;
        let found = found.elements();
        let begin = |(partition, extent): (i32, &PartitionExtent)| {
            let element = found.iter().find(|element| element.partition() == partition);
            let offset = element.and_then(|element| element.offset().to_raw()).filter(|offset| *offset >= 0);
            offset.unwrap_or(extent.end).clamp(extent.first, extent.end)
        };
        Ok((0..).zip(&self.extents).map(begin).collect())
    }

    /// Gives each committed record from these offsets on to `take`, in order within a partition, for `time` at the most.
    pub fn read(
        &self,
        starts: &[i64],
        time: Duration,
        mut take: impl FnMut(SourceRecord<'_>) -> ControlFlow<()>,
    ) -> Result<ScanEnd, Error> {
        let failed = "could not assign partitions";
        let mut open = vec![false; self.extents.len()];
        let mut assigned = TopicPartitionList::new();
        for ((partition, extent), start) in (0..).zip(&self.extents).zip(starts) {
            if *start < extent.end {
                assigned
                    .add_partition_offset(&self.topic, partition, Offset::Offset(*start))
                    .map_err(Error::kafka(failed))?;
                open[partition as usize] = true;
            }
        }
        self.consumer.assign(&assigned).map_err(Error::kafka(failed))?;
        let end = self.read_open(&mut open, time, &mut take);
        // A partition that is paused stays so, and what was fetched and not read is of no use to a later call.
        self.consumer.resume(&assigned).map_err(Error::kafka("could not resume partitions"))?;
        self.consumer.unassign().map_err(Error::kafka("could not give partitions back"))?;
        end
    }

    fn read_open(
        &self,
        open: &mut [bool],
        time: Duration,
        take: &mut dyn FnMut(SourceRecord<'_>) -> ControlFlow<()>,
    ) -> Result<ScanEnd, Error> {
        let began = Instant::now();
        let mut heard = began;
        while open.contains(&true) {
            if began.elapsed() > time {
                return Ok(ScanEnd::OutOfTime);
            }
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let partition = message.partition();
                    let slot = usize::try_from(partition).unwrap_or(usize::MAX);
                    let Some(is_open) = open.get_mut(slot).filter(|is_open| **is_open) else { continue };
                    let end = self.extents[slot].end;
                    if message.offset() + 1 >= end {
                        *is_open = false;
                        self.pause(partition)?;
                    }
                    if message.offset() < end && take(record_of(&message, &headers_of(&message))).is_break() {
                        return Ok(ScanEnd::Stopped);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    if let Some(is_open) = usize::try_from(partition).ok().and_then(|slot| open.get_mut(slot))
                    {
                        *is_open = false;
                    }
                }
                Some(Err(error)) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                    if let Some(refused) = Error::from_refusal(code, Doing::Reading(&self.topic)) {
                        return Err(refused);
                    }
                    warn_of_consumer("scan", &self.connection.brokers, &error);
                }
                None => {}
            }
            if heard.elapsed() > self.timeout {
                let reason = self.consumer.context().last_error();
                return Err(unreachable(&self.connection, heard.elapsed(), reason));
            }
        }
        Ok(ScanEnd::Whole)
    }

    fn pause(&self, partition: i32) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        self.consumer.pause(&list).map_err(Error::kafka("could not pause a partition"))
    }
}
