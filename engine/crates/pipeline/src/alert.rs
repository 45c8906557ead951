//! Alerts from incidents: firing when one opens, again when what it says changes, resolved when it ends.
//!
//! The labels of an alert, and so its fingerprint, are fixed when it first fires. A later version of the incident is
//! told again only if the first-ranked cause or the severity changed, so that nobody is paged for bookkeeping.

use std::collections::BTreeMap;

use model::{Alert, AlertState, Incident, IncidentState};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::budget::Decision;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    labels: BTreeMap<String, String>,
    fingerprint: String,
    cause: Option<String>,
    severity: model::Severity,
}

/// Remembers what was told of each open incident; the number of those is bounded by the grouping.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AlertStage {
    open: BTreeMap<String, Told>,
}

impl AlertStage {
    /// With a budget of pages, `decision` is what it says of the incident.
    pub fn on_incident(&mut self, incident: &Incident, decision: Option<&Decision>) -> Option<Alert> {
        let severity = decision.map_or(incident.severity, |decision| decision.severity(incident.severity));
        let alert = |told: &Told, state| alert(incident, told, state, decision);
        let cause = incident.root_causes.first().map(|cause| cause.service.clone());
        if incident.state == IncidentState::Resolved {
            let told = self.open.remove(&incident.incident)?;
            let told = Told { severity, ..told };
            return Some(alert(&told, AlertState::Resolved));
        }
        if let Some(told) = self.open.get_mut(&incident.incident) {
            if told.cause == cause && told.severity == severity {
                return None;
            }
            told.cause = cause;
            told.severity = severity;
            return Some(alert(told, AlertState::Firing));
        }
        let service = cause.clone().or_else(|| incident.services.first().cloned()).unwrap_or_default();
        let labels = BTreeMap::from([
            ("alertname".to_owned(), "ForeshockIncident".to_owned()),
            ("incident".to_owned(), incident.incident.clone()),
            ("service".to_owned(), service),
            ("severity".to_owned(), severity.as_str().to_owned()),
        ]);
        let told = Told { fingerprint: fingerprint(&labels), labels, cause, severity };
        let alert = alert(&told, AlertState::Firing);
        self.open.insert(incident.incident.clone(), told);
        Some(alert)
    }
}

fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    let canonical = model::Labels::new(labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))).canonical();
    format!("{:016x}", xxh3_64(canonical.as_bytes()))
}

fn alert(incident: &Incident, told: &Told, state: AlertState, decision: Option<&Decision>) -> Alert {
    let mut annotations = BTreeMap::from([
        ("summary".to_owned(), incident.title.clone()),
        ("description".to_owned(), description(incident)),
    ]);
    if let Some(into) = &incident.merged_into {
        annotations.insert("resolution".to_owned(), format!("it is a part of incident {into}"));
    }
    if incident.amended {
        let what = match incident.state {
            IncidentState::Resolved if incident.anomalies == 0 => {
                "data that came late showed that nothing was wrong"
            }
            _ => "data that came late corrected what was said before",
        };
        annotations.insert("amended".to_owned(), what.to_owned());
    }
    if let Some(from) = &incident.split_from {
        annotations.insert("split_from".to_owned(), from.clone());
    }
    if let Some(decision) = decision {
        annotations.insert("budget".to_owned(), decision.reason.clone());
    }
    Alert {
        fingerprint: told.fingerprint.clone(),
        state,
        severity: told.severity,
        labels: told.labels.clone(),
        annotations,
        starts_ms: incident.opened_ms,
        ends_ms: incident.resolved_ms,
        incident: incident.incident.clone(),
        incident_version: incident.version,
    }
}

/// Causes with their strongest evidence, then the changes close in time: what one wants to read when paged.
fn description(incident: &Incident) -> String {
    let mut lines = Vec::new();
    for (rank, cause) in incident.root_causes.iter().take(3).enumerate() {
        let evidence: Vec<&str> = cause.evidence.iter().take(3).map(|e| e.summary.as_str()).collect();
        let evidence =
            if evidence.is_empty() { "no direct evidence".to_owned() } else { evidence.join("; ") };
        lines.push(format!(
            "{}. {} ({:.0} %): {evidence}",
            rank + 1,
            cause.service,
            100.0 * cause.confidence
        ));
    }
    lines.extend(
        incident.changes.iter().map(|change| format!("changed: {} on {}", change.summary, change.service)),
    );
    if lines.is_empty() {
        lines.push(format!("{} anomalies on {}", incident.anomalies, incident.services.join(", ")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use model::{RootCause, Severity};

    use super::*;

    fn incident(version: u32, state: IncidentState, cause: &str) -> Incident {
        Incident {
            incident: "inc-1".into(),
            version,
            state,
            severity: Severity::Critical,
            title: "slow cart".into(),
            opened_ms: 1_000,
            updated_ms: 2_000,
            resolved_ms: (state == IncidentState::Resolved).then_some(9_000),
            services: vec!["cart".into(), "frontend".into()],
            root_causes: vec![RootCause { service: cause.into(), score: 1.0, ..RootCause::default() }],
            changes: vec![],
            anomalies: 3,
            exemplar_trace_ids: Vec::new(),
            split_from: None,
            merged_into: None,
            amended: false,
        }
    }

    #[test]
    fn an_alert_fires_once_is_revised_and_resolved_under_one_fingerprint() {
        let mut stage = AlertStage::default();
        let first = stage.on_incident(&incident(1, IncidentState::Open, "frontend"), None).unwrap();
        assert_eq!(first.state, AlertState::Firing);
        assert_eq!(stage.on_incident(&incident(2, IncidentState::Updated, "frontend"), None), None);
        let revised = stage.on_incident(&incident(3, IncidentState::Updated, "cart"), None).unwrap();
        assert_eq!((&revised.fingerprint, revised.state), (&first.fingerprint, AlertState::Firing));
        assert!(revised.annotations["description"].starts_with("1. cart"));
        let resolved = stage.on_incident(&incident(4, IncidentState::Resolved, "cart"), None).unwrap();
        assert_eq!(
            (resolved.fingerprint, resolved.state, resolved.ends_ms),
            (first.fingerprint, AlertState::Resolved, Some(9_000))
        );
        assert_eq!(stage.on_incident(&incident(5, IncidentState::Resolved, "cart"), None), None, "told once");
    }

    #[test]
    fn an_incident_that_goes_into_another_says_so_with_its_end() {
        let mut stage = AlertStage::default();
        stage.on_incident(&incident(1, IncidentState::Open, "cart"), None).unwrap();
        let last =
            Incident { merged_into: Some("inc-0".into()), ..incident(2, IncidentState::Resolved, "cart") };
        let alert = stage.on_incident(&last, None).unwrap();
        assert_eq!(alert.state, AlertState::Resolved);
        assert_eq!(alert.annotations["resolution"], "it is a part of incident inc-0");
    }
}
