//! What people tell the engine, kept on a compacted topic that every process reads as a whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

use controls::{
    NewRemark, NewSilence, Refused, Remark, RemarkKind, RemarkRefused, Remarks, Silence, Silences,
};
use deliver::Silencer;
use kafka::{ConnectionSettings, TopicReader, TopicSpec, TopicWriter, WriteRecord};
use model::{Alert, Labels};
use pipeline::Router;
use pipeline::feedback::{self, Judgement};
use pipeline::wire::{self, Finding, Findings};

const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What was read so far.
#[derive(Default)]
pub struct Known {
    pub silences: Silences,
    pub remarks: Remarks,
}

/// The topic, as it was read and for writing.
pub struct Controls {
    topic: String,
    known: Arc<RwLock<Known>>,
    reader: Mutex<Option<TopicReader>>,
    writer: TopicWriter,
    /// The topic that the incident stage reads, and where on it.
    findings: (String, Router),
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Silence(#[from] Refused),
    #[error(transparent)]
    Remark(#[from] RemarkRefused),
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
        findings: (String, Router),
        timeout: Duration,
    ) -> Result<Self, kafka::Error> {
        let known = Arc::<RwLock<Known>>::default();
        let into = Arc::clone(&known);
        let reader = TopicReader::start(connection, &[topic.to_owned()], timeout, move |read| {
            let record = read.record;
            let mut known = into.write().unwrap_or_else(PoisonError::into_inner);
            let key = record.key.unwrap_or_default();
            known.silences.on_record(key, record.payload);
            known.remarks.on_record(key, record.payload);
        })?;
        let writer = TopicWriter::new(connection)?;
        Ok(Self { topic: topic.to_owned(), known, reader: Mutex::new(Some(reader)), writer, findings })
    }

    /// What was read so far.
    pub fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
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
        self.known().silences.silencing(labels, now_ms()).into_iter().map(str::to_owned).collect()
    }

    /// Blocks until the brokers have it; it holds as soon as it was read again.
    pub fn add_silence(&self, new: NewSilence) -> Result<Silence, ControlError> {
        let now_ms = now_ms();
        let (silence, stale) = {
            let known = self.known();
            (known.silences.add(new, now_ms)?, known.silences.stale(now_ms))
        };
        for id in stale {
            self.write(&Silences::key(&id), "silence", &[])?;
        }
        self.write_silence(&silence)?;
        Ok(silence)
    }

    /// As [`add_silence`](Self::add_silence).
    pub fn expire_silence(&self, id: &str, author: &str, comment: &str) -> Result<Silence, ControlError> {
        let silence = self.known().silences.expire(id, author, comment, now_ms())?;
        self.write_silence(&silence)?;
        Ok(silence)
    }

    fn write_silence(&self, silence: &Silence) -> Result<(), ControlError> {
        let payload = serde_json::to_vec(silence).expect("plain data with text keys");
        self.write(&Silences::key(&silence.id), "silence", &payload)?;
        let last = silence.changes.last();
        let (author, what) = last.map_or(("", None), |change| (change.author.as_str(), Some(change.kind)));
        tracing::info!(silence = silence.id, author, ?what, matchers = ?silence.matchers, "silence");
        Ok(())
    }

    /// As [`add_silence`](Self::add_silence).
    pub fn add_remark(&self, new: NewRemark) -> Result<Remark, ControlError> {
        let now_ms = now_ms();
        let (remark, stale) = {
            let known = self.known();
            (known.remarks.add(new, now_ms)?, known.remarks.stale(now_ms))
        };
        for key in stale {
            self.write(&key, "remark", &[])?;
        }
        self.write_remark(&remark)?;
        Ok(remark)
    }

    /// As [`add_silence`](Self::add_silence).
    pub fn undo_remark(&self, incident: &str, id: &str, author: &str) -> Result<Remark, ControlError> {
        let remark = self.known().remarks.undo(incident, id, author, now_ms())?;
        self.write_remark(&remark)?;
        Ok(remark)
    }

    fn write_remark(&self, remark: &Remark) -> Result<(), ControlError> {
        let payload = serde_json::to_vec(remark).expect("plain data with text keys");
        self.write(&Remarks::key(remark), "remark", &payload)?;
        self.tell_stage(remark)
    }

    /// Lets the incident stage know of it, in the order of all that it reads. Said twice it counts once.
    fn tell_stage(&self, remark: &Remark) -> Result<(), ControlError> {
        let Some(finding) = finding_of(remark) else { return Ok(()) };
        let (topic, router) = &self.findings;
        let findings = Findings { findings: vec![finding], known_ms: None, watermark: None };
        let mut records = Vec::new();
        wire::findings(router, findings, &mut records);
        for record in &records {
            self.writer.write(WriteRecord {
                topic,
                partition: record.partition,
                key: Some(&record.key),
                headers: &record.headers,
                payload: &record.payload,
                ..WriteRecord::default()
            })?;
        }
        Ok(self.writer.flush(WRITE_TIMEOUT)?)
    }

    fn write(&self, key: &str, noun: &str, payload: &[u8]) -> Result<(), ControlError> {
        let kind = format!("foreshock.{noun}.v1");
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_type", kind.as_str()),
            ("ce_source", "/foreshock"),
            ("ce_id", key),
            ("content-type", "application/json"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        self.writer.write(WriteRecord {
            topic: &self.topic,
            key: Some(key.as_bytes()),
            headers: if payload.is_empty() { &[] } else { &headers },
            payload,
            ..WriteRecord::default()
        })?;
        Ok(self.writer.flush(WRITE_TIMEOUT)?)
    }
}

/// What the engine learns from a remark; nothing of one that only says that somebody looks after the incident.
fn finding_of(remark: &Remark) -> Option<Finding> {
    let judgement = match remark.kind {
        RemarkKind::Acknowledged => return None,
        RemarkKind::Expected => Judgement::Expected,
        RemarkKind::Noise => Judgement::Noise,
        RemarkKind::Right => Judgement::Right,
        RemarkKind::WrongCause => Judgement::WrongCause,
    };
    Some(Finding::Remark(feedback::Remark {
        id: remark.id.clone(),
        incident: remark.incident.clone(),
        judgement,
        cause: remark.cause.clone(),
        time_ms: remark.time_ms,
        is_undone: remark.undone.is_some(),
    }))
}

impl Silencer for Controls {
    fn is_known(&self) -> bool {
        self.reader().as_ref().is_some_and(TopicReader::is_caught_up)
    }

    fn is_silenced(&self, alert: &Alert, now_ms: i64) -> bool {
        self.known().silences.is_silenced(&deliver::labels_of_now(alert), now_ms)
    }
}
