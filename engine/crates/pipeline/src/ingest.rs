//! The task of a source partition: records of any format in, telemetry in one format out, each row to the partition where its
//! entity or trace is.
//!
//! Rows of an entity go to `samples`: points, and spans and logs, which are counted there. Spans and the logs in them go to `spans`
//! as well, by their trace. Events go to `findings`. What cannot be decoded goes to the dead-letter topic unchanged, with the
//! place where it lay and the reason.
//!
//! How far event time has come in this partition is told to everybody who gets rows, between the rows that it lies between.
//!
//! Many topics hold a row a record. So the rows of several records go on together, until event time moves, there are
//! [`GATHERED_BYTES`] for one place, or the epoch ends, before which nobody could read them.

use std::collections::BTreeMap;

use codec::{Decoder, dead_letter};
use model::{
    Change, EventBatch, HistogramBatchBuilder, HistogramRow, LogBatchBuilder, LogRow, Output, OutputTopic,
    SampleBatchBuilder, SampleRow, SourceRecord, SpanBatchBuilder, SpanRow, Telemetry,
};

use crate::routing::Router;
use crate::settings::AnalysisSettings;
use crate::task::{PartitionTask, TaskStatus};
use crate::watermark::Watermark;
use crate::wire::{self, Finding, Findings, SourceWatermark};

/// Moves of the watermark that are told of within one record. A record in which time goes on for longer is told of at its end.
pub(crate) const MOVES_MAX: usize = 100;

/// What a part holds at the most from one record to the next.
const GATHERED_BYTES: usize = 64 << 10;

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
            self.parts.flush(0, &self.router, out);
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
                    let bytes = 40 + row.labels.len();
                    add(&mut self.parts.samples, place, (&row, bytes), &self.router, out);
                }
            }
            Telemetry::Histograms(batch) => {
                for row in batch.rows() {
                    self.reach(row.time_ms, moves, out);
                    let place = (OutputTopic::Samples, self.router.series(row.labels));
                    let bytes = 64 + row.labels.len() + 16 * row.counts.len();
                    add(&mut self.parts.histograms, place, (&row, bytes), &self.router, out);
                }
            }
            Telemetry::Spans(batch) => {
                for row in batch.rows() {
                    self.reach(end_ms(&row), moves, out);
                    let (entity, trace) = (self.router.entity(row.service), self.router.trace(row.trace_id));
                    let bytes = 80 + row.service.len() + row.operation.len();
                    let place = (OutputTopic::Spans, trace);
                    add(&mut self.parts.spans, place, (&row, bytes), &self.router, out);
                    // Where spans are only counted, their trace is an exemplar and no more.
                    let row = SpanRow { span_id: 0, parent: None, ..row };
                    let place = (OutputTopic::Samples, entity);
                    add(&mut self.parts.spans, place, (&row, bytes), &self.router, out);
                }
            }
            Telemetry::Logs(batch) => {
                for row in batch.rows() {
                    self.reach(row.time_ms, moves, out);
                    let bytes = 48 + row.service.len() + row.body.len();
                    if let (Some(trace_id), Some(_)) = (row.trace_id, row.span_id) {
                        let place = (OutputTopic::Spans, self.router.trace(trace_id));
                        add(&mut self.parts.logs, place, (&row, bytes), &self.router, out);
                    }
                    let place = (OutputTopic::Samples, self.router.entity(row.service));
                    let row = LogRow { span_id: None, ..row };
                    add(&mut self.parts.logs, place, (&row, bytes), &self.router, out);
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
                self.parts.flush(GATHERED_BYTES, &self.router, out);
                if (moves > MOVES_MAX || self.is_idle) && self.watermark.current_ms().is_some() {
                    self.is_idle = false;
                    self.parts.flush(0, &self.router, out);
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

    fn flush(&mut self, out: &mut Vec<Output>) {
        self.parts.flush(0, &self.router, out);
    }

    fn on_idle(&mut self, out: &mut Vec<Output>) {
        self.is_idle = true;
        self.flush(out);
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
    /// Sends on the parts of at least so many bytes.
    fn flush(&mut self, bytes_min: usize, router: &Router, out: &mut Vec<Output>) {
        flush(&mut self.samples, bytes_min, router, out);
        flush(&mut self.histograms, bytes_min, router, out);
        flush(&mut self.spans, bytes_min, router, out);
        flush(&mut self.logs, bytes_min, router, out);
    }
}

/// Builds batches of one kind of rows.
trait Rows: Default {
    type Row<'r>;

    fn push(&mut self, row: &Self::Row<'_>);

    /// The rows so far; it is empty then.
    fn take(&mut self) -> Telemetry;
}

macro_rules! rows {
    ($($builder:ident $row:ident $telemetry:ident),*) => {
        $(impl Rows for $builder {
            type Row<'r> = $row<'r>;

            fn push(&mut self, row: &$row<'_>) {
                self.push(row);
            }

            fn take(&mut self) -> Telemetry {
                Telemetry::$telemetry(self.finish())
            }
        })*
    };
}
rows!(
    SampleBatchBuilder SampleRow Samples,
    HistogramBatchBuilder HistogramRow Histograms,
    SpanBatchBuilder SpanRow Spans,
    LogBatchBuilder LogRow Logs
);

/// Adds a row of about so many bytes to its part, which is sent on before if both would not fit into a record. A row that fills a record
/// is sent alone.
fn add<B: Rows>(
    parts: &mut BTreeMap<Place, Part<B>>,
    place: Place,
    (row, bytes): (&B::Row<'_>, usize),
    router: &Router,
    out: &mut Vec<Output>,
) {
    let part = parts.entry(place).or_default();
    if part.bytes > 0 && part.bytes + bytes > wire::RECORD_BYTES {
        part.send(place, router, out);
    }
    part.builder.push(row);
    part.bytes += bytes;
    if part.bytes > wire::RECORD_BYTES {
        part.send(place, router, out);
    }
}

fn flush<B: Rows>(
    parts: &mut BTreeMap<Place, Part<B>>,
    bytes_min: usize,
    router: &Router,
    out: &mut Vec<Output>,
) {
    for (place, part) in parts.iter_mut().filter(|(_, part)| part.bytes >= bytes_min.max(1)) {
        part.send(*place, router, out);
    }
}

impl<B: Rows> Part<B> {
    fn send(&mut self, (topic, partition): Place, router: &Router, out: &mut Vec<Output>) {
        self.bytes = 0;
        out.push(wire::telemetry(topic, partition, router.tenant(), &self.builder.take()));
    }
}

#[cfg(test)]
mod tests;
