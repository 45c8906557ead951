//! Spans.

use model::{SourceRecord, SpanBatchBuilder, SpanRow, Telemetry};
use proto::opentelemetry::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{Span, status::StatusCode},
};

use super::{Budget, attributes, read, span_id, trace_id};
use foreshock_codec::{Decoder, Dropped, Limits, Rejected};

/// A span without trace id, span id or start is left out. One that ends before it starts lasts 0.
pub struct SpansDecoder {
    limits: Limits,
    dropped: Dropped,
}

impl SpansDecoder {
    pub fn new(limits: Limits) -> Self {
        Self { limits, dropped: Dropped::default() }
    }
}

impl Decoder for SpansDecoder {
    fn decode(&mut self, record: SourceRecord<'_>, out: &mut Vec<Telemetry>) -> Result<(), Rejected> {
        let request: ExportTraceServiceRequest = read("trace", record.payload, &self.limits)?;
        let mut budget = Budget::new(self.limits);
        let mut dropped = self.dropped;
        let mut spans = SpanBatchBuilder::default();
        for resource_spans in &request.resource_spans {
            let service = attributes::service(resource_spans.resource.as_ref(), self.limits.depth_max)?;
            for span in resource_spans.scope_spans.iter().flat_map(|scope| &scope.spans) {
                budget.take(1, 0)?;
                let (Some(trace_id), Some(span_id)) = (trace_id(&span.trace_id), span_id(&span.span_id))
                else {
                    dropped.malformed += 1;
                    continue;
                };
                if span.start_time_unix_nano == 0 {
                    dropped.no_time += 1;
                    continue;
                }
                spans.push(&row(span, &service, trace_id, span_id));
            }
        }
        self.dropped = dropped;
        let batch = spans.finish();
        if !batch.is_empty() {
            out.push(Telemetry::Spans(batch));
        }
        Ok(())
    }

    fn dropped(&self) -> Dropped {
        self.dropped
    }
}

fn row<'a>(span: &'a Span, service: &'a str, trace_id: u128, own_id: u64) -> SpanRow<'a> {
    let duration_ns = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
    SpanRow {
        start_us: (span.start_time_unix_nano / 1000) as i64,
        duration_us: (duration_ns / 1000) as i64,
        trace_id,
        span_id: own_id,
        parent: span_id(&span.parent_span_id),
        service,
        operation: &span.name,
        kind: u8::try_from(span.kind).ok().filter(|kind| *kind <= 5).unwrap_or(0),
        error: span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32),
    }
}
