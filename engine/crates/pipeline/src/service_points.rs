//! The series of one service and of its calls as detectors would see them, for whoever compares times: what is derived is derived by the
//! [`SeriesStage`] itself.

use codec::ipc;
use correlate::{EdgeCall, TraceCollector};
use model::labels::{SERVICE, value_in};
use model::{HistogramRow, LogRow, SampleRow, SourceRecord, SpanRow, Telemetry};

use crate::ingest::end_ms;
use crate::series::{CALLS_DELAY_MS, ObservedPoint, SeriesStage};
use crate::settings::AnalysisSettings;
use crate::watches::InvalidDetector;
use crate::watermark::Watermark;
use crate::wire::{self, Incoming};

/// Event time moves with the rows, of all services: one partition of `samples`, or a folder of telemetry in the order of time.
pub struct ServicePoints {
    service: String,
    watermark: Watermark,
    traces: TraceCollector,
    stage: SeriesStage,
    unreadable: u64,
}

impl ServicePoints {
    /// `lateness_ms` is how far the rows may be out of order.
    pub fn new(
        service: &str,
        settings: &AnalysisSettings,
        lateness_ms: i64,
    ) -> Result<Self, InvalidDetector> {
        Ok(Self {
            service: service.to_owned(),
            watermark: Watermark::new(settings.step.ms(), lateness_ms),
            traces: TraceCollector::default(),
            stage: SeriesStage::observing(settings)?,
            unreadable: 0,
        })
    }

    /// How far event time has come, less the lateness.
    pub fn reached_ms(&self) -> Option<i64> {
        self.watermark.current_ms()
    }

    /// Records that could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Points of series and keys beyond the bounds of the settings, and rows that came too late.
    pub fn refused(&self) -> u64 {
        let status = self.stage.status();
        status.series_refused + status.keys_refused + status.late_rows + status.early_rows
    }

    /// Takes a record of `samples`. With `calls_only` it is one of a partition that the service itself has no rows on.
    pub fn on_record(&mut self, record: SourceRecord<'_>, calls_only: bool) {
        if calls_only && !record.header(ipc::KIND_HEADER).is_some_and(wire::is_calls) {
            return;
        }
        match wire::read(record) {
            Ok(Incoming::Telemetry(telemetry)) => self.on_telemetry(&telemetry),
            Ok(Incoming::Calls(calls)) => {
                for call in calls {
                    // Nothing else moves the time there.
                    if calls_only {
                        self.reach(call.end_ms);
                    }
                    self.on_call(&call);
                }
            }
            Ok(Incoming::Watermark(_) | Incoming::Findings(_)) => {}
            Err(_) => self.unreadable += 1,
        }
    }

    /// Spans tell of the service only, not of calls: see [`on_span`](Self::on_span).
    pub fn on_telemetry(&mut self, telemetry: &Telemetry) {
        match telemetry {
            Telemetry::Samples(batch) => batch.rows().for_each(|row| self.on_sample(&row)),
            Telemetry::Histograms(batch) => batch.rows().for_each(|row| self.on_histogram(&row)),
            Telemetry::Spans(batch) => batch.rows().for_each(|row| self.on_own_span(&row)),
            Telemetry::Logs(batch) => batch.rows().for_each(|row| self.on_log(&row)),
            Telemetry::Events(_) => {}
        }
    }

    pub fn on_sample(&mut self, row: &SampleRow<'_>) {
        self.reach(row.time_ms);
        if value_in(row.labels, SERVICE) == self.service {
            self.stage.on_sample(row, &mut Vec::new());
        }
    }

    fn on_histogram(&mut self, row: &HistogramRow<'_>) {
        self.reach(row.time_ms);
        if value_in(row.labels, SERVICE) == self.service {
            self.stage.on_histogram(row, &mut Vec::new());
        }
    }

    fn on_own_span(&mut self, row: &SpanRow<'_>) {
        self.reach(end_ms(row));
        if row.service == self.service {
            self.stage.on_span(row);
        }
    }

    /// A span of any service, from whose trace the calls are found too.
    pub fn on_span(&mut self, row: &SpanRow<'_>) {
        self.on_own_span(row);
        self.traces.observe_span(row);
    }

    pub fn on_log(&mut self, row: &LogRow<'_>) {
        self.reach(row.time_ms);
        if row.service == self.service {
            self.stage.on_log(row, &mut Vec::new());
        }
    }

    fn on_call(&mut self, call: &EdgeCall) {
        // One that it makes to itself is a matter of its spans.
        if (call.caller == self.service) != (call.callee == self.service) {
            self.stage.on_call(call);
        }
    }

    fn reach(&mut self, time_ms: i64) {
        if let Some(watermark_ms) = self.watermark.observe(time_ms) {
            self.advance(watermark_ms);
        }
    }

    fn advance(&mut self, watermark_ms: i64) {
        self.traces.advance(watermark_ms);
        self.traces.take_evidence();
        for call in self.traces.take_edge_calls() {
            self.on_call(&call);
        }
        self.stage.close_calls(watermark_ms, &mut Vec::new());
        self.stage.advance(watermark_ms, &mut Vec::new());
    }

    /// All was read: steps that end by `end_ms` are closed.
    pub fn finish(&mut self, end_ms: i64) {
        self.advance(end_ms.saturating_add(2 * CALLS_DELAY_MS));
    }

    /// Points that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.stage.observed()
    }

    /// The points since the last call.
    pub fn take(&mut self) -> Vec<ObservedPoint> {
        self.stage.take_observed()
    }
}
