//! The transactional producer, with librdkafka's three classes of errors kept apart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Output, OutputTopic};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use worker::{Failure, Sink, TopicPartition, Written};

use crate::Error;
use crate::client::{DeliveryContext, unreachable};
use crate::error::Doing;
use crate::settings::{WorkerSettings, setting_error};
use crate::writer::{WriteRecord, base_record};

const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// One blocking call; calls that end with a retriable error are repeated.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct TransactionalProducer {
    producer: BaseProducer<DeliveryContext>,
    topics: Arc<BTreeMap<OutputTopic, String>>,
    settings: WorkerSettings,
    open: bool,
}

impl TransactionalProducer {
    pub(crate) fn new(settings: &WorkerSettings) -> Result<TransactionalProducer, Error> {
        let producer = settings
            .producer_config()?
            .create_with_context::<_, BaseProducer<DeliveryContext>>(DeliveryContext::default())
            .map_err(setting_error)?;
        let topics = Arc::new(settings.outputs.clone());
        Ok(TransactionalProducer { producer, topics, settings: settings.clone(), open: false })
    }

    /// Fences older producers of this id and ends what they left open. `give_up` ends the wait early.
    pub(crate) fn init(&self, give_up: &dyn Fn() -> bool) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let left = self.settings.start_timeout.saturating_sub(began.elapsed());
            let Err(error) = self.producer.init_transactions(left.min(Duration::from_secs(1))) else {
                return Ok(());
            };
            self.producer.poll(Duration::ZERO);
            match self.classify(&error) {
                Class::Retriable if left > RETRY_PAUSE && !give_up() => std::thread::sleep(RETRY_PAUSE),
                Class::Retriable | Class::Abortable => {
                    let reason =
                        self.producer.context().log.last_error().unwrap_or_else(|| error.to_string());
                    return Err(unreachable(&self.settings.connection, began.elapsed(), Some(reason)));
                }
                Class::Fatal(stop) => return Err(stop),
            }
        }
    }

    /// Waits for all records to be acknowledged. rdkafka's own flush, which a commit begins with, serves reports for 100 ms
    /// at a time even if the last one comes at once; after this one it has nothing left to wait for.
    fn flush(&self, deadline: Instant) -> Result<(), Failure<Error>> {
        while let Err(error) = self.producer.flush(Duration::ZERO) {
            if Instant::now() > deadline {
                return Err(self.failure(&error));
            }
            self.producer.poll(Duration::from_millis(1));
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Failure<Error>> {
        if !self.open {
            self.producer.begin_transaction().map_err(|error| self.failure(&error))?;
            self.open = true;
        }
        Ok(())
    }

    fn retry(
        &self,
        deadline: Instant,
        call: impl Fn(&BaseProducer<DeliveryContext>) -> Result<(), KafkaError>,
    ) -> Result<(), Failure<Error>> {
        while let Err(error) = call(&self.producer) {
            self.producer.poll(Duration::ZERO);
            match self.classify(&error) {
                Class::Retriable if Instant::now() < deadline => std::thread::sleep(RETRY_PAUSE),
                _ => return Err(self.failure(&error)),
            }
        }
        Ok(())
    }

    /// What a failed call outside of a retry means.
    fn failure(&self, error: &KafkaError) -> Failure<Error> {
        self.producer.poll(Duration::ZERO);
        if let Class::Fatal(stop) = self.classify(error) {
            return Failure::Stop(stop);
        }
        let Some(refused) = self.producer.context().take_refused() else {
            return Failure::Abort(error.to_string());
        };
        if let Some(stop) = Error::from_refusal(refused.code, Doing::Writing(&refused.topic)) {
            return Failure::Stop(stop);
        }
        match refused.code {
            RDKafkaErrorCode::MessageSizeTooLarge => {
                Failure::Stop(Error::RecordTooLarge { topic: refused.topic })
            }
            code => {
                Failure::Abort(format!("a record for topic `{}` was not delivered: {code}", refused.topic))
            }
        }
    }

    fn classify(&self, error: &KafkaError) -> Class {
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            return Class::Fatal(self.fatal(code, reason));
        }
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        if let Some(stop) = Error::from_refusal(code, Doing::Writing("")) {
            return Class::Fatal(stop);
        }
        match error {
            KafkaError::Transaction(transaction) if transaction.is_fatal() => {
                Class::Fatal(self.fatal(code, transaction.string()))
            }
            KafkaError::Transaction(transaction) if transaction.txn_requires_abort() => Class::Abortable,
            KafkaError::Transaction(transaction) if transaction.is_retriable() => Class::Retriable,
            KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut) => Class::Retriable,
            _ => Class::Abortable,
        }
    }

    fn fatal(&self, code: RDKafkaErrorCode, reason: String) -> Error {
        match code {
            RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch => {
                Error::Fenced { transactional_id: self.settings.transactional_id.clone(), reason }
            }
            _ => Error::Fatal { reason },
        }
    }

    /// Adds a record to the transaction, which begins with its first one.
    pub(crate) fn send(&mut self, write: WriteRecord<'_>) -> Result<Written, Failure<Error>> {
        self.begin()?;
        let mut record = base_record(&write);
        let mut waits = 0;
        loop {
            let Err((error, refused)) = self.producer.send(record) else {
                return Ok(Written::Queued { waits });
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {
                    // Back-pressure. Delivery reports free the queue, at the latest when records time out.
                    waits += 1;
                    self.producer.poll(Duration::from_millis(5));
                    record = refused;
                }
                Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
                    return Ok(Written::TooLarge);
                }
                _ => return Err(self.failure(&error)),
            }
        }
    }

    /// Makes the transaction visible, with these offsets of a group.
    pub(crate) fn commit_with(
        &mut self,
        offsets: Option<(&TopicPartitionList, &ConsumerGroupMetadata)>,
    ) -> Result<(), Failure<Error>> {
        self.begin()?;
        let deadline = Instant::now() + self.settings.transaction_timeout;
        self.flush(deadline)?;
        if let Some((list, group)) = offsets {
            let send = |producer: &BaseProducer<DeliveryContext>| {
                producer.send_offsets_to_transaction(list, group, CALL_TIMEOUT)
            };
            self.retry(deadline, send)?;
        }
        self.retry(deadline, |producer| producer.commit_transaction(CALL_TIMEOUT))?;
        self.open = false;
        Ok(())
    }

    /// Drops the transaction. Brokers that do not answer are waited for until `give_up`.
    pub(crate) fn abort_within(&mut self, give_up: &dyn Fn(Duration) -> bool) -> Result<(), Error> {
        if !self.open {
            return Ok(());
        }
        let began = Instant::now();
        let mut timeout = Duration::from_millis(200);
        let mut told = Duration::ZERO;
        while let Err(error) = self.producer.abort_transaction(timeout) {
            // The call waits for purged records to be reported, and only this thread serves reports: so call again.
            self.producer.poll(Duration::from_millis(10));
            match self.classify(&error) {
                Class::Fatal(stop) => return Err(stop),
                _ if give_up(began.elapsed()) => {
                    return Err(unreachable(
                        &self.settings.connection,
                        began.elapsed(),
                        Some(error.to_string()),
                    ));
                }
                _ => {}
            }
            if began.elapsed() > told + Duration::from_secs(10) {
                told = began.elapsed();
                tracing::warn!(worker = self.settings.name, %error, "waiting for kafka to abort an epoch");
            }
            timeout = CALL_TIMEOUT;
        }
        self.producer.context().take_refused();
        self.open = false;
        Ok(())
    }
}

impl Sink for TransactionalProducer {
    type Error = Error;
    type Group = ConsumerGroupMetadata;

    fn write(&mut self, output: &Output) -> Result<Written, Failure<Error>> {
        let topics = Arc::clone(&self.topics);
        let topic = topics.get(&output.topic).ok_or(Error::NoTopicForOutput { output: output.topic })?;
        self.send(WriteRecord {
            topic,
            partition: output.partition,
            key: (!output.key.is_empty()).then_some(&output.key),
            headers: &output.headers,
            payload: &output.payload,
            timestamp_ms: None,
        })
    }

    fn poll(&mut self) {
        self.producer.poll(Duration::ZERO);
    }

    fn commit(
        &mut self,
        offsets: &[(TopicPartition, i64, String)],
        group: &ConsumerGroupMetadata,
    ) -> Result<(), Failure<Error>> {
        let mut list = TopicPartitionList::new();
        for ((topic, number), offset, metadata) in offsets {
            let mut element = list.add_partition(topic, *number);
            let set = element.set_offset(Offset::Offset(*offset));
            set.map_err(Error::kafka("could not note an offset"))?;
            element.set_metadata(metadata);
        }
        self.commit_with((!offsets.is_empty()).then_some((&list, group)))
    }

    fn abort(&mut self, give_up: &dyn Fn(Duration) -> bool) -> Result<(), Error> {
        self.abort_within(give_up)
    }
}

#[derive(Debug)]
enum Class {
    Retriable,
    Abortable,
    Fatal(Error),
}
