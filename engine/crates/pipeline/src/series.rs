//! The series stage: rows of entities in, anomalies and evidence out. And its task.

use std::collections::BTreeSet;

use alerts::Encoding;
use correlate::{COMPLETE_AFTER_MS, EdgeCall};
use detectors::Point;
use hashbrown::HashMap;
use model::labels::{NAME, SERVICE};
use model::{
    HistogramRow, Labels, LogRow, MetricKind, Output, OutputTopic, SampleRow, SeriesId, ServiceCoverage,
    SourceRecord, SpanRow, StateSection, Telemetry,
};
use serde::{Deserialize, Serialize};

use crate::amendment::ToldAnomalies;
use crate::anomaly::metric_of;
use crate::derive::counter::delta_rate;
use crate::derive::exemplar::Exemplars;
use crate::derive::histogram::{HistogramPoint, QUANTILES};
use crate::derive::step::{AHEAD_MS, StepLimits, StepValue, Timed};
use crate::derive::{CounterState, HistogramState, StepAggregates};
use crate::detect::Detect;
use crate::events;
use crate::idle::Part;
use crate::incident::Conclusion;
use crate::ingest::end_ms;
use crate::log_templates::LogTemplates;
use crate::routing::{Router, names};
use crate::settings::{AnalysisSettings, DetectorSettings};
use crate::silence::Told;
use crate::state::{self, InvalidState};
use crate::task::{PartitionTask, TaskStatus};
use crate::watches::InvalidDetector;
use crate::watermark::{SourceWatermarks, steps};
use crate::wire::{self, Finding, Findings, Incoming, SourceWatermark};

const DERIVE: &str = "derive";
const TEMPLATES: &str = "templates";
const WATERMARKS: &str = "watermarks";
const AMENDMENTS: &str = "amendments";
const EXEMPLARS: &str = "exemplars";

/// How much later than spans calls are counted: a trace must be complete, and its end lies within a step.
pub const CALLS_DELAY_MS: i64 = COMPLETE_AFTER_MS;
/// Series whose points go on as evidence, at the most: those that came first.
const EVIDENCE_SERIES_MAX: u32 = 20_000;
/// Services that are remembered as known, at the most.
const SERVICES_MAX: usize = 100_000;

/// While there is no room for further series, those without a point for so long may be set aside.
const ASIDE_MS: i64 = 600_000;

/// That a service has logs is told again after so long.
const SERVICES_AGAIN_MS: i64 = 3_600_000;

/// What is remembered of a series before it is a plain value.
#[derive(Debug, Serialize, Deserialize)]
enum Raw {
    Counter(CounterState),
    Delta { last_ms: Option<i64> },
    Histogram(Box<HistogramState>),
}

pub struct SeriesStage {
    settings: AnalysisSettings,
    raw: HashMap<SeriesId, (Raw, i64)>,
    raw_over_limit: u64,
    steps: StepAggregates,
    /// Calls are known when their trace is complete, later than its spans.
    calls: StepAggregates,
    templates: LogTemplates,
    detect: Detect,
    /// Series whose last point was anomalous.
    suspects: BTreeSet<SeriesId>,
    told: ToldAnomalies,
    /// Services that were told of because they have logs.
    services: BTreeSet<String>,
    /// Event time at which these were last forgotten.
    services_ms: Option<i64>,
    closed: Vec<StepValue>,
    /// Of gathered points: series and time.
    exemplars: HashMap<(SeriesId, i64), Exemplars>,
    /// Points are kept for whoever looks at them, and nothing is told of them as evidence.
    observed: Option<Vec<ObservedPoint>>,
}

/// A point of a series as detectors see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedPoint {
    pub labels: Labels,
    pub time_ms: i64,
    pub value: f64,
}

impl SeriesStage {
    pub fn new(settings: &AnalysisSettings, detectors: &[DetectorSettings]) -> Result<Self, InvalidDetector> {
        let limits = StepLimits { keys_max: settings.step_keys_max, ..StepLimits::default() };
        Ok(Self {
            settings: settings.clone(),
            raw: HashMap::new(),
            raw_over_limit: 0,
            steps: StepAggregates::new(settings.step.ms(), limits),
            calls: StepAggregates::new(settings.step.ms(), limits),
            templates: LogTemplates::default(),
            detect: Detect::new(settings, detectors)?,
            suspects: BTreeSet::new(),
            told: ToldAnomalies::default(),
            services: BTreeSet::new(),
            services_ms: None,
            closed: Vec::new(),
            exemplars: HashMap::new(),
            observed: None,
        })
    }

    /// For one who wants the points and not what detectors make of them; they must be taken now and then.
    pub(crate) fn observing(settings: &AnalysisSettings) -> Result<Self, InvalidDetector> {
        Ok(Self { observed: Some(Vec::new()), ..Self::new(settings, &[])? })
    }

    /// The points since the last call, of a stage that was made to be [`observing`](Self::observing).
    pub(crate) fn take_observed(&mut self) -> Vec<ObservedPoint> {
        self.flush(&mut Vec::new());
        self.observed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn observed(&self) -> usize {
        self.observed.as_ref().map_or(0, Vec::len)
    }

    /// Without a watermark, which is not this stage's.
    pub fn status(&self) -> TaskStatus {
        TaskStatus {
            watermark_ms: None,
            series: self.detect.series() as u64,
            series_bytes: self.detect.reserved_bytes() as u64,
            series_aside: self.detect.idle().series(),
            series_aside_bytes: self.detect.idle().bytes(),
            series_forgotten: self.detect.idle().forgotten(),
            series_refused: self.detect.over_limit() + self.raw_over_limit,
            keys_refused: self.steps.over_limit() + self.calls.over_limit(),
            late_rows: self.steps.late() + self.calls.late(),
            amended_rows: self.steps.amended() + self.calls.amended(),
            early_rows: self.steps.early() + self.calls.early(),
            silences_untold: self.detect.silences_untold(),
            coverage: self.detect.coverage_counts(),
            points_filled: self.detect.filled(),
            ..TaskStatus::default()
        }
    }

    pub fn on_telemetry(&mut self, telemetry: &Telemetry, out: &mut Vec<Finding>) {
        match telemetry {
            Telemetry::Samples(batch) => {
                let ids = batch.series_ids();
                for (row, &labels) in batch.rows().zip(batch.label_keys()) {
                    self.on_sample_of(ids[labels as usize], &row, out);
                }
            }
            Telemetry::Histograms(batch) => batch.rows().for_each(|row| self.on_histogram(&row, out)),
            Telemetry::Spans(batch) => batch.rows().for_each(|row| self.on_span(&row)),
            Telemetry::Logs(batch) => batch.rows().for_each(|row| self.on_log(&row, out)),
            // Changes are no series; ingest sends them past this stage.
            Telemetry::Events(_) => {}
        }
        self.flush(out);
    }

    pub fn on_sample(&mut self, row: &SampleRow<'_>, out: &mut Vec<Finding>) {
        self.on_sample_of(SeriesId::of_canonical(row.labels), row, out);
    }

    /// Of the series with that id, which is the one of the row's labels.
    pub fn on_sample_of(&mut self, id: SeriesId, row: &SampleRow<'_>, out: &mut Vec<Finding>) {
        let value = match row.kind {
            MetricKind::Gauge => Some(row.value),
            MetricKind::Counter => {
                let new = || Raw::Counter(CounterState::default());
                match self.raw(id, row.labels, row.time_ms, new, out) {
                    Some(Raw::Counter(state)) => state.rate(row.time_ms, row.start_ms, row.value),
                    _ => None,
                }
            }
            MetricKind::Delta => {
                match self.raw(id, row.labels, row.time_ms, || Raw::Delta { last_ms: None }, out) {
                    Some(Raw::Delta { last_ms }) if last_ms.is_none_or(|last_ms| row.time_ms > last_ms) => {
                        let before_ms = last_ms.replace(row.time_ms);
                        delta_rate(row.time_ms, row.start_ms, before_ms, row.value)
                    }
                    _ => None,
                }
            }
        };
        if let Some(value) = value {
            self.point(id, || Labels::parse(row.labels), (row.time_ms, value), true, out);
        }
    }

    pub fn on_histogram(&mut self, row: &HistogramRow<'_>, out: &mut Vec<Finding>) {
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
        let new = || Raw::Histogram(Box::default());
        let interval = match self.raw(id, row.labels, row.time_ms, new, out) {
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
                // There is no mean of nothing: that the histogram is there is told by its count.
                let is_presence = suffix == "count";
                self.point(derived.id(), || derived.clone(), (row.time_ms, value), is_presence, out);
            }
        }
    }

    pub fn on_span(&mut self, row: &SpanRow<'_>) {
        let service = Labels::new([(SERVICE, row.service)]);
        let SpanRow { duration_us, error, trace_id, .. } = *row;
        let timed = Timed { end_ms: end_ms(row), duration_us, error, trace_id };
        self.steps.span(&service, &timed);
        self.steps.span(&service.with("operation", row.operation), &timed);
    }

    pub fn on_log(&mut self, row: &LogRow<'_>, out: &mut Vec<Finding>) {
        let template = self.templates.observe(row.body);
        let service = Labels::new([(SERVICE, row.service)]);
        let trace_id = row.trace_id.unwrap_or_default();
        self.steps.log(&service.with("severity", severity_text(row.severity)), row.time_ms, trace_id);
        self.steps.log(&service.with("template", template), row.time_ms, trace_id);
        if !self.services.contains(row.service) && self.services.len() < SERVICES_MAX {
            self.services.insert(row.service.to_owned());
            out.push(Finding::Service(row.service.to_owned()));
        }
    }

    pub fn on_call(&mut self, call: &EdgeCall) {
        let labels = Labels::new([(SERVICE, call.callee.as_str()), ("caller", call.caller.as_str())]);
        let EdgeCall { end_ms, duration_us, error, trace_id, .. } = *call;
        self.calls.call(&labels, &Timed { end_ms, duration_us, error, trace_id });
    }

    /// Traces that end before are complete, and their calls were given to [`on_call`](Self::on_call).
    pub fn close_calls(&mut self, watermark_ms: i64, out: &mut Vec<Finding>) {
        let mut closed = std::mem::take(&mut self.closed);
        self.calls.close(watermark_ms.saturating_sub(CALLS_DELAY_MS), &mut closed);
        self.judge(closed, out);
    }

    /// Event time has come to `watermark_ms`: closes the steps that are over, forgets what has long been idle.
    pub fn advance(&mut self, watermark_ms: i64, out: &mut Vec<Finding>) {
        let mut closed = std::mem::take(&mut self.closed);
        self.steps.close(watermark_ms, &mut closed);
        self.judge(closed, out);
        self.detect.fill_missing(watermark_ms);
        self.flush(out);
        let mut told = Vec::new();
        self.detect.tell_silences(watermark_ms, &mut told);
        out.extend(told.into_iter().map(|told| match told {
            Told::Gone(anomaly) => Finding::Anomaly(anomaly),
            Told::Over { series, time_ms } => Finding::Normal { series, time_ms },
        }));
        let idle_ms = watermark_ms.saturating_sub(self.settings.series_idle.ms());
        self.detect.forget_idle_since(idle_ms);
        self.detect.idle_mut().advance(watermark_ms);
        self.suspects.retain(|id| self.detect.knows(*id));
        self.told.advance(watermark_ms, self.settings.step.ms());
        // Told again now and then, for an incident stage that has lost its state.
        if self.services_ms.is_none_or(|told_ms| watermark_ms.saturating_sub(told_ms) >= SERVICES_AGAIN_MS) {
            self.services_ms = Some(watermark_ms);
            self.services.clear();
        }
        self.raw.retain(|_, (_, last_ms)| *last_ms >= idle_ms);
    }

    /// Goes on with the coverage ledger, which the task of the partition `source` tells.
    pub(crate) fn cover(&mut self, watermark_ms: i64, source: &str, out: &mut Vec<Output>) {
        out.extend(self.sweep(watermark_ms).into_iter().map(|mut coverage| {
            source.clone_into(&mut coverage.source);
            events::coverage(&coverage)
        }));
    }

    /// As [`cover`](Self::cover), without telling it.
    pub(crate) fn sweep(&mut self, watermark_ms: i64) -> Vec<ServiceCoverage> {
        let mut told = Vec::new();
        self.detect.advance_coverage(watermark_ms, &mut told);
        told
    }

    /// What is watched of each service by now.
    pub fn coverage(&self, now_ms: i64) -> Vec<ServiceCoverage> {
        self.detect.coverage(now_ms)
    }

    fn is_full(&self) -> bool {
        self.detect.is_full() || self.raw.len() >= self.settings.series_max
    }

    /// Sets idle series aside for one that has no place, if there are any.
    fn make_room(&mut self, out: &mut Vec<Finding>) {
        let Some(time_ms) = self.detect.idle().time_to_try_at() else { return };
        let time_ms = time_ms.saturating_sub(ASIDE_MS);
        // A late point may be of one of them.
        self.flush(out);
        let has_room = self.detect.set_aside_idle_since(time_ms);
        let mut idle: Vec<(SeriesId, (Raw, i64))> =
            self.raw.extract_if(|_, (_, last_ms)| *last_ms < time_ms).collect();
        idle.sort_unstable_by_key(|(id, _)| *id);
        for (id, (raw, last_ms)) in idle {
            self.detect.idle_mut().put((Part::Raw, id), last_ms, &state::encode(&raw));
        }
        if !has_room {
            self.detect.idle_mut().exhausted();
        }
    }

    fn judge(&mut self, mut closed: Vec<StepValue>, out: &mut Vec<Finding>) {
        for value in closed.drain(..) {
            let id = value.labels.id();
            if value.amended && self.detect.has(id) {
                if value.before != Some(value.value) {
                    self.amend(id, &value, out);
                }
            } else {
                self.flush_before(id, out);
                if !value.exemplars.is_empty() {
                    self.exemplars.insert((id, value.time_ms), value.exemplars);
                }
                self.point(id, || value.labels.clone(), (value.time_ms, value.value), true, out);
            }
        }
        self.closed = closed;
        self.flush(out);
    }

    /// A point is not what it was judged as.
    fn amend(&mut self, id: SeriesId, value: &StepValue, out: &mut Vec<Finding>) {
        self.flush(out);
        for mut anomaly in self.detect.judge(id, Point { time_ms: value.time_ms, value: value.value }) {
            anomaly.exemplar_trace_ids = value.exemplars.trace_ids();
            let Some(amendment) = self.told.amend(anomaly, value.before) else { continue };
            if amendment.is_anomalous() {
                self.suspects.insert(id);
            }
            out.push(Finding::Amended(amendment));
        }
    }

    /// The state of a series that is not yet a plain value; `None` at the limit.
    fn raw(
        &mut self,
        id: SeriesId,
        labels: &str,
        time_ms: i64,
        new: impl FnOnce() -> Raw,
        out: &mut Vec<Finding>,
    ) -> Option<&mut Raw> {
        if self.is_full() && !self.raw.contains_key(&id) {
            self.make_room(out);
            if self.is_full() {
                self.raw_over_limit += 1;
                self.detect.refuse(id, || Labels::parse(labels));
                return None;
            }
        }
        let (raw, last_ms) = self.raw.entry(id).or_insert_with(|| {
            let aside = self.detect.idle_mut().take((Part::Raw, id));
            let raw = aside.and_then(|bytes| state::decode(&bytes).ok());
            (raw.unwrap_or_else(new), time_ms)
        });
        *last_ms = (*last_ms).max(time_ms);
        Some(raw)
    }

    fn point(
        &mut self,
        id: SeriesId,
        labels: impl FnOnce() -> Labels,
        (time_ms, value): (i64, f64),
        is_presence: bool,
        out: &mut Vec<Finding>,
    ) {
        if !value.is_finite() {
            return;
        }
        if self.is_full() && !self.detect.has(id) {
            self.make_room(out);
        }
        self.flush_before(id, out);
        if self.detect.gather(id, labels, time_ms, value, is_presence) {
            self.flush(out);
        }
    }

    /// A new series may begin with what others have learned, which then must not depend on what was gathered with it.
    fn flush_before(&mut self, id: SeriesId, out: &mut Vec<Finding>) {
        if self.detect.has_gathered() && self.detect.is_newcomer(id) {
            self.flush(out);
        }
    }

    /// Judges what was gathered, and tells of it point by point.
    pub fn flush(&mut self, out: &mut Vec<Finding>) {
        let (suspects, told, observed) = (&mut self.suspects, &mut self.told, &mut self.observed);
        let exemplars = &self.exemplars;
        self.detect.flush(|slot, series, time_ms, value, mut anomalies| {
            let labels = &series.labels;
            if let Some(observed) = observed {
                return observed.push(ObservedPoint { labels: labels.clone(), time_ms, value });
            }
            // What is derived from spans and logs tells of itself as spans and logs.
            let name = labels.name();
            let is_derived = ["spans.", "calls.", "logs."].iter().any(|derived| name.starts_with(derived));
            if !is_derived && slot < EVIDENCE_SERIES_MAX {
                let (service, metric) = (labels.service().to_owned(), metric_of(labels));
                out.push(Finding::Point { service, metric, time_ms, value });
            }
            if is_derived {
                anomalies.iter().for_each(|anomaly| told.insert(anomaly));
            }
            if !anomalies.is_empty()
                && let Some(exemplars) = exemplars.get(&(series.id, time_ms))
            {
                anomalies.iter_mut().for_each(|anomaly| anomaly.exemplar_trace_ids = exemplars.trace_ids());
            }
            if !anomalies.is_empty() {
                suspects.insert(series.id);
            } else if suspects.remove(&series.id) {
                out.push(Finding::Normal { series: series.id, time_ms });
            }
            out.extend(anomalies.into_iter().map(Finding::from));
        });
        self.exemplars.clear();
    }

    /// Begins to write down the state between two records. Equal states give equal bytes.
    pub(crate) fn begin_snapshot(&mut self) -> Vec<StateSection> {
        let mut raw: Vec<(&SeriesId, &(Raw, i64))> = self.raw.iter().collect();
        raw.sort_unstable_by_key(|(id, _)| **id);
        let services = (&self.services, self.services_ms);
        let derive = (raw, self.raw_over_limit, &self.steps, &self.calls, &self.suspects, services);
        let exemplars = (self.steps.exemplars(), self.calls.exemplars());
        let amendments = (self.steps.amendments(), self.calls.amendments(), &self.told);
        let mut sections = vec![
            StateSection { name: DERIVE.to_owned(), bytes: state::encode(&derive) },
            StateSection { name: TEMPLATES.to_owned(), bytes: self.templates.snapshot() },
            StateSection { name: AMENDMENTS.to_owned(), bytes: state::encode(&amendments) },
            StateSection { name: EXEMPLARS.to_owned(), bytes: state::encode(&exemplars) },
        ];
        sections.extend(self.detect.begin_state());
        sections
    }

    /// Writes on, see [`PartitionTask::continue_snapshot`].
    pub(crate) fn continue_snapshot(&mut self, series: usize) -> Option<Vec<StateSection>> {
        self.detect.continue_state(series)
    }

    /// Takes up a state, under the settings and bounds of today (log templates keep those that they were mined with). What these
    /// have changed, detectors or the length of a step, begins anew; detectors that cannot be read are returned. After an error
    /// the stage is in no defined state.
    pub(crate) fn restore(&mut self, sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        let (raw, raw_over_limit, steps, calls, suspects, services): (Vec<_>, _, _, _, _, _) =
            state::section(sections, DERIVE)?;
        self.raw = raw.into_iter().collect();
        self.raw_over_limit = raw_over_limit;
        self.steps.restore(steps);
        self.calls.restore(calls);
        // States of earlier versions have none.
        if sections.iter().any(|section| section.name == AMENDMENTS) {
            let (steps, calls);
            (steps, calls, self.told) = state::section(sections, AMENDMENTS)?;
            self.steps.restore_amendments(steps);
            self.calls.restore_amendments(calls);
        }
        if sections.iter().any(|section| section.name == EXEMPLARS) {
            let (steps, calls) = state::section(sections, EXEMPLARS)?;
            self.steps.restore_exemplars(steps);
            self.calls.restore_exemplars(calls);
        }
        self.suspects = suspects;
        (self.services, self.services_ms) = services;
        self.templates.restore(sections, TEMPLATES)?;
        self.detect.restore(sections)
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

/// The task of a partition of `samples`.
pub struct SeriesTask {
    /// Of the partition, as a source of what it writes.
    name: String,
    router: Router,
    /// What the rows come from.
    watermarks: SourceWatermarks,
    /// What the calls come from: partitions of `spans`.
    call_watermarks: SourceWatermarks,
    /// How far all series have come, as was told.
    told_ms: Option<i64>,
    step_ms: i64,
    /// Names of partitions of `spans` begin with this.
    spans_prefix: String,
    stage: SeriesStage,
}

impl SeriesTask {
    /// `name` tells the partition apart from all others, `topic/partition`; `sources` are the partitions that rows come from,
    /// `spans_topic` is where calls come from.
    pub fn new(
        name: &str,
        router: Router,
        sources: &[String],
        spans_topic: &str,
        stage: SeriesStage,
    ) -> Self {
        let call_sources: Vec<String> = names(spans_topic, router.partitions(OutputTopic::Spans)).collect();
        Self {
            name: name.to_owned(),
            router,
            watermarks: SourceWatermarks::expecting(sources),
            call_watermarks: SourceWatermarks::expecting(&call_sources),
            told_ms: None,
            step_ms: stage.settings.step.ms(),
            spans_prefix: format!("{spans_topic}/"),
            stage,
        }
    }

    fn on_watermark(
        &mut self,
        watermark: &SourceWatermark,
        written_ms: Option<i64>,
        findings: &mut Vec<Finding>,
        out: &mut Vec<Output>,
    ) {
        if !watermark.source.starts_with(&self.spans_prefix) {
            if let Some(watermark_ms) = self.watermarks.observe(watermark, written_ms) {
                self.stage.advance(watermark_ms, findings);
                self.stage.cover(watermark_ms, &self.name, out);
            }
            return;
        }
        let before_ms = self.call_watermarks.current_ms();
        if let Some(watermark_ms) = self.call_watermarks.observe(watermark, written_ms) {
            for known_ms in steps(before_ms, watermark_ms, self.step_ms, AHEAD_MS) {
                self.stage.close_calls(known_ms, findings);
                self.say(std::mem::take(findings), Some(known_ms), None, out);
            }
        }
    }

    fn say(
        &self,
        findings: Vec<Finding>,
        known_ms: Option<i64>,
        watermark: Option<SourceWatermark>,
        out: &mut Vec<Output>,
    ) {
        say(&self.router, Findings { findings, known_ms, watermark }, out);
    }
}

/// What was found, to the incident stage; anomalies to everybody too.
pub(crate) fn say(router: &Router, findings: Findings, out: &mut Vec<Output>) {
    for finding in &findings.findings {
        if let Some(anomaly) = finding.anomaly() {
            out.push(events::output(&Conclusion::Anomaly(anomaly.clone()), Encoding::Json));
        }
    }
    wire::findings(router, findings, out);
}

impl PartitionTask for SeriesTask {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        let mut findings = Vec::new();
        let mut says_idle = false;
        match wire::read(record) {
            Ok(Incoming::Telemetry(telemetry)) => self.stage.on_telemetry(&telemetry, &mut findings),
            Ok(Incoming::Calls(calls)) => calls.iter().for_each(|call| self.stage.on_call(call)),
            Ok(Incoming::Watermark(watermark)) => {
                self.on_watermark(&watermark, record.timestamp_ms, &mut findings, out);
                says_idle = watermark.watermark_ms.is_none();
            }
            Ok(Incoming::Findings(_)) => {
                let reason = "this kind of record does not belong here";
                return out.push(codec::dead_letter::unreadable(record, reason));
            }
            Err(reason) => return out.push(codec::dead_letter::unreadable(record, &reason)),
        }
        // All was said of what lies before both, that of the calls too.
        let reached_ms = self.watermarks.current_ms().min(self.call_watermarks.current_ms());
        let is_news = reached_ms > self.told_ms;
        self.told_ms = self.told_ms.max(reached_ms);
        // Nobody has to wait for a partition that nothing has ever come to.
        let is_blank = says_idle && self.watermarks.is_blank() && self.call_watermarks.is_blank();
        let watermark = (is_news || is_blank)
            .then(|| SourceWatermark { source: self.name.clone(), watermark_ms: reached_ms });
        self.say(findings, None, watermark, out);
    }

    fn status(&self) -> TaskStatus {
        TaskStatus { watermark_ms: self.watermarks.current_ms(), ..self.stage.status() }
    }

    fn begin_snapshot(&mut self) -> Vec<StateSection> {
        let mut sections = self.stage.begin_snapshot();
        let bytes = state::encode(&(&self.watermarks, &self.call_watermarks, self.told_ms));
        sections.push(StateSection { name: WATERMARKS.to_owned(), bytes });
        sections
    }

    fn continue_snapshot(&mut self, series: usize) -> Option<Vec<StateSection>> {
        self.stage.continue_snapshot(series)
    }

    fn restore(&mut self, sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        let (watermarks, call_watermarks);
        (watermarks, call_watermarks, self.told_ms) = state::section(sections, WATERMARKS)?;
        self.watermarks.restore(watermarks);
        self.call_watermarks.restore(call_watermarks);
        self.stage.restore(sections)
    }
}

#[cfg(test)]
mod tests;
