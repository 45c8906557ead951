//! Jaeger's spans as its collector writes them to Kafka: one `jaeger.api_v2.Span` in protobuf a record.
//!
//! The parent is the first reference to the span's own trace, a child of it before one that follows from it. The kind is
//! the tag `span.kind`; a span has failed if the tag `error` is true or `otel.status_code` is `ERROR`.
//!
//! A span without ids, or one that ends after 2262, is malformed; one without a start has no time; one that ends before it
//! starts lasts 0.

use std::sync::Arc;

use model::{SourceRecord, SpanBatchBuilder, SpanRow, Telemetry};

use crate::decoder::{Batch as _, Budget};
use crate::entity::EntityRules;
use crate::otlp::{span_id, trace_id};
use crate::settings::DecoderSettings;
use crate::wire::{ATTRIBUTES_MAX, Fields, Message, WireError};
use crate::{Decoder, Dropped, Limits, Rejected, naming, time};

const MESSAGE: &str = "Jaeger span";

/// Reads [Jaeger's spans](self).
pub struct SpansDecoder {
    limits: Limits,
    entity: Arc<EntityRules>,
    dropped: Dropped,
}

impl SpansDecoder {
    pub fn new(settings: &DecoderSettings) -> Self {
        let DecoderSettings { limits, entity, .. } = settings;
        Self { limits: *limits, entity: Arc::clone(entity), dropped: Dropped::default() }
    }
}

impl Decoder for SpansDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.limits.check_payload(record.payload)?;
        if record.payload.is_empty() {
            return Ok(());
        }
        Budget::new(self.limits).take(1, 0)?;
        let span = Span::of(record.payload).map_err(|error| error.reject(MESSAGE))?;
        let (Some(trace_id), Some(own_id)) = (trace_id(span.trace_id), span_id(span.span_id)) else {
            self.dropped.malformed += 1;
            return Ok(());
        };
        let (start_us, duration_us) = (span.start_us, span.duration_us.max(0));
        if start_us <= 0 {
            self.dropped.no_time += 1;
            return Ok(());
        }
        if !time::is_span(start_us, duration_us) {
            self.dropped.malformed += 1;
            return Ok(());
        }
        let attribute = |name: &str| match name {
            "service.name" => Some(span.service.into()),
            name => span.process.iter().rfind(|tag| tag.key == name).map(|tag| tag.text.into()),
        };
        let usual =
            || naming::qualified(attribute("service.namespace").unwrap_or_default(), span.service.into());
        let service = self.entity.service(attribute, usual);
        let mut spans = SpanBatchBuilder::default();
        spans.push(&SpanRow {
            start_us,
            duration_us,
            trace_id,
            span_id: own_id,
            parent: span.parent,
            service: &service,
            operation: span.operation,
            kind: span.kind,
            error: span.error,
        });
        out.extend(spans.into_telemetry());
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

/// The fields of a span that a batch holds.
#[derive(Default)]
struct Span<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    operation: &'a str,
    parent: Option<u64>,
    start_us: i64,
    duration_us: i64,
    kind: u8,
    error: bool,
    service: &'a str,
    /// The tags of the process.
    process: Vec<Tag<'a>>,
}

impl<'a> Span<'a> {
    fn of(message: &'a [u8]) -> Result<Self, WireError> {
        let mut span = Self::default();
        let (mut start, mut duration, mut process) =
            (Message::default(), Message::default(), Message::default());
        let mut references = Vec::new();
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => span.trace_id = field.bytes()?,
                2 => span.span_id = field.bytes()?,
                3 => span.operation = field.text()?,
                4 => references.push(Reference::of(field.bytes()?)?),
                6 => start.merge(field.bytes()?),
                7 => duration.merge(field.bytes()?),
                8 => span.tag(&Tag::of(field.bytes()?)?),
                10 => process.merge(field.bytes()?),
                _ => {}
            }
        }
        let own = |reference: &&Reference<'_>| reference.trace_id == span.trace_id;
        let own = || references.iter().filter(own);
        let parent = own().find(|reference| reference.is_child).or(own().next());
        span.parent = parent.and_then(|reference| span_id(reference.span_id));
        span.start_us = microseconds(&start)?;
        span.duration_us = microseconds(&duration)?;
        for field in process.fields() {
            let field = field?;
            match field.number {
                1 => span.service = field.text()?,
                2 if span.process.len() == ATTRIBUTES_MAX => return Err(WireError::TooManyAttributes),
                2 => span.process.push(Tag::of(field.bytes()?)?),
                _ => {}
            }
        }
        Ok(span)
    }

    fn tag(&mut self, tag: &Tag<'_>) {
        match tag.key {
            "span.kind" => {
                self.kind = match tag.text {
                    "internal" => 1,
                    "server" => 2,
                    "client" => 3,
                    "producer" => 4,
                    "consumer" => 5,
                    _ => 0,
                }
            }
            "error" => self.error |= tag.is_true || tag.text == "true",
            "otel.status_code" => self.error |= tag.text == "ERROR",
            _ => {}
        }
    }
}

#[derive(Default)]
struct Reference<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    is_child: bool,
}

impl<'a> Reference<'a> {
    fn of(message: &'a [u8]) -> Result<Self, WireError> {
        let mut reference = Self { is_child: true, ..Self::default() };
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => reference.trace_id = field.bytes()?,
                2 => reference.span_id = field.bytes()?,
                3 => reference.is_child = field.varint()? == 0,
                _ => {}
            }
        }
        Ok(reference)
    }
}

#[derive(Default)]
struct Tag<'a> {
    key: &'a str,
    text: &'a str,
    is_true: bool,
}

impl<'a> Tag<'a> {
    fn of(message: &'a [u8]) -> Result<Self, WireError> {
        let mut tag = Self::default();
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => tag.key = field.text()?,
                3 => tag.text = field.text()?,
                4 => tag.is_true = field.varint()? != 0,
                _ => {}
            }
        }
        Ok(tag)
    }
}

/// Of a `google.protobuf.Timestamp` or `Duration`: 0 if it is absent, the nearest that there are if they do not fit.
fn microseconds(message: &Message<'_>) -> Result<i64, WireError> {
    let (mut seconds, mut nanoseconds) = (0i64, 0i32);
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => seconds = field.varint()? as i64,
            2 => nanoseconds = field.varint()? as i32,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanoseconds / 1000)))
}
