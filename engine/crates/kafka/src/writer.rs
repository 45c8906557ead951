//! A plain, idempotent producer without transactions: for the demo, `produce` and tests.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::util::IntoOpaque;

use crate::Error;
use crate::client::{DeliveryContext, unreachable};
use crate::error::Doing;
use crate::settings::{ConnectionSettings, Side, keep_known, producer_defaults, setting_error};

/// One record to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteRecord<'a> {
    pub topic: &'a str,
    /// By default the key decides, and without a key librdkafka.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub headers: &'a [(String, Vec<u8>)],
    pub payload: &'a [u8],
    /// Milliseconds since 1970; by default now.
    pub timestamp_ms: Option<i64>,
}

/// The same for librdkafka.
pub(crate) fn base_record<'a>(write: &WriteRecord<'a>) -> BaseRecord<'a, [u8], [u8]> {
    base_record_with(write, ())
}

/// With what is given back once it is known what became of the record.
pub(crate) fn base_record_with<'a, O: IntoOpaque>(
    write: &WriteRecord<'a>,
    opaque: O,
) -> BaseRecord<'a, [u8], [u8], O> {
    let mut record = BaseRecord::with_opaque_to(write.topic, opaque).payload(write.payload);
    record.partition = write.partition;
    record.key = write.key;
    record.timestamp = write.timestamp_ms;
    if !write.headers.is_empty() {
        record = record.headers(owned_headers(write.headers));
    }
    record
}

/// Why a record was not delivered.
pub(crate) fn refusal(brokers: &str, topic: &str, code: RDKafkaErrorCode) -> Error {
    if let Some(error) = Error::from_refusal(code, Doing::Writing(topic)) {
        return error;
    }
    match code {
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownPartition => {
            Error::MissingTopics { brokers: brokers.to_owned(), topics: vec![topic.to_owned()] }
        }
        RDKafkaErrorCode::MessageSizeTooLarge => Error::RecordTooLarge { topic: topic.to_owned() },
        code => Error::Kafka {
            doing: "a record was not delivered",
            source: rdkafka::error::KafkaError::MessageProduction(code),
        },
    }
}

fn owned_headers(headers: &[(String, Vec<u8>)]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |owned, (key, value)| {
        owned.insert(Header { key, value: Some(value) })
    })
}

/// Writes records in order per partition, without duplicates while the process lives.
pub struct TopicWriter {
    producer: BaseProducer<DeliveryContext>,
    connection: ConnectionSettings,
}

impl TopicWriter {
    /// Checks the settings; connects by itself.
    pub fn new(connection: &ConnectionSettings) -> Result<TopicWriter, Error> {
        connection.validate()?;
        let mut config = connection.client_config("writer")?;
        producer_defaults(&mut config);
        keep_known(connection, &mut config, Side::Producer);
        let producer = config.create_with_context(DeliveryContext::default()).map_err(setting_error)?;
        Ok(TopicWriter { producer, connection: connection.clone() })
    }

    /// Queues a record, waiting while the queue is full. An error may be that of an earlier record.
    pub fn write(&self, write: WriteRecord<'_>) -> Result<(), Error> {
        let mut record = base_record(&write);
        loop {
            let Err((error, refused)) = self.producer.send(record) else {
                self.producer.poll(Duration::ZERO);
                return self.check();
            };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(self.refusal(write.topic, error.rdkafka_error_code()));
            }
            self.producer.poll(Duration::from_millis(10));
            self.check()?;
            record = refused;
        }
    }

    /// Waits until all that was written has been acknowledged.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        let began = Instant::now();
        let flushed = self.producer.flush(timeout);
        self.check()?;
        flushed.map_err(|error| {
            let reason = self.producer.context().log.last_error().unwrap_or_else(|| error.to_string());
            unreachable(&self.connection, began.elapsed(), Some(reason))
        })
    }

    fn check(&self) -> Result<(), Error> {
        match self.producer.context().take_refused() {
            None => Ok(()),
            Some(refused) => Err(self.refusal(&refused.topic, Some(refused.code))),
        }
    }

    fn refusal(&self, topic: &str, code: Option<RDKafkaErrorCode>) -> Error {
        refusal(&self.connection.brokers, topic, code.unwrap_or(RDKafkaErrorCode::Unknown))
    }
}
