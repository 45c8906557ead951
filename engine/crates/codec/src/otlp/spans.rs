//! Spans.

use model::{SourceRecord, SpanBatchBuilder, SpanRow, Telemetry};

use super::attributes::Resource;
use super::{OfResource, Stop, span_id, trace_id};
use crate::decoder::{Batch as _, Budget};
use crate::settings::DecoderSettings;
use crate::wire::{Fields, Message, WireError};
use crate::{Decoder, Dropped, Rejected};

const MESSAGE: &str = "OTLP trace request";
const STATUS_CODE_ERROR: i32 = 2;
const SPAN_KINDS: std::ops::RangeInclusive<i32> = 0..=5;

/// A span without trace id, span id or start is left out. One that ends before it starts lasts 0.
pub struct SpansDecoder {
    settings: DecoderSettings,
    dropped: Dropped,
}

impl SpansDecoder {
    pub fn new(settings: &DecoderSettings) -> Self {
        Self { settings: settings.clone(), dropped: Dropped::default() }
    }

    fn read(&self, payload: &[u8], spans: &mut SpanBatchBuilder) -> Result<Dropped, Stop> {
        let limits = self.settings.limits;
        let mut budget = Budget::new(limits);
        let mut dropped = self.dropped;
        for field in Fields::of(payload) {
            let field = field?;
            if field.number != 1 {
                continue;
            }
            let resource_spans = OfResource::of(field.bytes()?)?;
            let resource = Resource::of(MESSAGE, &resource_spans.resource, limits.depth_max)?;
            if !resource.is_of(self.settings.tenant.as_deref()) {
                resource_spans.leave_out(&mut budget, &mut dropped, Span::of)?;
                continue;
            }
            let service = resource.service(&self.settings.entity)?;
            resource_spans.each(|span| {
                let span = Span::of(span)?;
                budget.take(1, 0)?;
                let (Some(trace_id), Some(span_id)) = (trace_id(span.trace_id), span_id(span.span_id)) else {
                    dropped.malformed += 1;
                    return Ok(());
                };
                if span.start_ns == 0 {
                    dropped.no_time += 1;
                    return Ok(());
                }
                spans.push(&span.row(&service, trace_id, span_id));
                Ok(())
            })?;
        }
        Ok(dropped)
    }
}

impl Decoder for SpansDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        self.settings.limits.check_payload(record.payload)?;
        let mut spans = SpanBatchBuilder::default();
        self.dropped = self.read(record.payload, &mut spans).map_err(|stop| stop.reject(MESSAGE))?;
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
    parent_span_id: &'a [u8],
    name: &'a str,
    kind: i32,
    start_ns: u64,
    end_ns: u64,
    status_code: i32,
}

impl<'a> Span<'a> {
    fn of(message: &'a [u8]) -> Result<Self, WireError> {
        let mut span = Self::default();
        let mut status = Message::default();
        for field in Fields::of(message) {
            let field = field?;
            match field.number {
                1 => span.trace_id = field.bytes()?,
                2 => span.span_id = field.bytes()?,
                4 => span.parent_span_id = field.bytes()?,
                5 => span.name = field.text()?,
                6 => span.kind = field.varint()? as i32,
                7 => span.start_ns = field.fixed64()?,
                8 => span.end_ns = field.fixed64()?,
                15 => status.merge(field.bytes()?),
                _ => {}
            }
        }
        for field in status.fields() {
            let field = field?;
            if field.number == 3 {
                span.status_code = field.varint()? as i32;
            }
        }
        Ok(span)
    }

    fn row(&self, service: &'a str, trace_id: u128, own_id: u64) -> SpanRow<'a> {
        let duration_ns = self.end_ns.saturating_sub(self.start_ns);
        SpanRow {
            start_us: (self.start_ns / 1000) as i64,
            duration_us: (duration_ns / 1000) as i64,
            trace_id,
            span_id: own_id,
            parent: span_id(self.parent_span_id),
            service,
            operation: self.name,
            kind: if SPAN_KINDS.contains(&self.kind) { self.kind as u8 } else { 0 },
            error: self.status_code == STATUS_CODE_ERROR,
        }
    }
}
