//! Reads whole topics from the beginning, outside any consumer group: for services that show what the engine wrote.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use model::SourceRecord;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::Error;
use crate::client::{LogContext, lone_consumer, reading_config, warn_of_consumer};
use crate::error::Doing;
use crate::kafka_worker::{headers_of, record_of};
use crate::settings::ConnectionSettings;
use crate::topics;

/// A record with what only Kafka knows of it.
#[derive(Clone, Copy, Debug)]
pub struct ReadRecord<'a> {
    pub record: SourceRecord<'a>,
    /// Milliseconds since 1970 that the producer or the broker gave.
    pub timestamp_ms: Option<i64>,
}

/// Reads committed records of some topics, all partitions, and goes on as new ones come. Dropping it stops it.
///
/// A thread per topic: records of one partition come in order, topics interleave as they arrive.
pub struct TopicReader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    topics_behind: AtomicU64,
    records: AtomicU64,
    error: Mutex<Option<Error>>,
}

const POLL: Duration = Duration::from_millis(100);

impl TopicReader {
    /// Looks the topics up, within `timeout`, and starts. `callback` is never called by two threads at once.
    pub fn start(
        connection: &ConnectionSettings,
        topics: &[String],
        timeout: Duration,
        callback: impl FnMut(ReadRecord<'_>) + Send + 'static,
    ) -> Result<TopicReader, Error> {
        let states = topics::require(connection, topics, timeout)?;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            topics_behind: AtomicU64::new(states.len() as u64),
            records: AtomicU64::new(0),
            error: Mutex::new(None),
        });
        let callback = Arc::new(Mutex::new(callback));
        let mut reader = TopicReader { shared: Arc::clone(&shared), threads: Vec::new() };
        for state in states {
            let config = reading_config(connection, &format!("read-{}", state.name))?;
            let consumer = lone_consumer(&config)?;
            let mut all = TopicPartitionList::new();
            for partition in 0..state.partitions {
                all.add_partition_offset(&state.name, partition, Offset::Beginning)
                    .map_err(Error::kafka("could not note an offset"))?;
            }
            consumer.assign(&all).map_err(Error::kafka("could not assign partitions"))?;
            let (shared, callback) = (Arc::clone(&shared), Arc::clone(&callback));
            let name = format!("read-{}", state.name);
            let brokers = connection.brokers.clone();
            let thread = std::thread::Builder::new()
                .name(name.clone())
                .spawn(move || read(&consumer, &brokers, &state.name, state.partitions, &shared, &callback))
                .map_err(|source| Error::Thread { name, source })?;
            reader.threads.push(thread);
        }
        Ok(reader)
    }

    /// Whether every partition has been read once up to its end. Stays true.
    pub fn is_caught_up(&self) -> bool {
        self.shared.topics_behind.load(Ordering::Acquire) == 0
    }

    pub fn records(&self) -> u64 {
        self.shared.records.load(Ordering::Relaxed)
    }

    /// Why reading ended, if it did.
    pub fn take_error(&self) -> Option<Error> {
        self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends the threads and waits for them.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for TopicReader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn read<F: FnMut(ReadRecord<'_>)>(
    consumer: &BaseConsumer<LogContext>,
    brokers: &str,
    topic: &str,
    partitions: i32,
    shared: &Shared,
    callback: &Mutex<F>,
) {
    let mut behind: Vec<bool> = vec![true; usize::try_from(partitions).unwrap_or_default()];
    while !shared.stop.load(Ordering::Acquire) {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let headers = headers_of(&message);
                let record = record_of(&message, &headers);
                let timestamp_ms = message.timestamp().to_millis();
                let mut callback = callback.lock().unwrap_or_else(PoisonError::into_inner);
                callback(ReadRecord { record, timestamp_ms });
                shared.records.fetch_add(1, Ordering::Relaxed);
            }
            // Says only the number of the partition, which is why every topic has its own consumer.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let slot = usize::try_from(partition).ok().and_then(|partition| behind.get_mut(partition));
                if slot.is_some_and(std::mem::take) && !behind.contains(&true) {
                    shared.topics_behind.fetch_sub(1, Ordering::AcqRel);
                }
            }
            Some(Err(error)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                if let Some(refused) = Error::from_refusal(code, Doing::Reading(topic)) {
                    tracing::error!(topic, error = %refused, "reading a topic ended");
                    *shared.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
                    return;
                }
                warn_of_consumer(topic, brokers, &error);
            }
            None => {}
        }
    }
}
