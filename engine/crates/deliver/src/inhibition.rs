//! Alerts that hold others back while they fire, as Alertmanager's inhibition rules.
//!
//! What is known depends on the records of the topic and their order alone: an alert holds back what comes behind it, until its end. What
//! was told before is not taken back; its later versions wait, and its end is told.

use std::collections::BTreeMap;

use model::{Alert, AlertState, Labels, Matcher};
use serde::Deserialize;

use crate::notice::labels_of_now;

/// Alerts that fire and may hold back others, at the most; those that began first are forgotten.
pub const SOURCES_MAX: usize = 10_000;
pub const RULES_MAX: usize = 64;
const MATCHERS_MAX: usize = 32;
const EQUAL_MAX: usize = 32;

/// While an alert fires that the source matchers choose, those that the target matchers choose are held back, if the labels in `equal` agree.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InhibitRule {
    /// All must hold for the alert that holds back; `severity` is that of now.
    pub source_matchers: Vec<Matcher>,
    /// All must hold for the alert that is held back.
    pub target_matchers: Vec<Matcher>,
    /// Labels whose values must be the same; one that is missing counts as empty.
    #[serde(default)]
    pub equal: Vec<String>,
}

impl InhibitRule {
    /// What is wrong with it, in words that name the key.
    pub fn validate(&self) -> Result<(), String> {
        for (key, matchers) in
            [("source_matchers", &self.source_matchers), ("target_matchers", &self.target_matchers)]
        {
            if !(1..=MATCHERS_MAX).contains(&matchers.len()) {
                return Err(format!(
                    "{key}: give 1 to {MATCHERS_MAX} matchers; without any, all alerts would be meant"
                ));
            }
        }
        if self.equal.len() > EQUAL_MAX || self.equal.iter().any(String::is_empty) {
            return Err(format!("equal: give at most {EQUAL_MAX} names of labels"));
        }
        Ok(())
    }

    fn is_source(&self, labels: &Labels) -> bool {
        self.source_matchers.iter().all(|matcher| matcher.matches(labels))
    }

    fn is_target(&self, labels: &Labels) -> bool {
        self.target_matchers.iter().all(|matcher| matcher.matches(labels))
    }

    /// Whether one holds back the other. Of two that are both chosen by both sides neither does, or they would hold each other back.
    fn inhibits(&self, source: &Labels, target: &Labels) -> bool {
        let value = |labels: &Labels, label: &str| labels.get(label).unwrap_or("").to_owned();
        self.is_target(target)
            && self.is_source(source)
            && !(self.is_source(target) && self.is_target(source))
            && self.equal.iter().all(|label| value(source, label) == value(target, label))
    }
}

/// An alert that fires and that some rule chooses as a source.
#[derive(Clone, Debug)]
struct Source {
    labels: Labels,
    incident: String,
    starts_ms: i64,
}

/// The rules, and what fires by the records that were seen.
#[derive(Clone, Debug, Default)]
pub struct Inhibitor {
    rules: Vec<InhibitRule>,
    /// By partition and fingerprint.
    sources: BTreeMap<(i32, String), Source>,
}

impl Inhibitor {
    pub fn new(rules: Vec<InhibitRule>) -> Self {
        Self { rules, sources: BTreeMap::new() }
    }

    /// The record of this alert lies behind all that were seen of its partition.
    pub fn observe(&mut self, partition: i32, alert: &Alert) {
        if self.rules.is_empty() {
            return;
        }
        let key = (partition, alert.fingerprint.clone());
        let labels = labels_of_now(alert);
        let holds =
            alert.state == AlertState::Firing && self.rules.iter().any(|rule| rule.is_source(&labels));
        if !holds {
            self.sources.remove(&key);
            return;
        }
        let (incident, starts_ms) = (alert.incident.clone(), alert.starts_ms);
        self.sources.insert(key, Source { labels, incident, starts_ms });
        if self.sources.len() > SOURCES_MAX {
            let oldest = self.sources.iter().min_by_key(|(key, source)| (source.starts_ms, *key));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.sources.remove(&oldest);
            }
        }
    }

    /// The partition is read from its beginning again, or by somebody else.
    pub fn forget(&mut self, partition: i32) {
        self.sources.retain(|(of, _), _| *of != partition);
    }

    pub fn is_inhibited(&self, alert: &Alert) -> bool {
        !self.rules.is_empty() && self.sources_for(alert).next().is_some()
    }

    /// The incidents of the alerts that hold it back.
    pub fn inhibiting(&self, alert: &Alert) -> Vec<String> {
        let mut incidents: Vec<String> =
            self.sources_for(alert).map(|source| source.incident.clone()).collect();
        incidents.sort();
        incidents.dedup();
        incidents
    }

    /// Whether the first would hold back the second, once it is seen.
    pub fn would_inhibit(&self, source: &Alert, target: &Alert) -> bool {
        if self.rules.is_empty()
            || source.state != AlertState::Firing
            || source.fingerprint == target.fingerprint
        {
            return false;
        }
        let (source, target) = (labels_of_now(source), labels_of_now(target));
        self.rules.iter().any(|rule| rule.inhibits(&source, &target))
    }

    fn sources_for(&self, alert: &Alert) -> impl Iterator<Item = &Source> {
        let labels = labels_of_now(alert);
        let others = self.sources.iter().filter(|((_, fingerprint), _)| *fingerprint != alert.fingerprint);
        others
            .map(|(_, source)| source)
            .filter(move |source| self.rules.iter().any(|rule| rule.inhibits(&source.labels, &labels)))
    }
}

#[cfg(test)]
mod tests {
    use model::Severity;

    use super::*;
    use crate::test_alert;

    fn rule(json: &str) -> InhibitRule {
        serde_json::from_str(json).unwrap()
    }

    fn alert(fingerprint: &str, service: &str, severity: Severity, state: AlertState) -> Alert {
        let mut alert = test_alert(fingerprint, 1, state);
        alert.severity = severity;
        alert.incident = format!("incident-{fingerprint}");
        alert.labels.insert("service".to_owned(), service.to_owned());
        alert
    }

    const SEVERE: &str = r#"{"source_matchers": ["severity=critical"], "target_matchers": ["severity=~\"warning|info\""], "equal": ["service"]}"#;

    #[test]
    fn a_severe_alert_holds_back_lesser_ones_of_its_service_until_its_end() {
        let mut inhibitor = Inhibitor::new(vec![rule(SEVERE)]);
        let lesser = alert("b", "cart", Severity::Warning, AlertState::Firing);
        assert!(!inhibitor.is_inhibited(&lesser));
        inhibitor.observe(0, &alert("a", "cart", Severity::Critical, AlertState::Firing));
        assert_eq!(inhibitor.inhibiting(&lesser), ["incident-a"]);
        assert!(!inhibitor.is_inhibited(&alert("b", "web", Severity::Warning, AlertState::Firing)));
        assert!(!inhibitor.is_inhibited(&alert("b", "cart", Severity::Critical, AlertState::Firing)));
        // It is no source any more once it is less severe.
        let mut changed = inhibitor.clone();
        changed.observe(0, &alert("a", "cart", Severity::Info, AlertState::Firing));
        assert!(!changed.is_inhibited(&lesser));
        inhibitor.observe(0, &alert("a", "cart", Severity::Critical, AlertState::Resolved));
        assert!(!inhibitor.is_inhibited(&lesser));
    }

    #[test]
    fn alerts_that_both_sides_choose_hold_back_neither_each_other_nor_themselves() {
        let all = rule(r#"{"source_matchers": ["severity!=\"\""], "target_matchers": ["severity!=\"\""]}"#);
        let mut inhibitor = Inhibitor::new(vec![all]);
        let (a, b) = (test_alert("a", 1, AlertState::Firing), test_alert("b", 1, AlertState::Firing));
        inhibitor.observe(0, &a);
        inhibitor.observe(0, &b);
        assert!(!inhibitor.is_inhibited(&a) && !inhibitor.is_inhibited(&b));
    }

    #[test]
    fn sources_are_bounded_and_a_missing_label_is_an_empty_one() {
        let mut inhibitor = Inhibitor::new(vec![rule(&SEVERE.replace("service", "region"))]);
        for i in 0..=SOURCES_MAX as i64 {
            let mut source = alert(&i.to_string(), "cart", Severity::Critical, AlertState::Firing);
            source.starts_ms = i;
            inhibitor.observe(0, &source);
        }
        assert_eq!(inhibitor.sources.len(), SOURCES_MAX);
        assert!(!inhibitor.sources.contains_key(&(0, "0".to_owned())), "the oldest is forgotten");
        assert!(inhibitor.is_inhibited(&alert("x", "web", Severity::Warning, AlertState::Firing)));
        inhibitor.forget(0);
        assert!(inhibitor.sources.is_empty());
    }

    #[test]
    fn rules_without_a_side_are_refused() {
        let empty = rule(r#"{"source_matchers": [], "target_matchers": ["severity=info"]}"#);
        assert!(empty.validate().unwrap_err().contains("source_matchers"));
        let empty =
            rule(r#"{"source_matchers": ["severity=info"], "target_matchers": ["a=b"], "equal": [""]}"#);
        assert!(empty.validate().unwrap_err().contains("equal"));
        assert_eq!(rule(SEVERE).validate(), Ok(()));
        assert!(serde_json::from_str::<InhibitRule>(r#"{"source_match": []}"#).is_err());
    }
}
