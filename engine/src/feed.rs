//! The rows of a folder of telemetry, as those of the engine.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Labels, LogRow, MetricKind, SampleRow, SpanRow};
use pipeline::{Analysis, Conclusion, ServicePoints};
use replay::history::Row;

/// Remembers the canonical labels of what it has seen.
#[derive(Default)]
pub struct Feed {
    /// Canonical labels of (service, metric).
    labels: HashMap<(Arc<str>, Arc<str>), String>,
}

/// A row that borrows from that of the folder.
pub enum EngineRow<'a> {
    Sample(SampleRow<'a>),
    Span(SpanRow<'a>),
    Log(LogRow<'a>),
}

impl Feed {
    pub fn row_to_analysis(&mut self, analysis: &mut Analysis, row: &Row, out: &mut Vec<Conclusion>) {
        match self.row(row) {
            EngineRow::Sample(row) => analysis.on_sample(&row, out),
            EngineRow::Span(row) => analysis.on_span(&row, out),
            EngineRow::Log(row) => analysis.on_log(&row, out),
        }
    }

    pub fn row_to_points(&mut self, points: &mut ServicePoints, row: &Row) {
        match self.row(row) {
            EngineRow::Sample(row) => points.on_sample(&row),
            EngineRow::Span(row) => points.on_span(&row),
            EngineRow::Log(row) => points.on_log(&row),
        }
    }

    pub fn row<'a>(&'a mut self, row: &'a Row) -> EngineRow<'a> {
        match row {
            Row::Point { time_ms, service, metric, value } => {
                let key = (Arc::clone(service), Arc::clone(metric));
                let labels =
                    self.labels.entry(key).or_insert_with(|| Labels::of(service, metric).canonical());
                let (kind, start_ms) = (MetricKind::Gauge, None);
                EngineRow::Sample(SampleRow { labels, kind, time_ms: *time_ms, start_ms, value: *value })
            }
            Row::Span { start_us, duration_us, trace_id, span_id, parent, service, operation, error } => {
                EngineRow::Span(SpanRow {
                    start_us: *start_us,
                    duration_us: *duration_us,
                    trace_id: *trace_id,
                    span_id: *span_id,
                    parent: *parent,
                    service,
                    operation,
                    kind: 0,
                    error: *error,
                })
            }
            Row::Log { time_ms, service, severity, body, trace_id, span_id } => EngineRow::Log(LogRow {
                time_ms: *time_ms,
                service,
                severity: *severity,
                body,
                trace_id: (*trace_id != 0).then_some(*trace_id),
                span_id: (*span_id != 0).then_some(*span_id),
            }),
        }
    }
}
