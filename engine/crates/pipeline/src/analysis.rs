//! All stages in one, over rows in the order of their times: what `replay` runs.

use correlate::TraceCollector;
use model::{LogRow, SampleRow, ServiceCoverage, SpanRow};

use crate::derive::step::AHEAD_MS;
use crate::incident::{Conclusion, IncidentStage};
use crate::ingest::end_ms;
use crate::series::SeriesStage;
use crate::settings::{AnalysisSettings, DetectorSettings};
use crate::task::TaskStatus;
use crate::watches::InvalidDetector;
use crate::watermark::{Watermark, steps};
use crate::wire::Finding;

pub struct Analysis {
    watermark: Watermark,
    step_ms: i64,
    /// How far incidents have come.
    advanced_ms: Option<i64>,
    traces: TraceCollector,
    series: SeriesStage,
    incidents: IncidentStage,
    findings: Vec<Finding>,
}

impl Analysis {
    pub fn new(settings: &AnalysisSettings, detectors: &[DetectorSettings]) -> Result<Self, InvalidDetector> {
        Ok(Self {
            watermark: Watermark::new(settings.step.ms(), settings.allowed_lateness.ms()),
            step_ms: settings.step.ms(),
            advanced_ms: None,
            traces: TraceCollector::default(),
            series: SeriesStage::new(settings, detectors)?,
            incidents: IncidentStage::new(settings),
            findings: Vec::new(),
        })
    }

    /// Edges of the service graph that are known beforehand.
    pub fn set_edges(&mut self, edges: &[(String, String)]) {
        self.incidents.set_edges(edges);
    }

    pub fn status(&self) -> TaskStatus {
        TaskStatus { watermark_ms: self.watermark.current_ms(), ..self.series.status() }
    }

    /// What is watched of each service by now.
    pub fn coverage(&self, now_ms: i64) -> Vec<ServiceCoverage> {
        self.series.coverage(now_ms)
    }

    pub fn on_sample(&mut self, row: &SampleRow<'_>, out: &mut Vec<Conclusion>) {
        self.reach(row.time_ms, out);
        self.series.on_sample(row, &mut self.findings);
        self.conclude(out);
    }

    pub fn on_span(&mut self, row: &SpanRow<'_>, out: &mut Vec<Conclusion>) {
        self.reach(end_ms(row), out);
        self.series.on_span(row);
        self.traces.observe_span(row);
    }

    pub fn on_log(&mut self, row: &LogRow<'_>, out: &mut Vec<Conclusion>) {
        self.reach(row.time_ms, out);
        self.series.on_log(row, &mut self.findings);
        self.traces.observe_log(row);
        self.conclude(out);
    }

    /// Opens an incident by hand, as somebody who asks what is wrong since `trigger_ms`.
    pub fn open_at(&mut self, trigger_ms: i64, now_ms: i64, out: &mut Vec<Conclusion>) {
        self.flush(out);
        self.incidents.open_at(trigger_ms, now_ms, out);
    }

    /// Everything is read: what is gathered is judged, and what is known by `now_ms` is said.
    pub fn finish(&mut self, now_ms: i64, out: &mut Vec<Conclusion>) {
        self.collect(now_ms);
        self.flush(out);
        self.incidents.finish(now_ms, out);
    }

    /// Event time has come to `time_ms`: what was due by then is done.
    fn reach(&mut self, time_ms: i64, out: &mut Vec<Conclusion>) {
        let Some(watermark_ms) = self.watermark.observe(time_ms) else { return };
        self.flush(out);
        self.collect(watermark_ms);
        self.series.close_calls(watermark_ms, &mut self.findings);
        self.series.advance(watermark_ms, &mut self.findings);
        self.series.sweep(watermark_ms);
        self.conclude(out);
        for step_ms in steps(self.advanced_ms, watermark_ms, self.step_ms, AHEAD_MS) {
            self.incidents.advance(step_ms, out);
        }
        self.advanced_ms = Some(watermark_ms);
    }

    fn collect(&mut self, watermark_ms: i64) {
        self.traces.advance(watermark_ms);
        self.findings.extend(self.traces.take_evidence().into_iter().map(Finding::Traces));
        for call in self.traces.take_edge_calls() {
            self.series.on_call(&call);
        }
    }

    fn flush(&mut self, out: &mut Vec<Conclusion>) {
        self.series.flush(&mut self.findings);
        self.conclude(out);
    }

    fn conclude(&mut self, out: &mut Vec<Conclusion>) {
        for finding in self.findings.drain(..) {
            if let Some(anomaly) = finding.anomaly() {
                out.push(Conclusion::Anomaly(anomaly.clone()));
            }
            self.incidents.on_finding(finding, out);
        }
    }
}
