//! The task of a source partition: records of any format in, telemetry in one format out, each row to the partition where its
//! entity or trace is.
//!
//! Rows of an entity go to `samples`: points, and spans and logs, which are counted there. Spans and the logs in them go to `spans`
//! as well, by their trace. Events go to `findings`. What cannot be decoded goes to the dead-letter topic unchanged, with the
//! place where it lay and the reason.
//!
//! How far event time has come in this partition is told to everybody who gets rows, between the rows that it lies between.

use std::collections::BTreeMap;

use codec::{Decoder, dead_letter};
use model::{
    Change, EventBatch, HistogramBatchBuilder, LogBatchBuilder, LogRow, Output, OutputTopic,
    SampleBatchBuilder, SourceRecord, SpanBatchBuilder, SpanRow, Telemetry,
};

use crate::routing::Router;
use crate::settings::AnalysisSettings;
use crate::task::{PartitionTask, TaskStatus};
use crate::watermark::Watermark;
use crate::wire::{self, Finding, Findings, SourceWatermark};

/// Moves of the watermark that are told of within one record. A record in which time goes on for longer is told of at its end.
pub(crate) const MOVES_MAX: usize = 100;

/// Adds a row to its part, which is sent on before if both would not fit into a record.
macro_rules! add {
    ($parts:expr, $place:expr, $kind:ident, $row:expr, $bytes:expr, $router:expr, $out:expr) => {{
        let part = $parts.entry($place).or_default();
        if part.bytes > 0 && part.bytes + $bytes > wire::RECORD_BYTES {
            let telemetry = Telemetry::$kind(part.builder.finish());
            part.bytes = 0;
            $out.push(wire::telemetry($place.0, $place.1, $router.tenant(), &telemetry));
        }
        part.builder.push($row);
        part.bytes += $bytes;
    }};
}

pub struct IngestTask {
    decoder: Box<dyn Decoder>,
    router: Router,
    watermark: Watermark,
    /// The partition as a source; none if nobody waits for it.
    name: Option<String>,
    /// When the record under way was written.
    written_ms: Option<i64>,
    is_idle: bool,
    decoded: Vec<Telemetry>,
    parts: Parts,
}

impl IngestTask {
    /// `name` tells the partition apart from all others, `topic/partition`; without one it tells nobody how far it has come.
    pub fn new(
        name: Option<&str>,
        decoder: Box<dyn Decoder>,
        router: Router,
        settings: &AnalysisSettings,
    ) -> Self {
        Self {
            decoder,
            router,
            watermark: Watermark::new(settings.step.ms(), settings.allowed_lateness.ms()),
            name: name.map(str::to_owned),
            written_ms: None,
            is_idle: false,
            decoded: Vec::new(),
            parts: Parts::default(),
        }
    }

    fn tell(&self, watermark_ms: Option<i64>, out: &mut Vec<Output>) {
        let Some(source) = self.name.clone() else { return };
        let watermark = SourceWatermark { source, watermark_ms };
        for topic in [OutputTopic::Samples, OutputTopic::Spans] {
            wire::broadcast(topic, &self.router, &watermark, out);
        }
    }

    /// Before a row of that time.
    fn reach(&mut self, time_ms: i64, moves: &mut usize, out: &mut Vec<Output>) {
        let Some(watermark_ms) = self.watermark.observe_written(time_ms, self.written_ms) else { return };
        *moves += 1;
        if *moves <= MOVES_MAX {
            self.parts.flush(&self.router, out);
            self.is_idle = false;
            self.tell(Some(watermark_ms), out);
        }
    }

    fn route(&mut self, telemetry: &Telemetry, moves: &mut usize, out: &mut Vec<Output>) {
        match telemetry {
            Telemetry::Samples(batch) => {
                let values = batch.label_values();
                let places: Vec<i32> =
                    values.iter().map(|labels| self.router.series(labels.unwrap_or_default())).collect();
                for (row, &labels) in batch.rows().zip(batch.label_keys()) {
                    self.reach(row.time_ms, moves, out);
                    let place = (OutputTopic::Samples, places[labels as usize]);
                    let (part, bytes) = (&mut self.parts.samples, 40 + row.labels.len());
                    add!(part, place, Samples, &row, bytes, &self.router, out);
                }
            }
            Telemetry::Histograms(batch) => {
                for row in batch.rows() {
                    self.reach(row.time_ms, moves, out);
                    let place = (OutputTopic::Samples, self.router.series(row.labels));
                    let bytes = 64 + row.labels.len() + 16 * row.counts.len();
                    add!(&mut self.parts.histograms, place, Histograms, &row, bytes, &self.router, out);
                }
            }
            Telemetry::Spans(batch) => {
                for row in batch.rows() {
                    self.reach(end_ms(&row), moves, out);
                    let (entity, trace) = (self.router.entity(row.service), self.router.trace(row.trace_id));
                    let bytes = 80 + row.service.len() + row.operation.len();
                    let place = (OutputTopic::Spans, trace);
                    add!(&mut self.parts.spans, place, Spans, &row, bytes, &self.router, out);
                    // Where spans are only counted, which trace they are of is no matter.
                    let row = SpanRow { trace_id: 0, span_id: 0, parent: None, ..row };
                    let place = (OutputTopic::Samples, entity);
                    add!(&mut self.parts.spans, place, Spans, &row, bytes, &self.router, out);
                }
            }
            Telemetry::Logs(batch) => {
                for row in batch.rows() {
                    self.reach(row.time_ms, moves, out);
                    let bytes = 48 + row.service.len() + row.body.len();
                    if let (Some(trace_id), Some(_)) = (row.trace_id, row.span_id) {
                        let place = (OutputTopic::Spans, self.router.trace(trace_id));
                        add!(&mut self.parts.logs, place, Logs, &row, bytes, &self.router, out);
                    }
                    let place = (OutputTopic::Samples, self.router.entity(row.service));
                    let row = LogRow { trace_id: None, span_id: None, ..row };
                    add!(&mut self.parts.logs, place, Logs, &row, bytes, &self.router, out);
                }
            }
            Telemetry::Events(batch) => self.changes(batch, out),
        }
    }

    /// Nobody waits for events, so they move no watermark.
    fn changes(&self, batch: &EventBatch, out: &mut Vec<Output>) {
        let change = |row: model::EventRow<'_>| {
            Finding::Change(Change {
                service: row.service.to_owned(),
                kind: row.kind.to_owned(),
                summary: row.summary.to_owned(),
                time_ms: row.time_ms,
            })
        };
        let findings = batch.rows().map(change).collect();
        wire::findings(&self.router, Findings { findings, known_ms: None, watermark: None }, out);
    }
}

/// When a span counts.
pub(crate) fn end_ms(span: &SpanRow<'_>) -> i64 {
    span.start_us.saturating_add(span.duration_us).div_euclid(1000)
}

impl PartitionTask for IngestTask {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        self.written_ms = record.timestamp_ms;
        let mut decoded = std::mem::take(&mut self.decoded);
        match self.decoder.decode(record, &mut decoded) {
            Ok(()) => {
                let mut moves = 0;
                for telemetry in &decoded {
                    self.route(telemetry, &mut moves, out);
                }
                self.parts.flush(&self.router, out);
                if (moves > MOVES_MAX || self.is_idle) && self.watermark.current_ms().is_some() {
                    self.is_idle = false;
                    self.tell(self.watermark.current_ms(), out);
                }
            }
            Err(rejected) => out.push(dead_letter(record, &rejected)),
        }
        decoded.clear();
        self.decoded = decoded;
    }

    fn status(&self) -> TaskStatus {
        let status = TaskStatus { watermark_ms: self.watermark.current_ms(), ..TaskStatus::default() };
        status.with_dropped(self.decoder.dropped())
    }

    fn on_idle(&mut self, out: &mut Vec<Output>) {
        self.is_idle = true;
        self.tell(None, out);
    }
}

/// A topic between stages and a partition of it.
type Place = (OutputTopic, i32);

/// Rows for one place, and about how many bytes they take.
#[derive(Default)]
struct Part<B> {
    builder: B,
    bytes: usize,
}

/// Rows by where they go.
#[derive(Default)]
struct Parts {
    samples: BTreeMap<Place, Part<SampleBatchBuilder>>,
    histograms: BTreeMap<Place, Part<HistogramBatchBuilder>>,
    spans: BTreeMap<Place, Part<SpanBatchBuilder>>,
    logs: BTreeMap<Place, Part<LogBatchBuilder>>,
}

impl Parts {
    fn flush(&mut self, router: &Router, out: &mut Vec<Output>) {
        let mut push =
            |(topic, place), telemetry| out.push(wire::telemetry(topic, place, router.tenant(), &telemetry));
        for (place, mut part) in std::mem::take(&mut self.samples) {
            push(place, Telemetry::Samples(part.builder.finish()));
        }
        for (place, mut part) in std::mem::take(&mut self.histograms) {
            push(place, Telemetry::Histograms(part.builder.finish()));
        }
        for (place, mut part) in std::mem::take(&mut self.spans) {
            push(place, Telemetry::Spans(part.builder.finish()));
        }
        for (place, mut part) in std::mem::take(&mut self.logs) {
            push(place, Telemetry::Logs(part.builder.finish()));
        }
    }
}

#[cfg(test)]
mod tests;
