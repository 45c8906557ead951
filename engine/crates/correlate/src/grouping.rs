//! Groups anomalies into incidents by time and by distance in the call graph.
//!
//! An anomaly joins the open incident that has had anomalies within five minutes on a service at most two hops away; on a
//! service that is new to the incident, within two.
//! A series whose anomalies join none is a suspect until a point of it is normal: an incident opens when two measurements of
//! related services are anomalous at two points in a row, or when one is critically anomalous at three (see [`signals`]); and when
//! the evidence shows a change that no open incident accounts for (see [`evident`]). Causes are
//! ranked at opening and again 60, 120 and 180 s of event time later, when more of the fault is visible.
//!
//! Whenever causes are ranked again, an incident of which a part has a cause of its own (see [`separation`]) is split, and
//! incidents that have the same first cause are merged: the younger ends.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use model::{Anomaly, Incident, IncidentState, SeriesId, Severity};
use serde::{Deserialize, Serialize};

use crate::evidence::Correlator;
use crate::graph::ServiceGraph;
use crate::ranking::{MetricRole, role_of};

mod aftermath;
mod amendment;
mod evident;
mod open;
mod separation;
mod signals;

use aftermath::Aftermath;
use open::{OpenIncident, StoredTrigger, add, incident_id, rank};
use separation::{CONVINCING, Member, Members, UNCONVINCING, separate_causes};
use signals::{is_left_to_evidence, opens_alone, signal};

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

/// An incident waits for so many points of a series that was anomalous last, and at most so long, if that is more than other series are
/// waited for.
const WAIT_INTERVALS: f64 = 3.5;
const WAIT_MS_MAX: f64 = 3.0 * 3_600_000.0;

/// After a member that the first cause does not explain, so much of its own trouble is waited for.
const REVIEW_AFTER_MS: i64 = 60_000;

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
    /// Of its newest anomaly with any.
    #[serde(default)]
    trace_ids: Vec<String>,
    /// Where it was expected at the first of them.
    #[serde(default)]
    lower: f64,
    #[serde(default)]
    upper: f64,
    /// Between the newest two.
    #[serde(default)]
    interval_ms: i64,
    /// It was taken into an incident.
    #[serde(default)]
    is_member: bool,
}

/// Hash of the labels of a series.
type SeriesKey = u128;

/// Takes anomalies in event-time order and opens, updates and resolves incidents.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Grouper {
    settings: GrouperSettings,
    suspects: BTreeMap<SeriesKey, Suspect>,
    #[serde(default)]
    aftermath: Aftermath,
    open: Vec<OpenIncident>,
    /// Incidents that were not opened because too many were open.
    suppressed: u64,
    /// Anomalies that were not taken in because too many series were suspect.
    suspects_refused: u64,
}

impl Suspect {
    fn new(anomaly: &Anomaly) -> Self {
        Self {
            first_ms: anomaly.time_ms,
            last_ms: i64::MIN,
            service: anomaly.service.clone(),
            metric: anomaly.metric.clone(),
            severity: anomaly.severity,
            anomalies: 0,
            run: 0,
            critical_run: 0,
            lower: anomaly.lower,
            upper: anomaly.upper,
            interval_ms: 0,
            is_member: false,
            trace_ids: Vec::new(),
        }
    }

    /// How long an incident waits for its next anomaly, which comes at its own pace.
    fn wait_ms(&self) -> i64 {
        (WAIT_INTERVALS * self.interval_ms as f64).min(WAIT_MS_MAX) as i64
    }

    /// How long it is a suspect without a point: while its pace is not known, as long as it may be.
    fn kept_ms(&self) -> i64 {
        if self.interval_ms > 0 { self.wait_ms() } else { WAIT_MS_MAX as i64 }
    }

    fn observe(&mut self, anomaly: &Anomaly) {
        let is_critical = anomaly.severity == Severity::Critical;
        self.anomalies += 1;
        self.severity = self.severity.max(anomaly.severity);
        // Two detectors on one point are one point.
        if anomaly.time_ms > self.last_ms {
            if self.run > 0 {
                self.interval_ms = anomaly.time_ms.saturating_sub(self.last_ms);
            }
            self.run += 1;
            self.critical_run = if is_critical { self.critical_run + 1 } else { 0 };
        } else if is_critical && self.critical_run == 0 {
            self.critical_run = 1;
        }
        self.last_ms = self.last_ms.max(anomaly.time_ms);
        if !anomaly.exemplar_trace_ids.is_empty() {
            self.trace_ids.clone_from(&anomaly.exemplar_trace_ids);
        }
    }

    /// What is less began earlier; of one time each has its place.
    fn age(&self) -> (i64, &str, &str) {
        (self.first_ms, &self.service, &self.metric)
    }

    fn as_member(&self) -> Member {
        Member {
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            anomalies: self.anomalies,
            severity: self.severity,
            metric: self.metric.clone(),
            trace_ids: self.trace_ids.clone(),
        }
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
        if self.aftermath.is_return(key, anomaly) {
            self.suspects.remove(&key);
            return Vec::new();
        }
        let suspect = self.suspects.entry(key).or_insert_with(|| Suspect::new(anomaly));
        suspect.observe(anomaly);
        let is_sustained = suspect.run >= self.settings.sustained_run;
        if let Some(at) = self.find(&anomaly.service, anomaly.time_ms, graph) {
            // A single point is chance: it neither prolongs an incident nor draws a service into it.
            return if is_sustained { self.join(at, key, anomaly, graph) } else { Vec::new() };
        }
        let Some(suspect) = self.suspects.get_mut(&key) else { return Vec::new() };
        if suspect.is_member {
            // Its incident is over, which is not begun by the same points again.
            *suspect = Suspect::new(anomaly);
            suspect.observe(anomaly);
        }
        let is_left = is_left_to_evidence(suspect, correlator);
        let is_enough = opens_alone(suspect, &self.settings);
        let settings = &self.settings;
        let from_ms = anomaly.time_ms - settings.open_within_ms;
        let is_related =
            |other: &Suspect| graph.distance(&other.service, &anomaly.service, settings.hops_max).is_some();
        let near = |other: &Suspect| other.last_ms >= from_ms && !other.is_member && is_related(other);
        if is_left {
            return Vec::new();
        }
        let sustained = self.suspects.values().filter(|other| {
            other.run >= settings.sustained_run && near(other) && !is_left_to_evidence(other, correlator)
        });
        let signals: BTreeSet<(&str, String)> = sustained.filter_map(signal).collect();
        if signals.len() < 2 && !is_enough {
            return Vec::new();
        }
        // It began with what opens it: what is left to the evidence may have been strange for long.
        let opens = |other: &Suspect| {
            !is_left_to_evidence(other, correlator)
                && (other.run >= settings.sustained_run && signal(other).is_some()
                    || opens_alone(other, settings))
        };
        let mut related: Vec<Suspect> = Vec::new();
        let mut first: Option<Suspect> = None;
        self.suspects.retain(|key, other| {
            if near(other) {
                if opens(other) && first.as_ref().is_none_or(|first| other.age() < first.age()) {
                    first = Some(other.clone());
                }
                self.aftermath.remember(*key, other);
                related.push(other.clone());
                other.is_member = true;
            }
            other.is_member || !is_related(other)
        });
        match first {
            Some(first) => self.open(&first, &related, anomaly.time_ms, correlator),
            None => Vec::new(),
        }
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
            exemplar_trace_ids: Vec::new(),
            split_from: None,
            merged_into: None,
            amended: false,
        };
        self.start(incident, trigger, now_ms, String::new(), Members::new(), correlator)
    }

    /// Event time has reached `watermark_ms`: ranks again what is due and resolves what has been quiet.
    /// Call it at fixed steps of event time: which ranking is made does not depend on where batches end.
    pub fn advance(&mut self, watermark_ms: i64, correlator: &Correlator) -> Vec<Incident> {
        let opened = self.watch(watermark_ms, correlator);
        let settings = self.settings.clone();
        let mut roots = self.roots();
        let mut news = BTreeSet::new();
        let mut split = Vec::new();
        let open_count = self.open.len();
        let firsts: Vec<_> = self.open.iter().filter_map(OpenIncident::first).collect();
        let mut pinned: Vec<(String, String)> = Vec::new();
        for open in &mut self.open {
            let resolve_ms = open.resolve_ms(&settings);
            if open.take_amended() {
                news.insert(open.incident.incident.clone());
            }
            let (is_due, is_late) = (open.take_due(watermark_ms, &settings), open.take_late(watermark_ms));
            if !is_due && !is_late {
                continue;
            }
            let now_ms = watermark_ms.min(resolve_ms);
            let before = open.first_cause().map(str::to_owned);
            let first = rank(open, now_ms, &roots, &settings, correlator);
            let is_corrected = is_late && before.as_deref() != open.first_cause();
            open.incident.amended |= is_corrected;
            if !is_due && !is_corrected {
                continue;
            }
            news.insert(open.incident.incident.clone());
            if open.by_hand || resolve_ms <= watermark_ms {
                continue;
            }
            let Some(first) = first else { continue };
            let trigger = open.trigger.into();
            let mut separate =
                separate_causes(&open.members, &first, trigger, settings.guard_ms, now_ms, correlator);
            separate.retain(|separate| !open.rejoined.contains(&separate.cause));
            let first = first.cause.service;
            // What an older incident tells of is left to it; this one goes on with the rest.
            let age = (open.incident.opened_ms, open.incident.incident.clone());
            let teller = firsts.iter().find(|(other, cause)| *cause == first && *other < age);
            if let Some(((_, teller), _)) = teller.filter(|_| !separate.is_empty()) {
                let own = separate.remove(0).cause;
                open.keep(&own, &first, correlator.graph());
                pinned.push((teller.clone(), first.clone()));
                roots.extend([own, first.clone()]);
            }
            let first = open.root.clone().unwrap_or(first);
            for separate in separate {
                if split.len() + open_count >= settings.open_max {
                    self.suppressed += 1;
                    continue;
                }
                split.push(open.split_off(&separate, &first, now_ms, &settings, correlator.graph()));
                roots.extend([separate.cause, first.clone()]);
            }
            if open.root.is_some() {
                rank(open, now_ms, &roots, &settings, correlator);
            }
        }
        for (incident, cause) in pinned {
            let other = self.open.iter_mut().find(|open| open.incident.incident == incident);
            if let Some(other) = other.filter(|other| other.root.is_none()) {
                other.root = Some(cause);
            }
        }
        for mut part in split {
            news.insert(part.incident.incident.clone());
            rank(&mut part, watermark_ms, &roots, &settings, correlator);
            self.open.push(part);
        }
        let mut versions = opened;
        versions.extend(self.merge(watermark_ms, &mut news, correlator));
        self.open.retain_mut(|open| {
            let mut resolve_ms = open.resolve_ms(&settings);
            if open.is_withdrawn() {
                resolve_ms = resolve_ms.min(watermark_ms);
            }
            let is_over = resolve_ms <= watermark_ms;
            if open.incident.version == 0 {
                open.incident.version = 1;
                versions.push(open.incident.clone());
            } else if is_over || news.contains(&open.incident.incident) {
                open.incident.version += 1;
                open.incident.state = if is_over { IncidentState::Resolved } else { IncidentState::Updated };
                open.incident.updated_ms = watermark_ms;
                open.incident.resolved_ms = is_over.then_some(resolve_ms);
                versions.push(open.incident.clone());
            }
            !is_over
        });
        self.aftermath.advance(watermark_ms);
        let forget_ms = watermark_ms.saturating_sub(settings.gap_ms.max(settings.open_within_ms) * 3);
        self.suspects.retain(|_, suspect| suspect.last_ms.saturating_add(suspect.kept_ms()) >= forget_ms);
        versions
    }

    /// Opens and ranks incidents with what is known at `now_ms`, as at the end of a recording.
    pub fn rank_open(&mut self, now_ms: i64, correlator: &Correlator) -> Vec<Incident> {
        let mut versions = self.watch(now_ms, correlator);
        let settings = &self.settings;
        let roots: BTreeSet<String> = self.open.iter().filter_map(|open| open.root.clone()).collect();
        let ranked = self.open.iter_mut().map(|open| {
            rank(open, now_ms, &roots, settings, correlator);
            open.incident.version += 1;
            open.incident.state = IncidentState::Updated;
            open.incident.updated_ms = now_ms;
            open.incident.clone()
        });
        versions.extend(ranked);
        versions
    }

    /// The newest versions of the open incidents.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.open.iter().map(|open| &open.incident)
    }

    /// Incidents that were not opened because too many were open.
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// The open incident whose cause explains trouble of `service`, and that is closest to it; of equals the one that has news of its
    /// own, then the older.
    fn find(&self, service: &str, time_ms: i64, graph: &ServiceGraph) -> Option<usize> {
        let near = self.open.iter().enumerate().filter_map(|(at, open)| {
            // A service that is new to an incident which has calmed down is a problem of its own.
            let knows = open.incident.services.iter().any(|known| known == service);
            let gap_ms =
                if knows || open.by_hand { self.settings.gap_ms } else { self.settings.open_within_ms };
            let is_waited_for = knows && time_ms <= open.wait_until_ms;
            let is_near_in_time = time_ms - open.last_anomaly_ms <= gap_ms || is_waited_for;
            let hops = open.incident.services.iter();
            let hops = hops.filter_map(|other| graph.distance(other, service, self.settings.hops_max)).min();
            // An incident that was opened by hand takes the first anomaly whatever its service.
            let hops = hops.or((open.incident.services.is_empty()).then_some(self.settings.hops_max));
            let is_strange = open.root.as_ref().is_some_and(|root| !graph.explains(root, service));
            hops.filter(|_| is_near_in_time).map(|hops| (is_strange, hops, Reverse(open.last_own_ms), at))
        });
        near.min().map(|(_, _, _, at)| at)
    }

    /// Ends incidents that turned out to be a part of older ones; returns their last versions.
    fn merge(&mut self, now_ms: i64, news: &mut BTreeSet<String>, correlator: &Correlator) -> Vec<Incident> {
        let mut ended = Vec::new();
        let mut at = 0;
        while at < self.open.len() {
            let Some(into) = self.merges_into(at, news, now_ms, correlator) else {
                at += 1;
                continue;
            };
            let mut younger = self.open.remove(at);
            let older = &mut self.open[if into > at { into - 1 } else { into }];
            older.take_in(&younger);
            if younger.incident.split_from.as_ref() == Some(&older.incident.incident) {
                older.rejoined.extend(younger.root.clone());
            }
            news.insert(older.incident.incident.clone());
            // One that was never told of need not be ended.
            if younger.incident.version > 0 {
                younger.incident.version += 1;
                younger.incident.state = IncidentState::Resolved;
                younger.incident.updated_ms = now_ms;
                younger.incident.resolved_ms = Some(now_ms);
                younger.incident.merged_into = Some(older.incident.incident.clone());
                ended.push(younger.incident);
            }
        }
        ended
    }

    /// The older incident that the one at `at` is a part of, judged when its causes or those of the other were ranked again.
    fn merges_into(
        &self,
        at: usize,
        news: &BTreeSet<String>,
        now_ms: i64,
        correlator: &Correlator,
    ) -> Option<usize> {
        let younger = &self.open[at];
        if younger.by_hand || younger.is_unsettled(now_ms) {
            return None;
        }
        let is_news = |open: &OpenIncident| news.contains(&open.incident.incident);
        let cause = younger.incident.root_causes.first().map(|cause| &cause.service);
        // One that was never told of counts as the youngest.
        let age = |at: usize| (self.open[at].incident.version == 0, self.open[at].incident.opened_ms, at);
        self.open.iter().enumerate().position(|(other_at, other)| {
            if other_at == at || other.by_hand || !(is_news(younger) || is_news(other)) {
                return false;
            }
            if younger.incident.split_from.as_ref() == Some(&other.incident.incident) {
                // What was split off and has no cause of its own any more goes back.
                let is_unconvincing = || {
                    let ranked = correlator.ranked_for(&younger.trigger.into(), now_ms);
                    let own =
                        ranked.iter().find(|ranked| Some(&ranked.cause.service) == younger.root.as_ref());
                    own.is_none_or(|own| own.conviction < UNCONVINCING)
                };
                return is_news(younger) && younger.incident.version > 0 && is_unconvincing();
            }
            let other_cause = other.incident.root_causes.first().map(|cause| &cause.service);
            let met = younger.incident.opened_ms - other.last_anomaly_ms <= self.settings.open_within_ms;
            age(other_at) < age(at) && cause.is_some() && cause == other_cause && met
        })
    }

    /// The causes of incidents that were split by them.
    fn roots(&self) -> BTreeSet<String> {
        self.open.iter().filter_map(|open| open.root.clone()).collect()
    }

    /// A new version only when the anomaly tells something new: another service or a higher severity.
    fn join(&mut self, at: usize, key: SeriesKey, anomaly: &Anomaly, graph: &ServiceGraph) -> Vec<Incident> {
        let is_own = {
            let root = self.open[at].root.as_deref();
            let others = self.open.iter().filter_map(|other| other.root.as_deref());
            root.is_none()
                || !others
                    .filter(|other| Some(*other) != root)
                    .any(|other| graph.explains(other, &anomaly.service))
        };
        let open = &mut self.open[at];
        open.last_anomaly_ms = open.last_anomaly_ms.max(anomaly.time_ms);
        if let Some(suspect) = self.suspects.get_mut(&key) {
            self.aftermath.remember(key, suspect);
            suspect.is_member = true;
            open.wait_until_ms = open.wait_until_ms.max(anomaly.time_ms.saturating_add(suspect.wait_ms()));
        }
        if is_own {
            open.last_own_ms = open.last_own_ms.max(anomaly.time_ms);
        }
        let member = Member {
            first_ms: anomaly.time_ms,
            last_ms: anomaly.time_ms,
            anomalies: 1,
            severity: anomaly.severity,
            metric: anomaly.metric.clone(),
            trace_ids: anomaly.exemplar_trace_ids.clone(),
        };
        let is_new = add(&mut open.members, &anomaly.service, member);
        if is_new
            && let Some(cause) = open.incident.root_causes.first()
            && !graph.are_related(&cause.service, &anomaly.service)
        {
            open.review_ms = open.review_ms.or(Some(anomaly.time_ms + REVIEW_AFTER_MS));
        }
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
        open.entitle();
        open.exemplify();
        vec![open.incident.clone()]
    }

    fn open(
        &mut self,
        first: &Suspect,
        suspects: &[Suspect],
        now_ms: i64,
        correlator: &Correlator,
    ) -> Vec<Incident> {
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
            exemplar_trace_ids: Vec::new(),
            split_from: None,
            merged_into: None,
            amended: false,
        };
        let mut members = Members::new();
        for suspect in suspects {
            add(&mut members, &suspect.service, suspect.as_member());
        }
        let opened = self.start(incident, trigger, now_ms, first.metric.clone(), members, correlator);
        if let Some(open) = self.open.last_mut().filter(|_| opened.is_some()) {
            let waits = suspects.iter().map(|suspect| suspect.last_ms.saturating_add(suspect.wait_ms()));
            open.wait_until_ms = waits.max().unwrap_or(now_ms);
        }
        opened.map(|opened| self.told_by_an_older(now_ms, |_| true).unwrap_or(opened)).into_iter().collect()
    }

    /// What was just opened has the first cause of an older incident that goes on and may tell of it: it becomes a part of that one, without
    /// being told of by itself.
    fn told_by_an_older(
        &mut self,
        now_ms: i64,
        may_tell: impl Fn(&OpenIncident) -> bool,
    ) -> Option<Incident> {
        let (newest, older) = self.open.split_last_mut()?;
        // By chance anything may come first.
        let cause = newest.incident.root_causes.first().filter(|cause| cause.score >= CONVINCING)?;
        let cause = cause.service.as_str();
        let is_of_it = |open: &&mut OpenIncident| {
            let is_going_on =
                newest.incident.opened_ms - open.last_anomaly_ms <= self.settings.open_within_ms;
            !open.by_hand && is_going_on && may_tell(open) && open.first_cause() == Some(cause)
        };
        let open = older.iter_mut().find(is_of_it)?;
        open.take_in(newest);
        open.incident.version += 1;
        open.incident.state = IncidentState::Updated;
        open.incident.updated_ms = now_ms;
        let version = open.incident.clone();
        self.open.pop();
        Some(version)
    }

    fn start(
        &mut self,
        incident: Incident,
        trigger: StoredTrigger,
        now_ms: i64,
        first_metric: String,
        members: Members,
        correlator: &Correlator,
    ) -> Option<Incident> {
        if self.open.len() >= self.settings.open_max {
            self.suppressed += 1;
            return None;
        }
        let by_hand = first_metric.is_empty();
        let mut open = OpenIncident {
            incident,
            trigger,
            last_anomaly_ms: now_ms,
            ranked: 0,
            first_metric,
            by_hand,
            members,
            last_own_ms: now_ms,
            root: None,
            rejoined: BTreeSet::new(),
            review_ms: None,
            ranked_ms: 0,
            late_ms: None,
            is_amended: false,
            wait_until_ms: now_ms,
            noticed_ms: now_ms,
            evident_ms: now_ms,
            evident: BTreeMap::new(),
        };
        let roots = self.roots();
        rank(&mut open, now_ms, &roots, &self.settings, correlator);
        let version = open.incident.clone();
        self.open.push(open);
        Some(version)
    }
}

#[cfg(test)]
mod tests;
