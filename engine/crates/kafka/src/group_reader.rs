//! Reads a topic as a member of a consumer group whose offsets are committed by hand: for those who tell others of what they read.
//!
//! Partitions are read from their beginning and not from what was committed, so that who reads can find out first what it had done before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::SourceRecord;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use crate::Error;
use crate::client::{LogContext, log, warn_of_consumer};
use crate::error::Doing;
use crate::kafka_worker::{headers_of, record_of};
use crate::offsets;
use crate::settings::{ConnectionSettings, Side, keep_known, setting_error};

/// How long brokers may take to answer a question about offsets.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a member of a group is told.
#[derive(Debug)]
pub enum GroupEvent {
    /// The partition is this member's.
    Assigned {
        partition: i32,
        /// The offset that was committed last, with its metadata.
        committed: Option<(i64, String)>,
        /// The first offset that is kept, and the one behind the last.
        begin: i64,
        end: i64,
    },
    /// The partition is given up with the next call; until then its offset may be committed.
    Revoked { partition: i32 },
    /// All that the partition has was read.
    End { partition: i32 },
}

/// Dropping it leaves the group.
pub struct GroupReader {
    consumer: BaseConsumer<GroupContext>,
    brokers: String,
    topic: String,
    /// Events of a rebalance that were not given yet.
    events: VecDeque<GroupEvent>,
    /// Revoked partitions, which are to be given up with the next call.
    leaving: Vec<i32>,
}

enum Change {
    Assign(Vec<i32>),
    Revoke(Vec<i32>),
}

/// Queues rebalances, so that they are answered between two records.
#[derive(Default)]
struct GroupContext {
    log: LogContext,
    state: Mutex<GroupState>,
}

#[derive(Default)]
struct GroupState {
    changes: VecDeque<Change>,
    is_closing: bool,
}

impl GroupContext {
    fn state(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        // Kept as plain values: a list of librdkafka's must not outlive its consumer.
        let partitions = list.elements().iter().map(|element| element.partition()).collect();
        let mut state = self.state();
        match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS if !state.is_closing => {
                state.changes.push_back(Change::Assign(partitions));
            }
            _ if !state.is_closing => state.changes.push_back(Change::Revoke(partitions)),
            // librdkafka only waits for the answer.
            _ => drop(consumer.unassign()),
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // A later commit holds what this one did.
            tracing::warn!(%error, "an offset was not committed; what lies behind it may be read again");
        }
    }
}

impl GroupReader {
    /// Joins the group by itself; errors of the connection come later, those of settings and rights at once.
    pub fn join(connection: &ConnectionSettings, group: &str, topic: &str) -> Result<GroupReader, Error> {
        connection.validate()?;
        let mut config = connection.client_config(group)?;
        config.set("auto.offset.reset", "earliest");
        config.set("fetch.wait.max.ms", "100");
        config.set("partition.assignment.strategy", "roundrobin");
        keep_known(connection, &mut config, Side::Consumer);
        // Rebalances are answered as the classic protocol wants it.
        config.remove("group.protocol");
        config.set("group.id", group);
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        config.set("enable.partition.eof", "true");
        let consumer: BaseConsumer<GroupContext> =
            config.create_with_context(GroupContext::default()).map_err(setting_error)?;
        consumer.subscribe(&[topic]).map_err(Error::kafka("could not subscribe"))?;
        let (brokers, topic) = (connection.brokers.clone(), topic.to_owned());
        Ok(GroupReader { consumer, brokers, topic, events: VecDeque::new(), leaving: Vec::new() })
    }

    /// Gives a record to `take`, or returns an event; neither, if nothing happens in time.
    pub fn poll(
        &mut self,
        timeout: Duration,
        take: impl FnOnce(SourceRecord<'_>),
    ) -> Result<Option<GroupEvent>, Error> {
        if !self.leaving.is_empty() && self.events.is_empty() {
            self.leaving.clear();
            self.consumer.unassign().map_err(Error::kafka("could not give up partitions"))?;
        }
        if self.events.is_empty() {
            let change = self.consumer.context().state().changes.pop_front();
            match change {
                Some(Change::Assign(partitions)) => self.assign(&partitions)?,
                Some(Change::Revoke(partitions)) => {
                    let revoked =
                        partitions.iter().map(|partition| GroupEvent::Revoked { partition: *partition });
                    self.events.extend(revoked);
                    self.leaving = partitions;
                    if self.leaving.is_empty() {
                        self.consumer.unassign().map_err(Error::kafka("could not give up partitions"))?;
                    }
                }
                None => {}
            }
        }
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        match self.consumer.poll(timeout) {
            Some(Ok(message)) => {
                let headers = headers_of(&message);
                take(record_of(&message, &headers));
                Ok(None)
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => Ok(Some(GroupEvent::End { partition })),
            Some(Err(error)) => self.judge(&error).map(|()| None),
            None => Ok(None),
        }
    }

    fn assign(&mut self, partitions: &[i32]) -> Result<(), Error> {
        let committed = offsets::committed(&self.consumer, self.listed(partitions), ANSWER_TIMEOUT)
            .map_err(Error::kafka("could not read the committed offsets"))?;
        let mut positions = BTreeMap::new();
        for element in committed.elements() {
            if let Offset::Offset(offset) = element.offset() {
                positions.insert(element.partition(), (offset, offsets::metadata_of(&element)));
            }
        }
        drop(committed);
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            let (begin, end) = self
                .consumer
                .fetch_watermarks(&self.topic, *partition, ANSWER_TIMEOUT)
                .map_err(Error::kafka("could not ask for the ends of a partition"))?;
            let committed = positions.remove(partition);
            self.events.push_back(GroupEvent::Assigned { partition: *partition, committed, begin, end });
            list.add_partition_offset(&self.topic, *partition, Offset::Beginning)
                .map_err(Error::kafka("could not note an offset"))?;
        }
        self.consumer.assign(&list).map_err(Error::kafka("could not assign partitions"))
    }

    /// `wait` for the answer of the brokers, or let it come later.
    pub fn commit(&self, partition: i32, offset: i64, metadata: &str, wait: bool) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
            .map_err(Error::kafka("could not note an offset"))?;
        if let Some(mut element) =
            list.find_partition(&self.topic, partition).filter(|_| !metadata.is_empty())
        {
            element.set_metadata(metadata);
        }
        let mode = if wait { CommitMode::Sync } else { CommitMode::Async };
        let Err(error) = self.consumer.commit(&list, mode) else { return Ok(()) };
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::AssignmentLost,
            ) => {
                tracing::warn!(partition, offset, %error, "the partition is another member's, who may read some records again");
                Ok(())
            }
            _ => Err(Error::kafka("could not commit an offset")(error)),
        }
    }

    /// Reads no more of a partition, or goes on.
    pub fn pause(&self, partition: i32, is_paused: bool) -> Result<(), Error> {
        let list = self.listed(&[partition]);
        let done = if is_paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        done.map_err(Error::kafka("could not steer the fetching"))
    }

    fn listed(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        list
    }

    /// librdkafka recovers from most errors by itself.
    fn judge(&self, error: &KafkaError) -> Result<(), Error> {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        if let Some(refused) = Error::from_refusal(code, Doing::Reading(&self.topic)) {
            return Err(refused);
        }
        if let KafkaError::MessageConsumptionFatal(code) = error {
            return Err(Error::Fatal { reason: code.to_string() });
        }
        warn_of_consumer(&self.topic, &self.brokers, error);
        Ok(())
    }
}

impl Drop for GroupReader {
    fn drop(&mut self) {
        let mut state = self.consumer.context().state();
        state.is_closing = true;
        let waits = !state.changes.is_empty() || !self.leaving.is_empty();
        drop(state);
        if waits {
            // An answer is owed, without which the consumer would not close.
            let _ = self.consumer.unassign();
        }
    }
}
