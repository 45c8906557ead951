//! CloudEvents 1.0 over Kafka, in structured mode (JSON, also batched) and binary mode (`ce_` headers).
//!
//! | field of the row | from |
//! |---|---|
//! | `kind` | the words in `type`: `kubernetes`, `config` or `deploy`, else `other` |
//! | `service` | `data.service`, else `data["service.name"]` (after `data["service.namespace"]`), else `subject` |
//! | `summary` | `data.summary`, `.message`, `.description` or `.title`, else `type` |
//! | `time_ms` | `time`, which is required here |

use std::borrow::Cow;

use jiff::Timestamp;
use model::{EventBatchBuilder, EventRow, SourceRecord, Telemetry};
use serde_json::Value;

use crate::decoder::{Batch as _, Budget};
use crate::otlp::UNKNOWN_SERVICE;
use crate::settings::DecoderSettings;
use crate::{Decoder, Dropped, Limits, Rejected, naming};

pub struct CloudEventsDecoder {
    limits: Limits,
}

impl CloudEventsDecoder {
    pub fn new(settings: &DecoderSettings) -> Self {
        Self { limits: settings.limits }
    }
}

impl Decoder for CloudEventsDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.limits.check_payload(record.payload)?;
        let events = events(record)?;
        let mut budget = Budget::new(self.limits);
        let mut batch = EventBatchBuilder::default();
        for event in &events {
            let time_ms = event.time_ms()?;
            let service = event.service();
            let summary = event.summary();
            budget.take(1, summary.len() + service.len())?;
            batch.push(&EventRow {
                time_ms,
                service: &service,
                kind: kind(&event.kind),
                id: &event.id,
                summary,
                source: &event.source,
            });
        }
        out.extend(batch.into_telemetry());
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        Dropped::default()
    }
}

/// The context attributes that matter here, and the data.
struct Event {
    id: String,
    source: String,
    /// The attribute `type`.
    kind: String,
    time: String,
    subject: Option<String>,
    data: Value,
}

fn events(record: SourceRecord<'_>) -> Result<Vec<Event>, Rejected> {
    let content_type = record.header("content-type").unwrap_or_default().trim().to_ascii_lowercase();
    let structured = content_type.starts_with("application/cloudevents");
    if !structured && record.header("ce_specversion").is_some() {
        return Ok(vec![binary(record, &content_type)?]);
    }
    match json(record.payload)? {
        Value::Array(events) => events.into_iter().map(from_json).collect(),
        event => Ok(vec![from_json(event)?]),
    }
}

fn json(payload: &[u8]) -> Result<Value, Rejected> {
    serde_json::from_slice(payload).map_err(|error| Rejected::Json { reason: error.to_string() })
}

fn from_json(mut event: Value) -> Result<Event, Rejected> {
    if !event.is_object() {
        return Err(Rejected::CloudEvent { reason: "it is no JSON object".to_owned() });
    }
    let data = event.get_mut("data").map(Value::take).unwrap_or_default();
    Event::new(|name| event.get(name)?.as_str(), data)
}

fn binary(record: SourceRecord<'_>, content_type: &str) -> Result<Event, Rejected> {
    let is_json = content_type.contains("json");
    let data = match json(record.payload) {
        Ok(data) => data,
        Err(rejected) if is_json && !record.payload.is_empty() => return Err(rejected),
        Err(_) => Value::Null,
    };
    Event::new(|name| record.header(&format!("ce_{name}")), data)
}

impl Event {
    fn new<'a>(attribute: impl Fn(&str) -> Option<&'a str>, data: Value) -> Result<Self, Rejected> {
        let required = |name: &str| match attribute(name) {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(Rejected::CloudEvent { reason: format!("the attribute {name} is missing or no text") }),
        };
        let version = required("specversion")?;
        if version != "1.0" {
            let reason = format!("its specversion is {version:?}, 1.0 is supported");
            return Err(Rejected::CloudEvent { reason });
        }
        Ok(Self {
            id: required("id")?,
            source: required("source")?,
            kind: required("type")?,
            time: required("time")?,
            subject: attribute("subject").filter(|subject| !subject.is_empty()).map(str::to_owned),
            data,
        })
    }

    fn time_ms(&self) -> Result<i64, Rejected> {
        let time: Result<Timestamp, jiff::Error> = self.time.parse();
        let time = time.map_err(|error| Rejected::CloudEvent {
            reason: format!("the time {:?} is no RFC 3339 time: {error}", self.time),
        })?;
        Ok(time.as_millisecond())
    }

    fn service(&self) -> Cow<'_, str> {
        let named = |key: &str| self.data.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(service) = named("service") {
            return service.into();
        }
        match named("service.name") {
            Some(name) => {
                naming::qualified(named("service.namespace").unwrap_or_default().into(), name.into())
            }
            None => self.subject.as_deref().unwrap_or(UNKNOWN_SERVICE).into(),
        }
    }

    fn summary(&self) -> &str {
        let texts = ["summary", "message", "description", "title"];
        let text = |key: &&str| self.data.get(*key).and_then(Value::as_str).filter(|text| !text.is_empty());
        texts.iter().find_map(text).unwrap_or(&self.kind)
    }
}

/// The kind of change that the `type` of an event names. A Kubernetes event about a deployment is one of Kubernetes.
fn kind(event_type: &str) -> &'static str {
    let event_type = event_type.to_ascii_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| event_type.contains(word));
    if names(&["k8s", "kubernetes"]) {
        "kubernetes"
    } else if names(&["config", "feature", "flag"]) {
        "config"
    } else if names(&["deploy", "release", "rollout", "rollback"]) {
        "deploy"
    } else {
        "other"
    }
}

/// Milliseconds since the epoch as RFC 3339; a time out of its range becomes the nearest in it.
pub fn time_text(time_ms: i64) -> String {
    let limit = |time: Timestamp| time.as_millisecond();
    let time_ms = time_ms.clamp(limit(Timestamp::MIN), limit(Timestamp::MAX));
    Timestamp::from_millisecond(time_ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
