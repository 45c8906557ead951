//! Incidents that no series shows: opened by what has changed in the evidence (see [`crate::watch`]).
//!
//! An open incident accounts for a change at a service that its cause explains as long as there is evidence at the cause itself, and then
//! for what goes on at that service, and for less at services that those call whom it hits: trouble that begins while a cause is quiet is not its doing. What its cause is shows in its
//! first minute, so until then it accounts for all that has to do with it. What nobody accounts for opens an incident.

use std::collections::BTreeSet;

use model::{Incident, IncidentState, Severity};

use super::open::{OpenIncident, StoredTrigger, add, incident_id};
use super::separation::{Member, Members};
use super::{Grouper, GrouperSettings};
use crate::evidence::Correlator;
use crate::graph::ServiceGraph;
use crate::watch::{self, Changed};

/// So long after there was evidence at its cause an incident accounts for what the cause explains; and so long its cause is not settled.
const FRESH_MS: i64 = 60_000;

impl Grouper {
    /// Looks at the evidence of the time before `now_ms`; returns the incidents that are opened by it.
    pub(super) fn watch(&mut self, now_ms: i64, correlator: &Correlator) -> Vec<Incident> {
        let graph = correlator.graph();
        let mut changes = watch::changed(correlator, now_ms);
        // Who has evidence at its cause is known before anybody accounts for what is related to it.
        let mut of_causes: Vec<f64> = Vec::new();
        for open in &mut self.open {
            let cause = open.cause().map(str::to_owned);
            let is_going_on = now_ms - open.evident_ms <= self.settings.open_within_ms;
            let at_cause =
                changes.iter().find(|change| is_going_on && Some(&change.service) == cause.as_ref());
            if at_cause.is_some() {
                open.evident_ms = now_ms;
                // It is not over while its cause shows.
                open.last_anomaly_ms = open.last_anomaly_ms.max(now_ms);
            }
            of_causes.push(at_cause.map_or(0.0, |change| change.strength));
        }
        let settings = &self.settings;
        changes.retain(|change| {
            let mut is_new = true;
            for (open, of_cause) in self.open.iter_mut().zip(&of_causes) {
                let is_weaker = change.strength < *of_cause;
                if open.accounts_for(&change.service, now_ms, settings, graph)
                    || (is_weaker && open.calls(&change.service, graph))
                {
                    open.evident.insert(change.service.clone(), now_ms);
                    is_new = false;
                }
            }
            is_new
        });
        let mut opened: Vec<Incident> = Vec::new();
        while let Some(first) = changes.first().cloned() {
            let is_of = |change: &Changed| graph.are_related(&first.service, &change.service);
            let (group, others) = changes.into_iter().partition(is_of);
            changes = others;
            let version = self.open_by_evidence(&group, now_ms, correlator);
            let is_first = opened.is_empty();
            // Those of one time with one first cause are one, and so are those with one that shows.
            opened.extend(version.map(|version| {
                let whole = self.told_by_an_older(now_ms, |older| {
                    let shows = now_ms - older.evident_ms <= FRESH_MS;
                    shows || (!is_first && older.incident.updated_ms >= now_ms)
                });
                whole.unwrap_or(version)
            }));
        }
        opened
    }

    /// `group` is not empty, the strongest first.
    fn open_by_evidence(
        &mut self,
        group: &[Changed],
        now_ms: i64,
        correlator: &Correlator,
    ) -> Option<Incident> {
        let first = group.first()?;
        let graph = correlator.graph();
        // Of all that has to do with each other those that may suffer from the one with the strongest evidence belong to it for sure.
        let hit = || group.iter().filter(|change| graph.explains(&first.service, &change.service));
        let opened_ms = hit().map(|change| change.since_ms).min()?;
        let mut members = Members::new();
        for change in hit() {
            let member = Member {
                first_ms: change.since_ms,
                last_ms: now_ms,
                anomalies: 1,
                severity: Severity::Warning,
                metric: change.subject.clone(),
                trace_ids: Vec::new(),
            };
            add(&mut members, &change.service, member);
        }
        // Series that are suspect at the same time belong to it.
        let (from_ms, hops_max) = (now_ms - self.settings.open_within_ms, self.settings.hops_max);
        let mut wait_until_ms = now_ms;
        for (key, suspect) in &mut self.suspects {
            let is_near = suspect.last_ms >= from_ms
                && !suspect.is_member
                && suspect.run >= self.settings.sustained_run
                && graph.distance(&suspect.service, &first.service, hops_max).is_some();
            if is_near {
                self.aftermath.remember(*key, suspect);
                add(&mut members, &suspect.service, suspect.as_member());
                wait_until_ms = wait_until_ms.max(suspect.last_ms.saturating_add(suspect.wait_ms()));
                suspect.is_member = true;
            }
        }
        let services: BTreeSet<String> = members.keys().cloned().collect();
        let incident = Incident {
            incident: incident_id(opened_ms, &first.service, &first.subject),
            version: 1,
            state: IncidentState::Open,
            severity: members.values().map(|member| member.severity).max().unwrap_or(Severity::Warning),
            title: String::new(),
            opened_ms,
            updated_ms: now_ms,
            resolved_ms: None,
            services: services.into_iter().collect(),
            root_causes: Vec::new(),
            changes: Vec::new(),
            anomalies: members.values().map(|member| member.anomalies).sum(),
            exemplar_trace_ids: Vec::new(),
            split_from: None,
            merged_into: None,
            amended: false,
        };
        let trigger = StoredTrigger { time_ms: opened_ms - self.settings.guard_ms, errors: None };
        let version = self.start(incident, trigger, now_ms, first.subject.clone(), members, correlator);
        if version.is_some()
            && let Some(open) = self.open.last_mut()
        {
            open.wait_until_ms = wait_until_ms;
            open.evident = group.iter().map(|change| (change.service.clone(), now_ms)).collect();
        }
        version
    }
}

impl OpenIncident {
    /// Whether it was opened by evidence of which more is to come.
    pub(super) fn is_unsettled(&self, now_ms: i64) -> bool {
        !self.evident.is_empty() && now_ms - self.noticed_ms < FRESH_MS
    }

    /// Whether one of those that it hits calls a service: that is asked for other things then, or for fewer.
    fn calls(&self, service: &str, graph: &ServiceGraph) -> bool {
        self.members.keys().any(|member| graph.explains(service, member))
    }

    fn cause(&self) -> Option<&str> {
        self.root.as_deref().or(self.first_cause())
    }

    fn accounts_for(
        &self,
        service: &str,
        now_ms: i64,
        settings: &GrouperSettings,
        graph: &ServiceGraph,
    ) -> bool {
        // Somebody is looking already.
        if self.by_hand {
            return true;
        }
        let last_ms = self.evident.get(service).copied();
        let is_known = last_ms.is_some_and(|last_ms| now_ms - last_ms <= settings.open_within_ms);
        let is_new = now_ms - self.noticed_ms < FRESH_MS;
        let is_explained =
            |cause: &str| graph.explains(cause, service) || (is_new && graph.are_related(cause, service));
        is_known || (now_ms - self.evident_ms <= FRESH_MS && self.cause().is_some_and(is_explained))
    }
}
