//! What becomes of incidents when data that came late correct what they were opened or ranked by.

use model::{Anomaly, Severity};

use super::{Grouper, OpenIncident, REVIEW_AFTER_MS};
use crate::collector::TraceEvidence;
use crate::evidence::{BUCKET_MS, Correlator};
use crate::traces::COMPLETE_AFTER_MS;

impl Grouper {
    /// An anomaly was told that is none: it counts no longer. An incident that has no others ends with the next step.
    pub fn withdraw(&mut self, anomaly: &Anomaly) {
        let key = anomaly.labels.id().0;
        if let Some(suspect) = self.suspects.get_mut(&key) {
            suspect.anomalies = suspect.anomalies.saturating_sub(1);
            suspect.run = suspect.run.saturating_sub(1);
            suspect.critical_run = suspect.critical_run.min(suspect.run);
            if suspect.run == 0 {
                self.suspects.remove(&key);
            }
        }
        for open in &mut self.open {
            let is_of = |first_ms: i64, last_ms: i64| (first_ms..=last_ms).contains(&anomaly.time_ms);
            let Some(member) = open.members.get_mut(&anomaly.service) else { continue };
            if !is_of(member.first_ms, member.last_ms) {
                continue;
            }
            member.anomalies = member.anomalies.saturating_sub(1);
            open.incident.anomalies = open.incident.anomalies.saturating_sub(1);
            open.is_amended = true;
            if member.anomalies > 0 {
                continue;
            }
            if open.members.len() > 1 {
                open.members.remove(&anomaly.service);
                open.incident.services = open.members.keys().cloned().collect();
                open.incident.severity =
                    open.members.values().map(|member| member.severity).max().unwrap_or(Severity::Info);
            } else {
                // It keeps its name, so that one sees what was withdrawn.
                open.incident.anomalies = 0;
            }
        }
    }

    /// Traces came: incidents are ranked again that were ranked when these should have been known.
    pub fn review_after(&mut self, evidence: &TraceEvidence, correlator: &Correlator) {
        for open in &mut self.open {
            let is_late = |bucket: i64| {
                let start_ms = bucket.saturating_mul(BUCKET_MS);
                let known_ms = start_ms.saturating_add(BUCKET_MS + COMPLETE_AFTER_MS);
                start_ms >= open.trigger.time_ms && known_ms <= open.ranked_ms
            };
            if evidence.buckets.iter().any(|(bucket, _)| is_late(*bucket)) {
                open.late_ms.get_or_insert(correlator.watermark_ms().saturating_add(REVIEW_AFTER_MS));
            }
        }
    }
}

impl OpenIncident {
    /// Whether all that it was opened for was withdrawn.
    pub fn is_withdrawn(&self) -> bool {
        let has_none = || self.members.values().all(|member| member.anomalies == 0);
        self.incident.amended && !self.by_hand && has_none()
    }

    /// Whether causes are to be ranked again because of late traces by now; that is noted as done.
    pub fn take_late(&mut self, now_ms: i64) -> bool {
        self.late_ms.take_if(|late_ms| *late_ms <= now_ms).is_some()
    }

    /// Whether anomalies were withdrawn since the last version; the next one says so.
    pub fn take_amended(&mut self) -> bool {
        let is_amended = std::mem::take(&mut self.is_amended);
        self.incident.amended |= is_amended;
        is_amended
    }
}
