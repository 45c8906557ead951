//! What every client of librdkafka shares here: its log lines go to `tracing`, its errors are kept.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientConfig, Message};

use crate::Error;
use crate::settings::{ConnectionSettings, Side, keep_known, setting_error};

/// The context of clients that only ask and read.
#[derive(Debug, Default)]
pub(crate) struct LogContext {
    last_error: Mutex<Option<String>>,
}

impl LogContext {
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, reason: &str) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client error");
        self.keep(reason);
    }
}

impl rdkafka::consumer::ConsumerContext for LogContext {}

/// Says what an error of a consumer means that librdkafka recovers from by itself.
pub(crate) fn warn_of_consumer(reader: &str, brokers: &str, error: &KafkaError) {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve,
        ) => {
            tracing::warn!(
                reader,
                brokers,
                "no broker answers; reading goes on when one does, and nothing is lost. Check that they run and can be reached"
            );
        }
        _ => tracing::warn!(reader, %error, "kafka consumer error, librdkafka goes on by itself"),
    }
}

pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, message, "librdkafka");
        }
        // librdkafka calls every refused connection an error, several times a second; it recovers from them by itself.
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, message, "librdkafka"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "librdkafka"),
    }
}

/// The context of producers: remembers why the first record since the last look was not delivered.
#[derive(Debug, Default)]
pub(crate) struct DeliveryContext {
    pub(crate) log: LogContext,
    refused: Mutex<Option<Refused>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) topic: String,
    pub(crate) code: RDKafkaErrorCode,
}

impl DeliveryContext {
    pub(crate) fn take_refused(&self) -> Option<Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = result else { return };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // A purge is the consequence of an abort, never its cause.
        if matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
            return;
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get_or_insert_with(|| Refused { topic: message.topic().to_owned(), code });
    }
}

/// A consumer outside any group, for metadata and for reading.
pub(crate) fn lone_consumer(config: &ClientConfig) -> Result<BaseConsumer<LogContext>, Error> {
    config.create_with_context(LogContext::default()).map_err(setting_error)
}

/// The configuration of a consumer that reads committed records outside of any group, and is told where partitions end.
pub(crate) fn reading_config(connection: &ConnectionSettings, client: &str) -> Result<ClientConfig, Error> {
    let mut config = connection.client_config(client)?;
    // Where records were deleted meanwhile, the oldest that are left come next.
    config.set("auto.offset.reset", "earliest");
    config.set("fetch.wait.max.ms", "100");
    keep_known(connection, &mut config, Side::Consumer);
    // librdkafka wants a name for a group even where none is joined; nothing is committed under it.
    config.set("group.id", "foreshock-reader");
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("isolation.level", "read_committed");
    config.set("enable.partition.eof", "true");
    Ok(config)
}

/// Asks for the metadata of a topic (which does not create it) or of all.
pub(crate) fn metadata(
    consumer: &BaseConsumer<LogContext>,
    connection: &ConnectionSettings,
    topic: Option<&str>,
    timeout: Duration,
) -> Result<Metadata, Error> {
    consumer.fetch_metadata(topic, timeout).map_err(|error| {
        // Serves the error events, which say why.
        consumer.poll(Duration::ZERO);
        unreachable(connection, timeout, consumer.context().last_error().or_else(|| Some(error.to_string())))
    })
}

pub(crate) fn unreachable(
    connection: &ConnectionSettings,
    waited: Duration,
    last_error: Option<String>,
) -> Error {
    Error::Unreachable { brokers: connection.brokers.clone(), waited, last_error }
}

/// Runs a future of rdkafka's admin client, which has a thread of its own, to its end.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
