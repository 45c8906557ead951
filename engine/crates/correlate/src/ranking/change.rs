//! A deploy or another change shortly before the trigger. A hint that breaks ties, seldom more.

use model::Evidence;

use super::{Finding, Findings, View};

/// Changes older than this are no longer suspects.
const BEFORE_MS: i64 = 1_800_000;
/// Age at which a change is suspected 1/e as much.
const FADE_MS: f64 = 600_000.0;

pub(super) fn rank(view: &View<'_>) -> Findings {
    let mut findings = Findings::new();
    for change in view.store.changes_near(view.trigger.time_ms, BEFORE_MS, view.now_ms) {
        let Some(service) = view.store.symbols.find(&change.service) else { continue };
        let age_ms = (view.trigger.time_ms - change.time_ms).max(0) as f64;
        let strength = (-age_ms / FADE_MS).exp();
        let finding: &mut Finding = findings.entry(service).or_default();
        finding.strength = finding.strength.max(strength);
        finding.evidence.push(Evidence {
            kind: "change".to_owned(),
            summary: format!("{} {:.0} s before: {}", change.kind, age_ms / 1000.0, change.summary),
            score: strength,
            subject: change.kind,
            baseline: None,
            observed: None,
        });
    }
    findings
}
