//! The incident stage: findings in their recorded order in, incidents and alerts out. And its task.

use std::collections::BTreeMap;

use alerts::Encoding;
use correlate::{Correlator, CorrelatorLimits, Grouper};
use model::{Alert, Anomaly, Incident, Output, SourceRecord, StateSection};

use crate::alert::AlertStage;
use crate::amendment::Amendment;
use crate::budget::Budget;
use crate::derive::step::AHEAD_MS;
use crate::events;
use crate::feedback::Feedback;
use crate::settings::AnalysisSettings;
use crate::state::{self, InvalidState};
use crate::task::{PartitionTask, TaskStatus};
use crate::watermark::{SourceWatermarks, steps};
use crate::wire::{self, Finding, Incoming};

const ORDER: &str = "order";
const CORRELATOR: &str = "correlator";
const GROUPER: &str = "grouper";
const ALERTS: &str = "alerts";
const FEEDBACK: &str = "feedback";
/// The number grows with every change of what the state holds: an older one begins anew.
const BUDGET: &str = "budget.3";

/// What the engine has to say, in its order.
#[derive(Clone, Debug, PartialEq)]
pub enum Conclusion {
    Anomaly(Anomaly),
    Incident(Incident),
    Alert(Alert),
}

pub struct IncidentStage {
    correlator: Correlator,
    grouper: Grouper,
    feedback: Feedback,
    budget: Option<Budget>,
    alerts: AlertStage,
}

impl IncidentStage {
    pub fn new(settings: &AnalysisSettings) -> Self {
        Self {
            budget: settings.budget.as_ref().map(Budget::new),
            correlator: Correlator::new(CorrelatorLimits::default()),
            grouper: Grouper::default(),
            feedback: Feedback::default(),
            alerts: AlertStage::default(),
        }
    }

    /// Edges of the service graph that are known beforehand.
    pub fn set_edges(&mut self, edges: &[(String, String)]) {
        self.correlator.set_edges(edges);
    }

    pub fn on_finding(&mut self, finding: Finding, out: &mut Vec<Conclusion>) {
        match finding {
            Finding::Service(name) => self.correlator.observe_service(&name),
            Finding::Point { service, metric, time_ms, value } => {
                self.correlator.observe_point(time_ms, &service, &metric, value);
            }
            Finding::Normal { series, .. } => self.grouper.normal(series),
            Finding::Exemplified { anomaly, trace_ids } => {
                let anomaly = Anomaly { exemplar_trace_ids: trace_ids, ..anomaly };
                self.on_finding(Finding::Anomaly(anomaly), out);
            }
            Finding::Anomaly(anomaly) | Finding::Amended(Amendment { anomaly, was_told: false }) => {
                if let Some(budget) = &mut self.budget {
                    budget.observe(&anomaly);
                }
                let incidents = self.grouper.observe(&anomaly, &self.correlator);
                self.tell(incidents, out);
            }
            Finding::Amended(Amendment { anomaly, was_told: true }) if anomaly.anomaly_score <= 0.5 => {
                self.grouper.withdraw(&anomaly);
            }
            // What was anomalous and still is counts already.
            Finding::Amended(_) => {}
            Finding::Change(change) => self.correlator.observe_change(change),
            Finding::Traces(evidence) => {
                self.correlator.absorb(&evidence);
                self.grouper.review_after(&evidence, &self.correlator);
            }
            Finding::Remark(remark) => self.feedback.on_remark(&remark),
        }
    }

    /// Event time has reached `watermark_ms`.
    pub fn advance(&mut self, watermark_ms: i64, out: &mut Vec<Conclusion>) {
        self.correlator.advance(watermark_ms);
        let incidents = self.grouper.advance(watermark_ms, &self.correlator);
        self.tell(incidents, out);
        if let Some(budget) = &mut self.budget
            && budget.advance(watermark_ms)
        {
            let due: Vec<Incident> =
                self.grouper.open_incidents().filter(|open| budget.is_due(open)).cloned().collect();
            for incident in due {
                let decision = budget.decide(&incident);
                out.extend(self.alerts.on_incident(&incident, Some(&decision)).map(Conclusion::Alert));
            }
        }
    }

    /// Opens an incident by hand, as somebody who asks what is wrong since `trigger_ms`.
    pub fn open_at(&mut self, trigger_ms: i64, now_ms: i64, out: &mut Vec<Conclusion>) {
        let incident = self.grouper.open_at(trigger_ms, now_ms, &self.correlator);
        self.tell(incident.into_iter().collect(), out);
    }

    /// Everything is read: what is known by `now_ms` is said.
    pub fn finish(&mut self, now_ms: i64, out: &mut Vec<Conclusion>) {
        self.correlator.advance(now_ms);
        let incidents = self.grouper.rank_open(now_ms, &self.correlator);
        self.tell(incidents, out);
    }

    fn tell(&mut self, incidents: Vec<Incident>, out: &mut Vec<Conclusion>) {
        for mut incident in incidents {
            self.feedback.apply(&mut incident);
            let decision = self.budget.as_mut().map(|budget| budget.decide(&incident));
            let alert = self.alerts.on_incident(&incident, decision.as_ref());
            out.push(Conclusion::Incident(incident));
            out.extend(alert.map(Conclusion::Alert));
        }
    }

    fn snapshot(&self) -> Vec<StateSection> {
        let mut sections = vec![
            StateSection { name: CORRELATOR.to_owned(), bytes: state::encode(&self.correlator) },
            // Incidents leave out fields that they do not have, which only a format with names can tell.
            StateSection {
                name: GROUPER.to_owned(),
                bytes: serde_json::to_vec(&self.grouper).expect("plain data, and memory does not fail"),
            },
            StateSection { name: FEEDBACK.to_owned(), bytes: state::encode(&self.feedback) },
            StateSection { name: ALERTS.to_owned(), bytes: state::encode(&self.alerts) },
        ];
        sections.extend(
            self.budget.as_ref().map(|budget| StateSection {
                name: BUDGET.to_owned(),
                bytes: state::encode(&budget.state()),
            }),
        );
        sections
    }

    /// Takes up a state; a budget that cannot be read begins anew and is returned.
    fn restore(&mut self, sections: &[StateSection]) -> Result<Option<InvalidState>, InvalidState> {
        self.correlator.restore(state::section(sections, CORRELATOR)?);
        let grouper = serde_json::from_slice(state::bytes_of(sections, GROUPER)?);
        self.grouper.restore(grouper.map_err(|error| InvalidState::new(GROUPER, error))?);
        // States of earlier versions have none.
        let has_feedback = sections.iter().any(|section| section.name == FEEDBACK);
        self.feedback = if has_feedback { state::section(sections, FEEDBACK)? } else { Feedback::default() };
        // One that is new to the configuration begins anew, too.
        let begun_anew = match (&mut self.budget, state::bytes_of(sections, BUDGET)) {
            (Some(budget), Ok(bytes)) => budget.restore(bytes).err(),
            _ => None,
        };
        self.alerts = state::section(sections, ALERTS)?;
        Ok(begun_anew.map(|reason| InvalidState::new(BUDGET, reason)))
    }
}

/// Findings of this age when they were written are those of somebody who has much to catch up with.
const OLD_MS: i64 = 120_000;
/// About what findings that wait for their turn may take; beyond, the first of them are taken before it.
const WAITING_BYTES_MAX: usize = 256 << 20;

/// When it is the turn of a finding that waits: by time, then what it is and of what, then by arrival. Sources that run at their
/// own pace come in any order.
type Turn = (i64, u8, u128, u64);

/// The order of findings of one time: first what is known, then what is judged by it.
fn turn_of(finding: &Finding) -> (u8, u128) {
    match finding {
        Finding::Service(_) | Finding::Change(_) | Finding::Remark(_) => (0, 0),
        Finding::Traces(evidence) => (1, xxhash_rust::xxh3::xxh3_128(&state::encode(evidence))),
        Finding::Point { service, metric, .. } => {
            (2, xxhash_rust::xxh3::xxh3_128(format!("{service}\0{metric}").as_bytes()))
        }
        Finding::Normal { series, .. } => (3, series.0),
        Finding::Anomaly(anomaly) | Finding::Exemplified { anomaly, .. } => (4, anomaly.labels.id().0),
        Finding::Amended(Amendment { anomaly, .. }) => (5, anomaly.labels.id().0),
    }
}

/// The task of a partition of `findings`.
///
/// As long as the engine is there when things happen, findings are taken as they come: nobody is woken later because one source
/// is slow. After an outage, though, the stages before run through hours in seconds, and what one has found may be far ahead of
/// what another has; so findings that were old when they were written wait until all sources have come to them, and are taken in
/// the order of event time, whatever order they came in. Both is told from the record alone, so a replay does the same.
pub struct IncidentTask {
    /// So far is the watermark behind what is taken, be it because rows may be late or because findings wait.
    behind_ms: i64,
    step_ms: i64,
    watermarks: SourceWatermarks,
    /// All that waited up to this time was taken.
    taken_ms: Option<i64>,
    /// How far the stage has come.
    advanced_ms: Option<i64>,
    stage: IncidentStage,
    waiting: BTreeMap<Turn, Finding>,
    waiting_bytes: usize,
    waiting_bytes_max: usize,
    arrivals: u64,
    /// Taken before their turn at the bound.
    before_turn: u64,
    conclusions: Vec<Conclusion>,
    encoding: Encoding,
}

impl IncidentTask {
    /// `sources` are the partitions that findings come from.
    pub fn new(settings: &AnalysisSettings, sources: &[String]) -> Self {
        let (lateness_ms, step_ms) = (settings.allowed_lateness.ms(), settings.step.ms());
        Self {
            behind_ms: lateness_ms.saturating_add(step_ms),
            step_ms,
            watermarks: SourceWatermarks::expecting(sources),
            taken_ms: None,
            advanced_ms: None,
            stage: IncidentStage::new(settings),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            waiting_bytes_max: WAITING_BYTES_MAX,
            arrivals: 0,
            before_turn: 0,
            conclusions: Vec::new(),
            encoding: Encoding::Json,
        }
    }

    /// Writes alerts as that.
    pub fn with_alerts_as(self, encoding: Encoding) -> Self {
        Self { encoding, ..self }
    }

    fn take(&mut self, finding: Finding, known_ms: Option<i64>, written_ms: Option<i64>) {
        match known_ms.or(finding.time_ms()) {
            Some(time_ms)
                if self.taken_ms.is_none_or(|taken_ms| time_ms > taken_ms) && is_old(time_ms, written_ms) =>
            {
                self.waiting_bytes += finding.size_bytes();
                let (class, of) = turn_of(&finding);
                self.waiting.insert((time_ms, class, of, self.arrivals), finding);
                self.arrivals += 1;
                while self.waiting_bytes > self.waiting_bytes_max && self.take_first(i64::MAX) {
                    self.before_turn += 1;
                }
            }
            _ => self.stage.on_finding(finding, &mut self.conclusions),
        }
    }

    /// Takes the first of those that wait, unless it is later.
    fn take_first(&mut self, until_ms: i64) -> bool {
        let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= until_ms) else {
            return false;
        };
        let finding = first.remove();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(finding.size_bytes());
        self.stage.on_finding(finding, &mut self.conclusions);
        true
    }

    /// All sources have come to `watermark_ms`. Findings that come when they are found are that far ahead of it; those that waited
    /// until now are taken as if they were.
    fn advance(&mut self, watermark_ms: i64, written_ms: Option<i64>) {
        let is_old = is_old(watermark_ms, written_ms);
        let behind_ms = if is_old { self.behind_ms } else { 0 };
        let reached_ms = watermark_ms.saturating_sub(behind_ms);
        for step_ms in steps(self.advanced_ms, reached_ms, self.step_ms, AHEAD_MS) {
            while self.take_first(step_ms.saturating_add(self.behind_ms - self.step_ms)) {}
            self.stage.advance(step_ms, &mut self.conclusions);
            while self.take_first(step_ms.saturating_add(self.behind_ms)) {}
        }
        self.advanced_ms = self.advanced_ms.max(Some(reached_ms));
        self.taken_ms = self.taken_ms.max(Some(reached_ms.saturating_add(self.behind_ms)));
    }
}

fn is_old(time_ms: i64, written_ms: Option<i64>) -> bool {
    written_ms.is_none_or(|written_ms| written_ms.saturating_sub(time_ms) > OLD_MS)
}

impl PartitionTask for IncidentTask {
    fn on_record(&mut self, record: SourceRecord<'_>, out: &mut Vec<Output>) {
        let findings = match wire::read(record) {
            Ok(Incoming::Findings(findings)) => findings,
            Ok(_) => {
                let reason = "this kind of record does not belong here";
                return out.push(codec::dead_letter::unreadable(record, reason));
            }
            Err(reason) => return out.push(codec::dead_letter::unreadable(record, &reason)),
        };
        for finding in findings.findings {
            self.take(finding, findings.known_ms, record.timestamp_ms);
        }
        if let Some(watermark_ms) =
            findings.watermark.and_then(|watermark| self.watermarks.observe(&watermark, record.timestamp_ms))
        {
            self.advance(watermark_ms, record.timestamp_ms);
        }
        let encoding = self.encoding;
        out.extend(self.conclusions.drain(..).map(|conclusion| events::output(&conclusion, encoding)));
    }

    fn status(&self) -> TaskStatus {
        TaskStatus {
            watermark_ms: self.watermarks.current_ms(),
            findings_before_turn: self.before_turn,
            pages: self.stage.budget.as_ref().map_or(0, Budget::pages),
            pages_withheld: self.stage.budget.as_ref().map_or(0, Budget::withheld),
            ..TaskStatus::default()
        }
    }

    fn begin_snapshot(&mut self) -> Vec<StateSection> {
        let mut sections = self.stage.snapshot();
        let numbers = (self.taken_ms, self.advanced_ms, self.arrivals, self.before_turn);
        let bytes = state::encode(&(&self.watermarks, numbers, &self.waiting));
        sections.push(StateSection { name: ORDER.to_owned(), bytes });
        sections
    }

    fn restore(&mut self, sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        let (watermarks, numbers);
        (watermarks, numbers, self.waiting) = state::section(sections, ORDER)?;
        (self.taken_ms, self.advanced_ms, self.arrivals, self.before_turn) = numbers;
        self.watermarks.restore(watermarks);
        self.waiting_bytes = self.waiting.values().map(Finding::size_bytes).sum();
        Ok(self.stage.restore(sections)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
