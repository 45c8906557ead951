//! An open incident: its members and causes, and what becomes of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use model::{Incident, IncidentState, Severity};
use serde::{Deserialize, Serialize};

use super::GrouperSettings;
use super::separation::{Member, Members, Separate};
use crate::evidence::Correlator;
use crate::graph::ServiceGraph;
use crate::ranking::{Family, Ranked, Trigger, confidence};

/// An incident that was opened by hand waits this many times longer for anomalies before it is resolved.
const BY_HAND_PATIENCE: i64 = 6;
/// Traces that an incident names.
const EXEMPLARS_MAX: usize = 5;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OpenIncident {
    pub incident: Incident,
    pub trigger: StoredTrigger,
    pub last_anomaly_ms: i64,
    /// Its series are waited for until then, since they have points seldom.
    #[serde(default)]
    pub wait_until_ms: i64,
    /// Rankings done after the first one.
    pub ranked: usize,
    pub first_metric: String,
    /// Somebody asked: every service is ranked, and it stays open longer without anomalies.
    pub by_hand: bool,
    /// What is known of each of its services.
    #[serde(default)]
    pub members: Members,
    /// The newest anomaly that no other incident explains.
    #[serde(default)]
    pub last_own_ms: i64,
    /// The first cause, once the incident is one of several that were split by their causes.
    #[serde(default)]
    pub root: Option<String>,
    /// What was a cause of its own for a while and turned out not to be: it is not split off again.
    #[serde(default)]
    pub rejoined: BTreeSet<String>,
    /// A member came that the first cause does not explain: causes are ranked again at this time.
    #[serde(default)]
    pub review_ms: Option<i64>,
    /// Event time of the last ranking.
    #[serde(default)]
    pub ranked_ms: i64,
    /// Traces came that a ranking should have known: causes are ranked again at this time.
    #[serde(default)]
    pub late_ms: Option<i64>,
    /// Anomalies were withdrawn since the last version.
    #[serde(default)]
    pub is_amended: bool,
    /// When it was opened, event time: later than what it was opened for.
    #[serde(default)]
    pub noticed_ms: i64,
    /// When there was evidence of a change at its cause the last time, or when it was opened.
    #[serde(default)]
    pub evident_ms: i64,
    /// Services with evidence that it accounts for, and when they had it the last time.
    #[serde(default)]
    pub evident: BTreeMap<String, i64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct StoredTrigger {
    pub time_ms: i64,
    pub errors: Option<bool>,
}

impl From<StoredTrigger> for Trigger {
    fn from(stored: StoredTrigger) -> Self {
        let family = stored.errors.map(|errors| if errors { Family::Errors } else { Family::Latency });
        Self { time_ms: stored.time_ms, family }
    }
}

impl OpenIncident {
    /// When it is over if nothing more comes.
    pub fn resolve_ms(&self, settings: &GrouperSettings) -> i64 {
        let patience = if self.by_hand { BY_HAND_PATIENCE } else { 1 };
        let quiet_ms = self.last_anomaly_ms.saturating_add(patience * settings.resolve_after_ms);
        quiet_ms.max(self.wait_until_ms)
    }

    /// Whether causes are to be ranked again by now; that is noted as done.
    pub fn take_due(&mut self, now_ms: i64, settings: &GrouperSettings) -> bool {
        let mut is_due = self.review_ms.take_if(|review_ms| *review_ms <= now_ms).is_some();
        while let Some(after_ms) = settings.rank_after_ms.get(self.ranked)
            && self.incident.opened_ms + after_ms <= now_ms
        {
            self.ranked += 1;
            is_due = true;
        }
        is_due
    }

    pub fn first_cause(&self) -> Option<&str> {
        self.incident.root_causes.first().map(|cause| cause.service.as_str())
    }

    /// Gives it its title: what was noticed, where first, and the likeliest cause.
    pub fn entitle(&mut self) {
        self.incident.title = self.title();
    }

    fn title(&self) -> String {
        let cause = self.first_cause();
        let first = self.members.iter().filter(|(_, member)| member.metric == self.first_metric);
        let first =
            first.min_by_key(|(service, member)| (member.first_ms, *service)).map(|(service, _)| service);
        let Some(first) = first.or(self.incident.services.first()) else {
            return match cause {
                Some(cause) => format!("Opened by hand, likely caused by {cause}"),
                None => "Opened by hand".to_owned(),
            };
        };
        let others: Vec<&String> =
            self.incident.services.iter().filter(|service| *service != first).collect();
        let where_else = match others.as_slice() {
            [] => String::new(),
            [other] => format!(" and {other}"),
            others => format!(" and {} others", others.len()),
        };
        let noticed = format!("{} on {first}{where_else}", self.first_metric);
        match cause {
            Some(cause) => format!("{noticed}, likely caused by {cause}"),
            None => noticed,
        }
    }

    /// Names traces that show it: those of the first cause, then of who suffers most.
    pub fn exemplify(&mut self) {
        let cause = self.first_cause();
        let mut members: Vec<(&String, &Member)> = self.members.iter().collect();
        members.sort_by_key(|(service, member)| {
            (Some(service.as_str()) != cause, Reverse((member.severity, member.anomalies)))
        });
        let mut trace_ids: Vec<String> = Vec::new();
        for trace_id in members.into_iter().flat_map(|(_, member)| &member.trace_ids) {
            if trace_ids.len() < EXEMPLARS_MAX && !trace_ids.contains(trace_id) {
                trace_ids.push(trace_id.clone());
            }
        }
        self.incident.exemplar_trace_ids = trace_ids;
    }

    /// When it opened and which it is, and its first cause; unless it was opened by hand.
    pub fn first(&self) -> Option<((i64, String), String)> {
        let cause = self.incident.root_causes.first().filter(|_| !self.by_hand)?;
        Some(((self.incident.opened_ms, self.incident.incident.clone()), cause.service.clone()))
    }

    /// Goes on with `cause`, without the members that only `first` explains.
    pub fn keep(&mut self, cause: &str, first: &str, graph: &ServiceGraph) {
        self.members.retain(|service, _| !graph.explains(first, service) || graph.explains(cause, service));
        self.incident.services = self.members.keys().cloned().collect();
        self.root = Some(cause.to_owned());
    }

    /// Takes the members that only `separate` explains out, into an incident of their own that is not ranked yet. Those that both
    /// explain are in both.
    pub fn split_off(
        &mut self,
        separate: &Separate,
        first: &str,
        now_ms: i64,
        settings: &GrouperSettings,
        graph: &ServiceGraph,
    ) -> Self {
        let Separate { cause, first_ms } = separate;
        let taken: Members = self
            .members
            .iter()
            .filter(|(service, _)| graph.explains(cause, service))
            .map(|(service, member)| (service.clone(), member.clone()))
            .collect();
        self.members.retain(|service, _| !graph.explains(cause, service) || graph.explains(first, service));
        let own = |service: &String| !graph.explains(first, service);
        let own_members = || taken.iter().filter(|(service, _)| own(service)).map(|(_, member)| member);
        let first_member = own_members().min_by_key(|member| (member.first_ms, &member.metric));
        let first_metric = first_member.map_or_else(String::new, |member| member.metric.clone());
        let last_ms = own_members().map(|member| member.last_ms).max().unwrap_or(*first_ms);
        let incident = Incident {
            // Of the incident that it comes from and the cause, which are split once.
            incident: incident_id(self.incident.opened_ms, &self.incident.incident, cause),
            version: 0,
            state: IncidentState::Open,
            severity: own_members().map(|member| member.severity).max().unwrap_or(Severity::Info),
            title: String::new(),
            opened_ms: *first_ms,
            updated_ms: now_ms,
            resolved_ms: None,
            services: taken.keys().cloned().collect(),
            root_causes: Vec::new(),
            changes: Vec::new(),
            anomalies: own_members().map(|member| member.anomalies).sum(),
            exemplar_trace_ids: Vec::new(),
            split_from: Some(self.incident.incident.clone()),
            merged_into: None,
            amended: false,
        };
        self.root = Some(first.to_owned());
        self.incident.services = self.members.keys().cloned().collect();
        self.incident.anomalies = self.incident.anomalies.saturating_sub(incident.anomalies);
        self.incident.severity =
            self.members.values().map(|member| member.severity).max().unwrap_or(Severity::Info);
        let left_ms = self
            .members
            .iter()
            .filter(|(service, _)| !graph.explains(cause, service))
            .map(|(_, member)| member.last_ms)
            .max();
        self.last_own_ms = left_ms.unwrap_or(*first_ms);
        let mut part = Self {
            trigger: StoredTrigger { time_ms: first_ms - settings.guard_ms, errors: None },
            incident,
            last_anomaly_ms: last_ms,
            wait_until_ms: self.wait_until_ms,
            ranked: 0,
            first_metric,
            by_hand: false,
            members: taken,
            last_own_ms: last_ms,
            root: Some(cause.clone()),
            rejoined: BTreeSet::new(),
            review_ms: None,
            ranked_ms: 0,
            late_ms: None,
            is_amended: false,
            noticed_ms: now_ms,
            evident_ms: now_ms,
            evident: BTreeMap::new(),
        };
        part.take_due(now_ms, settings);
        part
    }

    /// Takes all members of another in.
    pub fn take_in(&mut self, other: &Self) {
        for (service, member) in &other.members {
            add(&mut self.members, service, member.clone());
        }
        self.incident.anomalies += other.incident.anomalies;
        let services: BTreeSet<&String> =
            self.incident.services.iter().chain(&other.incident.services).collect();
        self.incident.services = services.into_iter().cloned().collect();
        self.incident.severity = self.incident.severity.max(other.incident.severity);
        self.last_anomaly_ms = self.last_anomaly_ms.max(other.last_anomaly_ms);
        self.last_own_ms = self.last_own_ms.max(other.last_own_ms);
        self.wait_until_ms = self.wait_until_ms.max(other.wait_until_ms);
        self.evident_ms = self.evident_ms.max(other.evident_ms);
        for (service, last_ms) in &other.evident {
            let known_ms = self.evident.entry(service.clone()).or_insert(*last_ms);
            *known_ms = (*known_ms).max(*last_ms);
        }
        self.entitle();
    }
}

/// Adds to what is known of a service; returns whether nothing was.
pub(super) fn add(members: &mut Members, service: &str, new: Member) -> bool {
    let Some(member) = members.get_mut(service) else {
        members.insert(service.to_owned(), new);
        return true;
    };
    member.last_ms = member.last_ms.max(new.last_ms);
    member.anomalies += new.anomalies;
    if !new.trace_ids.is_empty() {
        member.trace_ids = new.trace_ids;
    }
    member.severity = member.severity.max(new.severity);
    if new.first_ms < member.first_ms {
        (member.first_ms, member.metric) = (new.first_ms, new.metric);
    }
    false
}

/// Ranks the causes of an incident. Those that are `roots` of others are not its own. Returns the first.
pub(super) fn rank(
    open: &mut OpenIncident,
    now_ms: i64,
    roots: &BTreeSet<String>,
    settings: &GrouperSettings,
    correlator: &Correlator,
) -> Option<Ranked> {
    let mut ranked = correlator.ranked_for(&open.trigger.into(), now_ms);
    if !open.by_hand {
        let graph = correlator.graph();
        ranked.retain(|ranked| ranked.cause.score > 0.0);
        // What no call leads to did not cause it, however loud it is at the same time. Without any calls nobody knows.
        if !graph.is_empty() {
            let related = graph.connected(&open.incident.services);
            ranked.retain(|ranked| related.contains(ranked.cause.service.as_str()));
        }
        if let Some(root) = &open.root {
            ranked.retain(|Ranked { cause, .. }| {
                cause.service == *root
                    || (!roots.contains(&cause.service) && graph.are_related(root, &cause.service))
            });
        }
    }
    confidence::assign(&mut ranked);
    if !open.by_hand {
        ranked.truncate(settings.causes_max);
    }
    let first = ranked.first().cloned();
    open.ranked_ms = now_ms;
    open.incident.root_causes = ranked.into_iter().map(|ranked| ranked.cause).collect();
    open.incident.changes = correlator.changes_near(open.trigger.time_ms, settings.changes_before_ms, now_ms);
    open.entitle();
    open.exemplify();
    first
}

/// Follows from what opened the incident alone, so that a replay gives the same.
pub(super) fn incident_id(time_ms: i64, service: &str, series: &str) -> String {
    let key = format!("{time_ms}\n{service}\n{series}");
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(key.as_bytes()))
}
