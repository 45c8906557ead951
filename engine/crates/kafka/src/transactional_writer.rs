//! Writes records that become visible together or not at all: for commands whose work must not be done twice.

use std::time::Duration;

use worker::{Failure, Written};

use crate::Error;
use crate::settings::{ConnectionSettings, WorkerSettings};
use crate::transaction::TransactionalProducer;
use crate::writer::WriteRecord;

/// A producer with a transactional id of its own. While it lives, an older one of the same id can commit nothing more.
pub struct TransactionalWriter {
    producer: TransactionalProducer,
}

impl TransactionalWriter {
    /// Fences older writers of this id and waits until what they left open has been aborted.
    pub fn new(
        connection: &ConnectionSettings,
        transactional_id: &str,
        timeout: Duration,
    ) -> Result<Self, Error> {
        connection.validate()?;
        let mut settings = WorkerSettings::new(connection.clone(), "transactional-writer", transactional_id);
        settings.transactional_id = transactional_id.to_owned();
        settings.start_timeout = timeout;
        let producer = TransactionalProducer::new(&settings)?;
        producer.init(&|| false)?;
        Ok(Self { producer })
    }

    /// Adds a record to the transaction, which begins with its first. After an error nothing of it is written.
    pub fn write(&mut self, record: WriteRecord<'_>) -> Result<(), Error> {
        match self.producer.send(record) {
            Ok(Written::Queued { .. }) => Ok(()),
            Ok(Written::TooLarge) => {
                self.abort();
                Err(Error::RecordTooLarge { topic: record.topic.to_owned() })
            }
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// Makes what was written since the last call visible. After an error nothing of it is, unless the error says otherwise.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.producer.commit_with(None).map_err(|failure| self.failed(failure))
    }

    fn failed(&mut self, failure: Failure<Error>) -> Error {
        self.abort();
        match failure {
            Failure::Stop(error) => error,
            Failure::Abort(reason) => Error::Aborted { reason },
        }
    }

    /// The broker aborts by itself what cannot be aborted now.
    fn abort(&mut self) {
        if let Err(error) = self.producer.abort_within(&|waited| waited > Duration::from_secs(10)) {
            tracing::warn!(%error, "could not abort a transaction; the broker does after its timeout");
        }
    }
}

impl Drop for TransactionalWriter {
    fn drop(&mut self) {
        self.abort();
    }
}
