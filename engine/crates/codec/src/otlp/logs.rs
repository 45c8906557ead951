//! Log records.

use std::borrow::Cow;

use model::{LogBatchBuilder, LogRow, SourceRecord, Telemetry};

use super::attributes::Resource;
use super::{OfResource, Stop, attributes, span_id, time_ms, trace_id};
use crate::decoder::{Batch as _, Budget};
use crate::settings::DecoderSettings;
use crate::severity;
use crate::wire::{Fields, LEVELS_MAX, Message, WireError, validate};
use crate::{Decoder, Dropped, Rejected};

const MESSAGE: &str = "OTLP logs request";

/// The time of a log record is its own, else the one at which it was observed. A body that is no string becomes JSON;
/// one that is missing, the name of the event.
pub struct LogsDecoder {
    settings: DecoderSettings,
    dropped: Dropped,
}

impl LogsDecoder {
    pub fn new(settings: &DecoderSettings) -> Self {
        Self { settings: settings.clone(), dropped: Dropped::default() }
    }

    fn read(&self, payload: &[u8], logs: &mut LogBatchBuilder) -> Result<Dropped, Stop> {
        let limits = self.settings.limits;
        let mut budget = Budget::new(limits);
        let mut dropped = self.dropped;
        for field in Fields::of(payload) {
            let field = field?;
            if field.number != 1 {
                continue;
            }
            let resource_logs = OfResource::of(field.bytes()?)?;
            let resource = Resource::of(MESSAGE, &resource_logs.resource, limits.depth_max)?;
            if !resource.is_of(self.settings.tenant.as_deref()) {
                resource_logs.leave_out(&mut budget, &mut dropped, LogRecord::of)?;
                continue;
            }
            let service = resource.service(&self.settings.entity)?;
            resource_logs.each(|log| {
                let log = LogRecord::of(log)?;
                let body = log.body(limits.depth_max)?;
                budget.take(1, body.len())?;
                let Some(time_ms) = time_ms(log.time_ns).or(time_ms(log.observed_time_ns)) else {
                    dropped.no_time += 1;
                    return Ok(());
                };
                logs.push(&LogRow {
                    time_ms,
                    service: &service,
                    severity: severity::of(log.severity_number, log.severity_text),
                    body: &body,
                    trace_id: trace_id(log.trace_id),
                    span_id: span_id(log.span_id),
                });
                Ok(())
            })?;
        }
        Ok(dropped)
    }
}

impl Decoder for LogsDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.settings.limits.check_payload(record.payload)?;
        let mut logs = LogBatchBuilder::default();
        self.dropped = self.read(record.payload, &mut logs).map_err(|stop| stop.reject(MESSAGE))?;
        out.extend(logs.into_telemetry());
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// The fields of a log record that a batch holds.
#[derive(Default)]
struct LogRecord<'a> {
    time_ns: u64,
    observed_time_ns: u64,
    severity_number: i32,
    severity_text: &'a str,
    body: Message<'a>,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a str,
}

impl<'a> LogRecord<'a> {
    fn of(message: &'a [u8]) -> Result<Self, WireError> {
        let mut log = Self::default();
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => log.time_ns = field.fixed64()?,
                2 => log.severity_number = field.varint()? as i32,
                3 => log.severity_text = field.text()?,
                5 => {
                    let body = field.bytes()?;
                    // Below the request, the logs of a resource, of a scope, the record and its body.
                    validate(body, &attributes::ANY_VALUE, LEVELS_MAX - 4)?;
                    log.body.merge(body);
                }
                9 => log.trace_id = field.bytes()?,
                10 => log.span_id = field.bytes()?,
                11 => log.observed_time_ns = field.fixed64()?,
                12 => log.event_name = field.text()?,
                _ => {}
            }
        }
        Ok(log)
    }

    fn body(&self, depth_max: usize) -> Result<Cow<'a, str>, Rejected> {
        let body = attributes::text(MESSAGE, &self.body, depth_max)?;
        Ok(if body.is_empty() { Cow::Borrowed(self.event_name) } else { body })
    }
}
