//! Groups anomalies into incidents by time and by distance in the call graph.
//!
//! An anomaly joins the open incident that has had anomalies within five minutes on a service at most two hops away; on a
//! service that is new to the incident, within two.
//! A series whose anomalies join none is a suspect until a point of it is normal: an incident opens when two series on
//! related services are anomalous at two points in a row, or when one is critically anomalous at three. Causes are
//! ranked at opening and again 60, 120 and 180 s of event time later, when more of the fault is visible.

use std::collections::{BTreeMap, BTreeSet};

use model::{Anomaly, Incident, IncidentState, RootCause, SeriesId, Severity};
use serde::{Deserialize, Serialize};

use crate::evidence::Correlator;
use crate::graph::ServiceGraph;
use crate::ranking::{Family, MetricRole, Trigger, role_of};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrouperSettings {
    /// Two anomalies of one incident are at most this far apart in time.
    pub gap_ms: i64,
    /// … and their services at most so many calls.
    pub hops_max: usize,
    /// Two series anomalous within this time open an incident.
    pub open_within_ms: i64,
    /// … each at so many points in a row.
    pub sustained_run: u32,
    /// Or one series critically anomalous at so many points in a row.
    pub critical_run: u32,
    /// Event times after opening at which causes are ranked again.
    pub rank_after_ms: Vec<i64>,
    pub resolve_after_ms: i64,
    /// How much before its first anomaly an incident is taken to have begun.
    pub guard_ms: i64,
    /// Changes so long before the start are listed with the incident.
    pub changes_before_ms: i64,
    /// Root causes that an incident carries.
    pub causes_max: usize,
    pub open_max: usize,
    pub suspects_max: usize,
}

impl Default for GrouperSettings {
    fn default() -> Self {
        Self {
            gap_ms: 300_000,
            hops_max: 2,
            open_within_ms: 120_000,
            sustained_run: 2,
            critical_run: 3,
            rank_after_ms: vec![60_000, 120_000, 180_000],
            resolve_after_ms: 300_000,
            guard_ms: 30_000,
            changes_before_ms: 1_800_000,
            causes_max: 10,
            open_max: 100,
            suspects_max: 10_000,
        }
    }
}

/// An incident that was opened by hand waits this many times longer for anomalies before it is resolved.
const BY_HAND_PATIENCE: i64 = 6;

/// A series that has been anomalous at its last points, and belongs to no incident yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Suspect {
    first_ms: i64,
    last_ms: i64,
    service: String,
    metric: String,
    /// The highest so far.
    severity: Severity,
    anomalies: u64,
    /// Anomalous points in a row, and critical ones among the newest of them.
    run: u32,
    critical_run: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OpenIncident {
    incident: Incident,
    trigger: StoredTrigger,
    last_anomaly_ms: i64,
    /// Rankings done after the first one.
    ranked: usize,
    first_metric: String,
    /// Somebody asked: every service is ranked, and it stays open longer without anomalies.
    by_hand: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct StoredTrigger {
    time_ms: i64,
    errors: Option<bool>,
}

impl From<StoredTrigger> for Trigger {
    fn from(stored: StoredTrigger) -> Self {
        let family = stored.errors.map(|errors| if errors { Family::Errors } else { Family::Latency });
        Self { time_ms: stored.time_ms, family }
    }
}

/// Hash of the labels of a series.
type SeriesKey = u128;

/// Takes anomalies in event-time order and opens, updates and resolves incidents.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Grouper {
    settings: GrouperSettings,
    suspects: BTreeMap<SeriesKey, Suspect>,
    open: Vec<OpenIncident>,
    /// Incidents that were not opened because too many were open.
    suppressed: u64,
    /// Anomalies that were not taken in because too many series were suspect.
    suspects_refused: u64,
}

impl Suspect {
    fn observe(&mut self, anomaly: &Anomaly) {
        let is_critical = anomaly.severity == Severity::Critical;
        self.anomalies += 1;
        self.severity = self.severity.max(anomaly.severity);
        // Two detectors on one point are one point.
        if anomaly.time_ms > self.last_ms {
            self.run += 1;
            self.critical_run = if is_critical { self.critical_run + 1 } else { 0 };
        } else if is_critical && self.critical_run == 0 {
            self.critical_run = 1;
        }
        self.last_ms = self.last_ms.max(anomaly.time_ms);
    }
}

impl Grouper {
    /// Goes on from the state of another, under its own settings.
    pub fn restore(&mut self, state: Self) {
        let settings = std::mem::take(&mut self.settings);
        *self = Self { settings, ..state };
    }

    pub fn new(settings: GrouperSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// A point of a series was judged normal: the series is no suspect any more.
    pub fn normal(&mut self, series: SeriesId) {
        if !self.suspects.is_empty() {
            self.suspects.remove(&series.0);
        }
    }

    /// Takes one anomaly in; returns the versions of incidents that it caused, at most one.
    pub fn observe(&mut self, anomaly: &Anomaly, correlator: &Correlator) -> Vec<Incident> {
        let graph = correlator.graph();
        let key = anomaly.labels.id().0;
        if !self.suspects.contains_key(&key) && self.suspects.len() >= self.settings.suspects_max {
            self.suspects_refused += 1;
            return Vec::new();
        }
        let suspect = self.suspects.entry(key).or_insert_with(|| Suspect {
            first_ms: anomaly.time_ms,
            last_ms: i64::MIN,
            service: anomaly.service.clone(),
            metric: anomaly.metric.clone(),
            severity: anomaly.severity,
            anomalies: 0,
            run: 0,
            critical_run: 0,
        });
        suspect.observe(anomaly);
        let is_sustained = suspect.run >= self.settings.sustained_run;
        let critical_run = suspect.critical_run;
        if let Some(at) = self.find(&anomaly.service, anomaly.time_ms, graph) {
            // A single point is chance: it neither prolongs an incident nor draws a service into it.
            return if is_sustained { self.join(at, anomaly) } else { Vec::new() };
        }
        let settings = &self.settings;
        let from_ms = anomaly.time_ms - settings.open_within_ms;
        let near = |other: &Suspect| {
            other.last_ms >= from_ms
                && graph.distance(&other.service, &anomaly.service, settings.hops_max).is_some()
        };
        let sustained = |other: &&Suspect| near(other) && other.run >= settings.sustained_run;
        if self.suspects.values().filter(sustained).count() < 2 && critical_run < settings.critical_run {
            return Vec::new();
        }
        let related: Vec<Suspect> = self.suspects.values().filter(|other| near(other)).cloned().collect();
        self.suspects
            .retain(|_, other| graph.distance(&other.service, &anomaly.service, settings.hops_max).is_none());
        self.open(&related, anomaly.time_ms, correlator)
    }

    /// Opens an incident by hand, as if something had gone wrong at `time_ms`; `now_ms` is event time.
    pub fn open_at(&mut self, time_ms: i64, now_ms: i64, correlator: &Correlator) -> Option<Incident> {
        let trigger = StoredTrigger { time_ms, errors: None };
        let incident = Incident {
            incident: incident_id(time_ms, "manual", ""),
            version: 1,
            state: IncidentState::Open,
            severity: Severity::Warning,
            title: "Incident opened by hand".to_owned(),
            opened_ms: time_ms,
            updated_ms: now_ms,
            resolved_ms: None,
            services: Vec::new(),
            root_causes: Vec::new(),
            changes: Vec::new(),
            anomalies: 0,
        };
        self.start(incident, trigger, now_ms, String::new(), correlator)
    }

    /// Event time has reached `watermark_ms`: ranks again what is due and resolves what has been quiet.
    /// Call it at fixed steps of event time: which ranking is made does not depend on where batches end.
    pub fn advance(&mut self, watermark_ms: i64, correlator: &Correlator) -> Vec<Incident> {
        let mut versions = Vec::new();
        let settings = self.settings.clone();
        self.open.retain_mut(|open| {
            let due_ms = |open: &OpenIncident| {
                settings.rank_after_ms.get(open.ranked).map(|after| open.incident.opened_ms + after)
            };
            let mut is_due = false;
            while due_ms(open).is_some_and(|due_ms| due_ms <= watermark_ms) {
                open.ranked += 1;
                is_due = true;
            }
            let patience = if open.by_hand { BY_HAND_PATIENCE } else { 1 };
            let resolve_ms = open.last_anomaly_ms.saturating_add(patience * settings.resolve_after_ms);
            let is_over = resolve_ms <= watermark_ms;
            if is_due {
                rank(open, watermark_ms.min(resolve_ms), &settings, correlator);
            }
            if is_due || is_over {
                open.incident.version += 1;
                open.incident.state = if is_over { IncidentState::Resolved } else { IncidentState::Updated };
                open.incident.updated_ms = watermark_ms;
                open.incident.resolved_ms = is_over.then_some(resolve_ms);
                versions.push(open.incident.clone());
            }
            !is_over
        });
        let forget_ms = watermark_ms.saturating_sub(settings.gap_ms.max(settings.open_within_ms) * 3);
        self.suspects.retain(|_, suspect| suspect.last_ms >= forget_ms);
        versions
    }

    /// Ranks all open incidents with what is known at `now_ms`, as at the end of a recording.
    pub fn rank_open(&mut self, now_ms: i64, correlator: &Correlator) -> Vec<Incident> {
        let settings = &self.settings;
        let ranked = self.open.iter_mut().map(|open| {
            rank(open, now_ms, settings, correlator);
            open.incident.version += 1;
            open.incident.state = IncidentState::Updated;
            open.incident.updated_ms = now_ms;
            open.incident.clone()
        });
        ranked.collect()
    }

    /// The newest versions of the open incidents.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.open.iter().map(|open| &open.incident)
    }

    /// Incidents that were not opened because too many were open.
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// The open incident that is closest to `service`; of equals the older.
    fn find(&self, service: &str, time_ms: i64, graph: &ServiceGraph) -> Option<usize> {
        let near = self.open.iter().enumerate().filter_map(|(at, open)| {
            // A service that is new to an incident which has calmed down is a problem of its own.
            let knows = open.incident.services.iter().any(|known| known == service);
            let gap_ms =
                if knows || open.by_hand { self.settings.gap_ms } else { self.settings.open_within_ms };
            let is_near_in_time = time_ms - open.last_anomaly_ms <= gap_ms;
            let hops = open.incident.services.iter();
            let hops = hops.filter_map(|other| graph.distance(other, service, self.settings.hops_max)).min();
            // An incident that was opened by hand takes the first anomaly whatever its service.
            let hops = hops.or((open.incident.services.is_empty()).then_some(self.settings.hops_max));
            hops.filter(|_| is_near_in_time).map(|hops| (hops, at))
        });
        near.min().map(|(_, at)| at)
    }

    /// A new version only when the anomaly tells something new: another service or a higher severity.
    fn join(&mut self, at: usize, anomaly: &Anomaly) -> Vec<Incident> {
        let open = &mut self.open[at];
        open.last_anomaly_ms = open.last_anomaly_ms.max(anomaly.time_ms);
        open.incident.anomalies += 1;
        let mut is_news = anomaly.severity > open.incident.severity;
        open.incident.severity = open.incident.severity.max(anomaly.severity);
        if let Err(place) = open.incident.services.binary_search(&anomaly.service) {
            open.incident.services.insert(place, anomaly.service.clone());
            is_news = true;
        }
        if open.first_metric.is_empty() {
            open.first_metric.clone_from(&anomaly.metric);
        }
        if !is_news {
            return Vec::new();
        }
        open.incident.version += 1;
        open.incident.state = IncidentState::Updated;
        open.incident.updated_ms = anomaly.time_ms;
        open.incident.title = title_of(&open.incident, &open.first_metric);
        vec![open.incident.clone()]
    }

    fn open(&mut self, suspects: &[Suspect], now_ms: i64, correlator: &Correlator) -> Vec<Incident> {
        let key = |suspect: &&Suspect| (suspect.first_ms, suspect.service.clone(), suspect.metric.clone());
        let Some(first) = suspects.iter().min_by_key(key) else { return Vec::new() };
        let services: BTreeSet<String> = suspects.iter().map(|suspect| suspect.service.clone()).collect();
        let roles = || suspects.iter().map(|suspect| role_of(&suspect.metric));
        let has_latency = roles().any(|role| role == MetricRole::Latency);
        let has_errors = suspects.iter().any(|suspect| suspect.metric.to_ascii_lowercase().contains("error"))
            || roles().any(|role| role == MetricRole::Availability);
        // Only where the anomalies speak with one voice is the violated objective known.
        let errors = (has_latency != has_errors).then_some(has_errors);
        let trigger = StoredTrigger { time_ms: first.first_ms - self.settings.guard_ms, errors };
        let incident = Incident {
            incident: incident_id(first.first_ms, &first.service, &first.metric),
            version: 1,
            state: IncidentState::Open,
            severity: suspects.iter().map(|suspect| suspect.severity).max().unwrap_or(Severity::Info),
            title: String::new(),
            opened_ms: first.first_ms,
            updated_ms: now_ms,
            resolved_ms: None,
            services: services.into_iter().collect(),
            root_causes: Vec::new(),
            changes: Vec::new(),
            anomalies: suspects.iter().map(|suspect| suspect.anomalies).sum(),
        };
        self.start(incident, trigger, now_ms, first.metric.clone(), correlator).into_iter().collect()
    }

    fn start(
        &mut self,
        incident: Incident,
        trigger: StoredTrigger,
        now_ms: i64,
        first_metric: String,
        correlator: &Correlator,
    ) -> Option<Incident> {
        if self.open.len() >= self.settings.open_max {
            self.suppressed += 1;
            return None;
        }
        let by_hand = first_metric.is_empty();
        let last_anomaly_ms = now_ms;
        let mut open = OpenIncident { incident, trigger, last_anomaly_ms, ranked: 0, first_metric, by_hand };
        rank(&mut open, now_ms, &self.settings, correlator);
        let version = open.incident.clone();
        self.open.push(open);
        Some(version)
    }
}

fn rank(open: &mut OpenIncident, now_ms: i64, settings: &GrouperSettings, correlator: &Correlator) {
    let mut causes: Vec<RootCause> = correlator.rank_for(&open.trigger.into(), now_ms);
    if !open.by_hand {
        causes.retain(|cause| cause.score > 0.0);
        // What no call leads to did not cause it, however loud it is at the same time. Without any calls nobody knows.
        if !correlator.graph().is_empty() {
            let related = correlator.graph().connected(&open.incident.services);
            causes.retain(|cause| related.contains(cause.service.as_str()));
        }
        causes.truncate(settings.causes_max);
    }
    open.incident.root_causes = causes;
    open.incident.changes = correlator.changes_near(open.trigger.time_ms, settings.changes_before_ms, now_ms);
    open.incident.title = title_of(&open.incident, &open.first_metric);
}

fn title_of(incident: &Incident, first_metric: &str) -> String {
    if incident.services.is_empty() {
        return match incident.root_causes.first() {
            Some(cause) => format!("Opened by hand, likely caused by {}", cause.service),
            None => "Opened by hand".to_owned(),
        };
    }
    let services = match incident.services.as_slice() {
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [one, others @ ..] => format!("{one} and {} others", others.len()),
        [] => String::new(),
    };
    match incident.root_causes.first() {
        Some(cause) => format!("{first_metric} on {services}, likely caused by {}", cause.service),
        None => format!("{first_metric} on {services}"),
    }
}

/// Follows from what opened the incident alone, so that a replay gives the same.
fn incident_id(time_ms: i64, service: &str, series: &str) -> String {
    let key = format!("{time_ms}\n{service}\n{series}");
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(key.as_bytes()))
}

#[cfg(test)]
mod tests;
