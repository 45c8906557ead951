//! All that happens to telemetry in one recorded order: derive, detect, group, rank, alert.
//!
//! Live, replay and recovery run this code, row by row; see the invariant of the [crate](crate).

use correlate::{Correlator, CorrelatorLimits, Grouper, template_of};
use hashbrown::HashMap;
use model::labels::{NAME, SERVICE};
use model::{
    Alert, Anomaly, Change, EventRow, HistogramRow, Incident, Labels, LogRow, MetricKind, SampleRow,
    SeriesId, SpanRow, Telemetry,
};
use serde::{Deserialize, Serialize};

use crate::alert::AlertStage;
use crate::derive::counter::delta_rate;
use crate::derive::histogram::{HistogramPoint, QUANTILES};
use crate::derive::step::{StepLimits, StepValue};
use crate::derive::{CounterState, HistogramState, StepAggregates};
use crate::detect::{Detect, InvalidDetector, metric_of};
use crate::log_templates::LogTemplates;
use crate::settings::{AnalysisSettings, DetectorSettings};
use crate::watermark::Watermark;

mod snapshot;

/// How much later than spans calls are counted: a trace must be complete, and its end lies within a step.
const CALLS_DELAY_MS: i64 = 30_000;

/// What the analysis has to say, in its order.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    Anomaly(Anomaly),
    Incident(Incident),
    Alert(Alert),
}

/// What is remembered of a series before it is a plain value.
#[derive(Debug, Serialize, Deserialize)]
enum Raw {
    Counter(CounterState),
    Delta { last_ms: Option<i64> },
    Histogram(Box<HistogramState>),
}

/// Counts of what was refused, for metrics and for the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Points of series beyond `series_max`.
    pub series_over_limit: u64,
    /// Spans and logs of keys beyond `step_keys_max`.
    pub keys_over_limit: u64,
    /// Spans and logs that came after their step was closed.
    pub late: u64,
    /// Spans and logs too far ahead of all others.
    pub early: u64,
}

pub struct Analysis {
    settings: AnalysisSettings,
    watermark: Watermark,
    raw: HashMap<SeriesId, (Raw, i64)>,
    raw_over_limit: u64,
    steps: StepAggregates,
    /// Calls are known when their trace is complete, later than its spans.
    calls: StepAggregates,
    templates: LogTemplates,
    detect: Detect,
    correlator: Correlator,
    grouper: Grouper,
    alerts: AlertStage,
    closed: Vec<StepValue>,
}

impl Analysis {
    pub fn new(settings: &AnalysisSettings, detectors: &[DetectorSettings]) -> Result<Self, InvalidDetector> {
        let limits = StepLimits { keys_max: settings.step_keys_max, ..StepLimits::default() };
        Ok(Self {
            settings: settings.clone(),
            watermark: Watermark::new(settings.step.ms(), settings.allowed_lateness.ms()),
            raw: HashMap::new(),
            raw_over_limit: 0,
            steps: StepAggregates::new(settings.step.ms(), limits),
            calls: StepAggregates::new(settings.step.ms(), limits),
            templates: LogTemplates::default(),
            detect: Detect::new(settings, detectors)?,
            correlator: Correlator::new(CorrelatorLimits::default()),
            grouper: Grouper::default(),
            alerts: AlertStage::default(),
            closed: Vec::new(),
        })
    }

    /// Edges of the service graph that are known beforehand.
    pub fn set_edges(&mut self, edges: &[(String, String)]) {
        self.correlator.set_edges(edges);
    }

    /// Opens an incident by hand, as somebody who asks what is wrong since `trigger_ms`.
    pub fn open_at(&mut self, trigger_ms: i64, now_ms: i64, out: &mut Vec<Finding>) {
        self.flush(out);
        let incident = self.grouper.open_at(trigger_ms, now_ms, &self.correlator);
        self.tell(incident.into_iter().collect(), out);
    }

    pub fn series(&self) -> usize {
        self.detect.series()
    }

    pub fn refused(&self) -> Refused {
        Refused {
            series_over_limit: self.detect.over_limit() + self.raw_over_limit,
            keys_over_limit: self.steps.over_limit() + self.calls.over_limit(),
            late: self.steps.late() + self.calls.late(),
            early: self.steps.early() + self.calls.early(),
        }
    }

    pub fn on_telemetry(&mut self, telemetry: &Telemetry, out: &mut Vec<Finding>) {
        match telemetry {
            Telemetry::Samples(batch) => batch.rows().for_each(|row| self.on_sample(&row, out)),
            Telemetry::Histograms(batch) => batch.rows().for_each(|row| self.on_histogram(&row, out)),
            Telemetry::Spans(batch) => batch.rows().for_each(|row| self.on_span(&row, out)),
            Telemetry::Logs(batch) => batch.rows().for_each(|row| self.on_log(&row, out)),
            Telemetry::Events(batch) => batch.rows().for_each(|row| self.on_event(&row, out)),
        }
        self.flush(out);
    }

    /// Everything is read: what is gathered is judged, and what is known by `now_ms` is said.
    pub fn finish(&mut self, now_ms: i64, out: &mut Vec<Finding>) {
        self.flush(out);
        self.correlator.advance(now_ms);
        let incidents = self.grouper.rank_open(now_ms, &self.correlator);
        self.tell(incidents, out);
    }

    pub fn on_sample(&mut self, row: &SampleRow<'_>, out: &mut Vec<Finding>) {
        self.reach(row.time_ms, out);
        let id = SeriesId::of_canonical(row.labels);
        let value = match row.kind {
            MetricKind::Gauge => Some(row.value),
            MetricKind::Counter => {
                match self.raw(id, row.time_ms, || Raw::Counter(CounterState::default())) {
                    Some(Raw::Counter(state)) => state.rate(row.time_ms, row.start_ms, row.value),
                    _ => None,
                }
            }
            MetricKind::Delta => match self.raw(id, row.time_ms, || Raw::Delta { last_ms: None }) {
                Some(Raw::Delta { last_ms }) if last_ms.is_none_or(|last_ms| row.time_ms > last_ms) => {
                    let before_ms = last_ms.replace(row.time_ms);
                    delta_rate(row.time_ms, row.start_ms, before_ms, row.value)
                }
                _ => None,
            },
        };
        if let Some(value) = value {
            self.point(id, || Labels::parse(row.labels), row.time_ms, value, out);
        }
    }

    pub fn on_histogram(&mut self, row: &HistogramRow<'_>, out: &mut Vec<Finding>) {
        self.reach(row.time_ms, out);
        let id = SeriesId::of_canonical(row.labels);
        let point = HistogramPoint {
            time_ms: row.time_ms,
            start_ms: row.start_ms,
            delta: row.delta,
            count: row.count,
            sum: row.sum,
            bounds: row.bounds,
            counts: row.counts,
        };
        let interval = match self.raw(id, row.time_ms, || Raw::Histogram(Box::default())) {
            Some(Raw::Histogram(state)) => state.observe(point),
            _ => None,
        };
        let Some(interval) = interval else { return };
        let labels = Labels::parse(row.labels);
        let mut values = vec![("count", Some(interval.rate)), ("mean", interval.mean)];
        values.extend(
            QUANTILES.iter().zip(interval.quantiles).map(|(quantile, value)| (quantile.suffix, value)),
        );
        for (suffix, value) in values {
            if let Some(value) = value {
                let derived = labels.with(NAME, &format!("{}.{suffix}", labels.name()));
                self.point(derived.id(), || derived.clone(), row.time_ms, value, out);
            }
        }
    }

    pub fn on_span(&mut self, row: &SpanRow<'_>, out: &mut Vec<Finding>) {
        let end_ms = row.start_us.saturating_add(row.duration_us).div_euclid(1000);
        self.reach(end_ms, out);
        let service = Labels::new([(SERVICE, row.service)]);
        self.steps.span(&service, end_ms, row.duration_us, row.error);
        self.steps.span(&service.with("operation", row.operation), end_ms, row.duration_us, row.error);
        self.correlator.observe_span(row);
    }

    pub fn on_log(&mut self, row: &LogRow<'_>, out: &mut Vec<Finding>) {
        self.reach(row.time_ms, out);
        let template = self.templates.observe(row.body);
        let service = Labels::new([(SERVICE, row.service)]);
        self.steps.log(&service.with("severity", severity_text(row.severity)), row.time_ms);
        self.steps.log(&service.with("template", template), row.time_ms);
        // A step inside a span wants a name that no later line changes, and the place in the code if the line begins with it.
        let step = template_of(row.body);
        let (trace_id, span_id) = (row.trace_id.unwrap_or_default(), row.span_id.unwrap_or_default());
        self.correlator.observe_log(row.time_ms, row.service, row.severity, &step, trace_id, span_id);
    }

    pub fn on_event(&mut self, row: &EventRow<'_>, out: &mut Vec<Finding>) {
        self.reach(row.time_ms, out);
        self.correlator.observe_change(Change {
            service: row.service.to_owned(),
            kind: row.kind.to_owned(),
            summary: row.summary.to_owned(),
            time_ms: row.time_ms,
        });
    }

    /// The state of a series that is not yet a plain value; `None` at the limit.
    fn raw(&mut self, id: SeriesId, time_ms: i64, new: impl FnOnce() -> Raw) -> Option<&mut Raw> {
        if self.raw.len() >= self.settings.series_max && !self.raw.contains_key(&id) {
            self.raw_over_limit += 1;
            return None;
        }
        let (raw, last_ms) = self.raw.entry(id).or_insert_with(|| (new(), time_ms));
        *last_ms = (*last_ms).max(time_ms);
        Some(raw)
    }

    fn point(
        &mut self,
        id: SeriesId,
        labels: impl FnOnce() -> Labels,
        time_ms: i64,
        value: f64,
        out: &mut Vec<Finding>,
    ) {
        if value.is_finite() && self.detect.gather(id, labels, time_ms, value) {
            self.flush(out);
        }
    }

    /// Judges what was gathered and lets the grouping see it, point by point.
    fn flush(&mut self, out: &mut Vec<Finding>) {
        let (correlator, grouper, alerts) = (&mut self.correlator, &mut self.grouper, &mut self.alerts);
        self.detect.flush(|series, time_ms, value, anomalies| {
            let labels = &series.labels;
            // What is derived from spans and logs reached the correlator as spans and logs.
            let name = labels.name();
            if !["spans.", "calls.", "logs."].iter().any(|derived| name.starts_with(derived)) {
                correlator.observe_point(time_ms, labels.service(), &metric_of(labels), value);
            }
            if anomalies.is_empty() {
                grouper.normal(series.id);
            }
            for anomaly in anomalies {
                out.push(Finding::Anomaly(anomaly.clone()));
                tell(grouper.observe(&anomaly, correlator), alerts, out);
            }
        });
    }

    fn tell(&mut self, incidents: Vec<Incident>, out: &mut Vec<Finding>) {
        tell(incidents, &mut self.alerts, out);
    }

    /// Event time has come to `time_ms`: closes the steps that are over and does what was due.
    fn reach(&mut self, time_ms: i64, out: &mut Vec<Finding>) {
        let Some(watermark_ms) = self.watermark.observe(time_ms) else { return };
        self.flush(out);
        self.correlator.advance(watermark_ms);
        let calls = &mut self.calls;
        self.correlator.take_edge_calls(|caller, callee, call| {
            let labels = Labels::new([(SERVICE, callee), ("caller", caller)]);
            calls.call(&labels, call.end_ms, call.duration_us, call.error);
        });
        let mut closed = std::mem::take(&mut self.closed);
        self.calls.close(watermark_ms - CALLS_DELAY_MS, &mut closed);
        self.steps.close(watermark_ms, &mut closed);
        for value in closed.drain(..) {
            self.point(value.labels.id(), || value.labels.clone(), value.time_ms, value.value, out);
        }
        self.closed = closed;
        self.flush(out);
        let incidents = self.grouper.advance(watermark_ms, &self.correlator);
        self.tell(incidents, out);
        let idle_ms = watermark_ms - self.settings.series_idle.ms();
        self.detect.forget_idle_since(idle_ms);
        self.raw.retain(|_, (_, last_ms)| *last_ms >= idle_ms);
    }
}

fn tell(incidents: Vec<Incident>, alerts: &mut AlertStage, out: &mut Vec<Finding>) {
    for incident in incidents {
        let alert = alerts.on_incident(&incident);
        out.push(Finding::Incident(incident));
        out.extend(alert.map(Finding::Alert));
    }
}

/// The range of an OpenTelemetry severity number.
fn severity_text(number: u8) -> &'static str {
    match number {
        1..=4 => "TRACE",
        5..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        17..=20 => "ERROR",
        21..=24 => "FATAL",
        _ => "UNSPECIFIED",
    }
}
