//! Log records as JSON, one an object, by the names of members that are common or those of the configuration.

use std::borrow::Cow;
use std::sync::Arc;

use model::{LogBatchBuilder, LogRow, SourceRecord, Telemetry};
use serde_json::value::RawValue;

use super::mapping::{LogMapping, Paths, Reader};
use super::object::{self, Object};
use crate::decoder::{Batch as _, Budget};
use crate::entity::EntityRules;
use crate::otlp::UNKNOWN_SERVICE;
use crate::settings::DecoderSettings;
use crate::{Decoder, Dropped, Limits, Rejected, hex, naming};

const READER: Reader = Reader { format: "JSON log record" };

const TIME: &[&str] = &["timestamp", "@timestamp", "time", "ts", "date"];
const BODY: &[&str] = &["message", "msg", "body", "log", "event", "text"];
const SEVERITY: &[&str] = &["severity", "level", "log.level", "loglevel", "severity_text"];
const TRACE_ID: &[&str] = &["trace_id", "traceId", "trace.id"];
const SPAN_ID: &[&str] = &["span_id", "spanId", "span.id"];

/// A record whose time is not configured and not there has that of the Kafka record.
pub struct LogsDecoder {
    limits: Limits,
    mapping: Arc<LogMapping>,
    entity: Arc<EntityRules>,
    dropped: Dropped,
}

impl LogsDecoder {
    pub fn new(settings: &DecoderSettings) -> Self {
        Self {
            limits: settings.limits,
            mapping: settings.mapping.logs(),
            entity: Arc::clone(&settings.entity),
            dropped: Dropped::default(),
        }
    }

    fn row(
        &self,
        object: &Object<'_>,
        written_ms: Option<i64>,
        logs: &mut LogBatchBuilder,
        dropped: &mut Dropped,
        budget: &mut Budget,
    ) -> Result<(), Rejected> {
        let mapping = &self.mapping;
        let body = READER.find(object, mapping.body.as_ref(), BODY)?.map(text).transpose()?;
        let body = body.unwrap_or_default();
        let body = body.trim_end_matches(['\n', '\r']);
        let service = self.service(object)?;
        budget.take(1, body.len() + service.len())?;
        let when = (mapping.time.as_ref(), &mapping.time_format, mapping.time_zone);
        let Some(time_ms) = READER.time_ms(object, when, TIME, written_ms)? else {
            dropped.no_time += 1;
            return Ok(());
        };
        let optional = |configured: Option<&Paths>, common: &[&str]| match configured {
            Some(paths) => object.text(paths.as_ref()),
            None => object.text(common),
        };
        let severity = optional(mapping.severity.as_ref(), SEVERITY);
        let id =
            |configured: Option<&Paths>, common| optional(configured, common).and_then(|id| hex::id(&id));
        logs.push(&LogRow {
            time_ms,
            service: &service,
            severity: severity.map_or(0, |text| mapping.severity_numbers.scale().severity_of(&text)),
            body,
            trace_id: id(mapping.trace_id.as_ref(), TRACE_ID),
            span_id: id(mapping.span_id.as_ref(), SPAN_ID).and_then(|id| u64::try_from(id).ok()),
        });
        Ok(())
    }

    fn service<'a>(&self, object: &Object<'a>) -> Result<Cow<'a, str>, Rejected> {
        let member =
            |name: &str| object.find(name).filter(|value| object::is_scalar(value)).and_then(object::text);
        if let Some(paths) = &self.mapping.service {
            let named = paths.as_ref().iter().find_map(|path| member(path).filter(|name| !name.is_empty()));
            return named.ok_or_else(|| READER.missing(paths.as_ref()));
        }
        let common = || naming::find_service(member).unwrap_or(Cow::Borrowed(UNKNOWN_SERVICE));
        Ok(self.entity.service(member, common))
    }
}

fn text(value: &RawValue) -> Result<Cow<'_, str>, Rejected> {
    object::text(value).ok_or_else(|| READER.reject(format!("{} holds no text in Unicode", value.get())))
}

impl Decoder for LogsDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.limits.check_payload(record.payload)?;
        let mut logs = LogBatchBuilder::default();
        let (mut dropped, mut budget) = (self.dropped, Budget::new(self.limits));
        object::each_object(record.payload, |object| {
            READER.each_row(self.mapping.rows.as_ref(), object, |row| {
                self.row(row, record.timestamp_ms, &mut logs, &mut dropped, &mut budget)
            })
        })?;
        self.dropped = dropped;
        out.extend(logs.into_telemetry());
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}
