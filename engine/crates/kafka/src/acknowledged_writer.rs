//! Writes records and tells of each when it is safe: for those who must answer somebody else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};

use crate::Error;
use crate::client::LogContext;
use crate::settings::{ConnectionSettings, Side, keep_known, producer_defaults, setting_error};
use crate::writer::{WriteRecord, base_record_with, refusal};

const POLL: Duration = Duration::from_millis(100);
/// How long records on their way are waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(5);

type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// What is to be told once a record is safe or lost, and the topic for its words.
struct Awaited {
    topic: String,
    // Taken once; a mutex since librdkafka's reports may come from any thread.
    done: Mutex<Option<Done>>,
}

/// An idempotent producer. All copies that Kafka is set to wait for have a record before it counts as written.
pub struct AcknowledgedWriter {
    producer: Arc<BaseProducer<Context>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AcknowledgedWriter {
    /// Checks the settings; connects by itself. A record that is not acknowledged within `timeout` is given up.
    pub fn new(connection: &ConnectionSettings, timeout: Duration) -> Result<Self, Error> {
        connection.validate()?;
        let mut config: ClientConfig = connection.client_config("acknowledged-writer")?;
        producer_defaults(&mut config);
        keep_known(connection, &mut config, Side::Producer);
        config.set("message.timeout.ms", timeout.as_millis().max(1).to_string());
        let context = Context { log: LogContext::default(), brokers: connection.brokers.clone() };
        let producer: BaseProducer<Context> = config.create_with_context(context).map_err(setting_error)?;
        let producer = Arc::new(producer);
        let stop = Arc::new(AtomicBool::new(false));
        let (polled, stopped) = (Arc::clone(&producer), Arc::clone(&stop));
        let name = "acknowledged-writer".to_owned();
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    polled.poll(POLL);
                }
                let _ = polled.flush(LAST_WAIT);
            })
            .map_err(|source| Error::Thread { name, source })?;
        Ok(Self { producer, stop, thread: Some(thread) })
    }

    /// Queues a record without waiting. `done` is called exactly once, by another thread or, where the record cannot even be queued,
    /// by this one.
    pub fn write(&self, record: WriteRecord<'_>, done: impl FnOnce(Result<(), Error>) + Send + 'static) {
        let awaited =
            Box::new(Awaited { topic: record.topic.to_owned(), done: Mutex::new(Some(Box::new(done))) });
        let Err((error, refused)) = self.producer.send(base_record_with(&record, awaited)) else { return };
        let code = error.rdkafka_error_code();
        self.producer.context().tell(&refused.delivery_opaque, code);
    }
}

impl Drop for AcknowledgedWriter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Context {
    log: LogContext,
    brokers: String,
}

impl Context {
    fn tell(&self, awaited: &Awaited, failed: Option<RDKafkaErrorCode>) {
        let done = awaited.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        let result = match failed {
            None => Ok(()),
            Some(code) => Err(refusal(&self.brokers, &awaited.topic, code)),
        };
        if let Some(done) = done {
            done(result);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Awaited>;

    fn delivery(&self, result: &DeliveryResult<'_>, awaited: Box<Awaited>) {
        let failed = result
            .as_ref()
            .err()
            .map(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown));
        self.tell(&awaited, failed);
    }
}
