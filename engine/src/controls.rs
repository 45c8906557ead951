//! What people tell the engine, kept on a compacted topic that every process reads as a whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

use controls::{NewSilence, Refused, Silence, Silences};
use deliver::Silencer;
use kafka::{ConnectionSettings, TopicReader, TopicSpec, TopicWriter, WriteRecord};
use model::{Alert, Labels};

const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The topic, as it was read and for writing.
pub struct Controls {
    topic: String,
    silences: Arc<RwLock<Silences>>,
    reader: Mutex<Option<TopicReader>>,
    writer: TopicWriter,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("it could not be written: {0}")]
    Write(#[from] kafka::Error),
}

/// How the topic is made where it does not exist.
pub fn topic_spec(name: &str) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        replication: -1,
        config: vec![("cleanup.policy".to_owned(), "compact".to_owned())],
    }
}

pub fn now_ms() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Controls {
    /// Starts to read.
    pub fn start(
        connection: &ConnectionSettings,
        topic: &str,
        timeout: Duration,
    ) -> Result<Self, kafka::Error> {
        let silences = Arc::<RwLock<Silences>>::default();
        let into = Arc::clone(&silences);
        let reader = TopicReader::start(connection, &[topic.to_owned()], timeout, move |read| {
            let record = read.record;
            let mut silences = into.write().unwrap_or_else(PoisonError::into_inner);
            silences.on_record(record.key.unwrap_or_default(), record.payload);
        })?;
        let writer = TopicWriter::new(connection)?;
        Ok(Self { topic: topic.to_owned(), silences, reader: Mutex::new(Some(reader)), writer })
    }

    /// What was read so far.
    pub fn silences(&self) -> RwLockReadGuard<'_, Silences> {
        self.silences.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Option<TopicReader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends reading.
    pub fn stop(&self) {
        drop(self.reader().take());
    }

    /// The silences that hold back an alert now.
    pub fn silencing(&self, labels: &Labels) -> Vec<String> {
        self.silences().silencing(labels, now_ms()).into_iter().map(str::to_owned).collect()
    }

    /// Blocks until the brokers have it; it holds as soon as it was read again.
    pub fn add_silence(&self, new: NewSilence) -> Result<Silence, ControlError> {
        let now_ms = now_ms();
        let (silence, stale) = {
            let silences = self.silences();
            (silences.add(new, now_ms)?, silences.stale(now_ms))
        };
        for id in stale {
            self.write(&id, &[])?;
        }
        self.write_silence(&silence)?;
        Ok(silence)
    }

    /// As [`add_silence`](Self::add_silence).
    pub fn expire_silence(&self, id: &str, author: &str, comment: &str) -> Result<Silence, ControlError> {
        let silence = self.silences().expire(id, author, comment, now_ms())?;
        self.write_silence(&silence)?;
        Ok(silence)
    }

    fn write_silence(&self, silence: &Silence) -> Result<(), ControlError> {
        let payload = serde_json::to_vec(silence).expect("plain data with text keys");
        self.write(&silence.id, &payload)?;
        let last = silence.changes.last();
        let (author, what) = last.map_or(("", None), |change| (change.author.as_str(), Some(change.kind)));
        tracing::info!(silence = silence.id, author, ?what, matchers = ?silence.matchers, "silence");
        Ok(())
    }

    fn write(&self, id: &str, payload: &[u8]) -> Result<(), ControlError> {
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_type", "foreshock.silence.v1"),
            ("ce_source", "/foreshock"),
            ("ce_id", id),
            ("content-type", "application/json"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        self.writer.write(WriteRecord {
            topic: &self.topic,
            key: Some(Silences::key(id).as_bytes()),
            headers: if payload.is_empty() { &[] } else { &headers },
            payload,
            ..WriteRecord::default()
        })?;
        Ok(self.writer.flush(WRITE_TIMEOUT)?)
    }
}

impl Silencer for Controls {
    fn is_known(&self) -> bool {
        self.reader().as_ref().is_some_and(TopicReader::is_caught_up)
    }

    fn is_silenced(&self, alert: &Alert, now_ms: i64) -> bool {
        self.silences().is_silenced(&deliver::labels_of_now(alert), now_ms)
    }
}
